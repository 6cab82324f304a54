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

/// The peer's refusal of our certificate, if that is what broke the connection.
///
/// A TLS 1.3 client is done with its handshake before the server looks at its certificate, so the refusal
/// comes as an error of the first read (RFC 8446, section 4.4.2.4); no request was looked at.
pub(crate) fn certificate_alert(error: &io::Error) -> Option<String> {
    match rustls_error(error)? {
        Error::AlertReceived(
            alert @ (AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied),
        ) => Some(format!("it refuses our certificate: {alert:?}")),
        _ => None,
    }
}
