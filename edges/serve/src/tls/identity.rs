//! A certificate with its key, shown by servers and clients, replaceable while they run.

use super::TlsError;
use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, SignatureScheme};
use std::sync::{Arc, PoisonError, RwLock};
use terms::Timestamp;

/// The most certificates in a chain: a leaf, an intermediate or two; more only costs every peer time.
const MAX_CHAIN: usize = 5;

/// A certificate chain and its private key. Clones share it: replacing it in one replaces it in all, from the
/// next handshake on.
#[derive(Debug, Clone)]
pub struct Identity(Arc<RwLock<Arc<CertifiedKey>>>);

impl Identity {
    /// Reads a chain (leaf first) and its key (PKCS #8, SEC 1 or PKCS #1) from PEM.
    ///
    /// # Errors
    /// When either cannot be read, or they do not belong together.
    pub fn from_pem(chain_pem: &str, key_pem: &str) -> Result<Self, TlsError> {
        Ok(Self(Arc::new(RwLock::new(Arc::new(certified(chain_pem, key_pem)?)))))
    }

    /// Replaces chain and key. Connections that are open keep the old ones.
    ///
    /// # Errors
    /// As [`Identity::from_pem`]; the old ones then stay.
    pub fn replace(&self, chain_pem: &str, key_pem: &str) -> Result<(), TlsError> {
        let next = Arc::new(certified(chain_pem, key_pem)?);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(())
    }

    /// When the leaf certificate expires; none if it cannot be read.
    #[must_use]
    pub fn not_after(&self) -> Option<Timestamp> {
        self.current().cert.first().and_then(crate::leaf_not_after)
    }

    fn current(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

impl ResolvesClientCert for Identity {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn certified(chain_pem: &str, key_pem: &str) -> Result<CertifiedKey, TlsError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(chain_pem.as_bytes())
        .take(MAX_CHAIN + 1)
        .collect::<Result<_, _>>()
        .map_err(|error| TlsError::Chain(error.to_string()))?;
    if chain.is_empty() || chain.len() > MAX_CHAIN {
        return Err(TlsError::Chain(format!("{} certificates, from 1 to {MAX_CHAIN} allowed", chain.len())));
    }
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())
        .map_err(|error| TlsError::Key(error.to_string()))?;
    CertifiedKey::from_der(chain, key, &default_provider()).map_err(|error| match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => TlsError::Mismatch,
        Error::InvalidCertificate(why) => TlsError::Chain(format!("{why:?}")),
        other => TlsError::Key(other.to_string()),
    })
}
