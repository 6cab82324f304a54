//! Verifies a server by what it is (its SPIFFE id), not by where it was found (its DNS name).

use super::Store;
use crate::ca::peer_spiffe;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, PeerIncompatible, SignatureScheme};
use std::sync::Arc;
use terms::SpiffeId;

/// Says that a peer with a trusted certificate is not the workload that was called.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the peer is `{found}`, not `{expected}`")]
pub struct WrongWorkload {
    /// Who was called.
    pub expected: SpiffeId,
    /// Who answered, or `unidentified`.
    pub found: String,
}

/// Accepts one workload's certificate, whatever name was dialled.
#[derive(Debug)]
pub(super) struct WorkloadVerifier {
    roots: Store,
    algorithms: WebPkiSupportedAlgorithms,
    expected: SpiffeId,
}

impl WorkloadVerifier {
    pub(super) const fn new(roots: Store, algorithms: WebPkiSupportedAlgorithms, expected: SpiffeId) -> Self {
        Self { roots, algorithms, expected }
    }
}

impl ServerCertVerifier for WorkloadVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _dialled: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = ParsedCertificate::try_from(leaf)?;
        let algorithms = self.algorithms.all;
        // Signatures, dates, and that the certificate is one for servers (extended key usage).
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, intermediates, now, algorithms)?;
        let found = peer_spiffe(leaf);
        if found.as_ref().is_ok_and(|found| *found == self.expected) {
            return Ok(ServerCertVerified::assertion());
        }
        let found = found.map_or_else(|_| "unidentified".to_owned(), |found| found.to_string());
        let wrong = WrongWorkload { expected: self.expected.clone(), found };
        Err(CertificateError::Other(OtherError(Arc::new(wrong))).into())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, leaf, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
