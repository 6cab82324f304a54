//! Why a handshake failed, in words that can be counted.

use rustls::{AlertDescription, Error, PeerIncompatible};
use std::io;

/// A stable reason for a failed handshake: `no_tls13`, `not_tls`, `no_certificate`, `bad_certificate`,
/// `incompatible`, `peer_alert`, `closed` or `other`.
#[must_use]
pub fn failure_reason(error: &io::Error) -> &'static str {
    match rustls_error(error) {
        Some(error) if is_no_tls13(error) => "no_tls13",
        Some(Error::InvalidMessage(_)) => "not_tls",
        Some(Error::NoCertificatesPresented) => "no_certificate",
        Some(Error::InvalidCertificate(_)) => "bad_certificate",
        Some(Error::PeerIncompatible(_)) => "incompatible",
        Some(Error::AlertReceived(_)) => "peer_alert",
        Some(_) => "other",
        None => "closed",
    }
}

pub(crate) fn rustls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}

/// Whether the peer speaks TLS, but not 1.3.
pub(crate) fn is_no_tls13(error: &Error) -> bool {
    matches!(
        error,
        Error::AlertReceived(AlertDescription::ProtocolVersion)
            | Error::PeerIncompatible(
                PeerIncompatible::Tls12NotOffered
                    | PeerIncompatible::Tls12NotOfferedOrEnabled
                    | PeerIncompatible::SupportedVersionsExtensionRequired
                    | PeerIncompatible::ServerDoesNotSupportTls12Or13
                    | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            )
    )
}
