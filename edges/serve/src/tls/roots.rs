//! The certificates that a peer's chain must end in.

use super::{Store, TlsError};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use std::sync::Arc;

/// The most roots in one file: more than any operator's bundle, few enough to check a chain against.
const MAX_ROOTS: usize = 500;

/// Trusted roots.
#[derive(Debug, Clone)]
pub struct Roots(Store);

impl Roots {
    /// Reads roots from PEM.
    ///
    /// # Errors
    /// When there is none, one cannot be read, or there are too many.
    pub fn from_pem(pem: &str) -> Result<Self, TlsError> {
        let mut store = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()).take(MAX_ROOTS + 1) {
            let certificate = certificate.map_err(|error| TlsError::Roots(error.to_string()))?;
            store.add(certificate).map_err(|error| TlsError::Roots(error.to_string()))?;
        }
        // An empty store would refuse every peer with a reason that misleads.
        if store.is_empty() || store.len() > MAX_ROOTS {
            return Err(TlsError::Roots(format!("{} found, from 1 to {MAX_ROOTS} allowed", store.len())));
        }
        Ok(Self(Arc::new(store)))
    }

    /// The public web's roots, as Mozilla trusts them, compiled in: the same on every host.
    #[must_use]
    pub fn native() -> Self {
        Self(Arc::new(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }))
    }

    pub(super) fn store(&self) -> Store {
        Arc::clone(&self.0)
    }
}
