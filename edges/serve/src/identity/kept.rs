//! An identity's files.

use super::{IdentityError, Validity};
use crate::ca::{self, CaError, KeyPem};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use terms::{SpiffeId, Timestamp};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use zeroize::Zeroizing;

/// The largest kept file: a chain of five certificates and a key, or a set of roots.
const MAX_BYTES: usize = 256 * 1024;

const PEM: &str = "identity.pem";
const FACTS: &str = "identity.json";
const REQUEST: &str = "identity.request";
const WANTED: &str = "enrol.wanted";

/// Begins each PEM block that is not a key.
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----";
const CERTIFICATE_REQUEST: &str = "-----BEGIN CERTIFICATE REQUEST-----";

/// What enrolment said beside the certificate.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Facts {
    pub(super) issuer: String,
    pub(super) roots: String,
}

/// An identity as it is kept.
pub(super) struct Kept {
    pub(super) chain: String,
    pub(super) key: KeyPem,
    pub(super) facts: Facts,
}

/// A key and its request, until there is a certificate for it.
pub(super) struct Request {
    pub(super) key: KeyPem,
    pub(super) csr: String,
}

impl Kept {
    pub(super) fn load(dir: &Path) -> Result<Option<Self>, IdentityError> {
        let Some((path, pem)) = read(dir, PEM)? else { return Ok(None) };
        let Some((key, chain)) = split(&pem, CERTIFICATE) else {
            return Err(damaged(path, "it holds no key before a certificate"));
        };
        let Some((path, facts)) = read(dir, FACTS)? else {
            return Err(damaged(dir.join(FACTS), "it is missing"));
        };
        let facts = serde_json::from_str(&facts).map_err(|error| damaged(path, &error.to_string()))?;
        Ok(Some(Self { chain, key, facts }))
    }

    /// Saves the facts first: the certificate is what makes an identity.
    pub(super) fn save(&self, dir: &Path) -> Result<(), IdentityError> {
        let facts = serde_json::to_vec(&self.facts);
        let facts = facts.map_err(|error| damaged(dir.join(FACTS), &error.to_string()))?;
        host::files::write_private_atomically(&dir.join(FACTS), &facts)?;
        write(dir, PEM, &self.key, &self.chain)?;
        remove(&dir.join(REQUEST))
    }
}

impl Request {
    /// The request that a crash left pending, or a new one that is kept before anybody sees it.
    pub(super) fn pending(dir: &Path) -> Result<Self, IdentityError> {
        if let Some((_, pem)) = read(dir, REQUEST)?
            && let Some((key, csr)) = split(&pem, CERTIFICATE_REQUEST)
        {
            return Ok(Self { key, csr });
        }
        let (key, csr) = ca::new_key_and_csr()?;
        write(dir, REQUEST, &key, &csr)?;
        Ok(Self { key, csr })
    }
}

/// Who a chain's leaf is, and how long it is valid.
pub(super) fn leaf(chain_pem: &str) -> Result<(SpiffeId, Validity), IdentityError> {
    let leaf = CertificateDer::from_pem_slice(chain_pem.as_bytes()).map_err(|_| CaError::Unidentified)?;
    let spiffe = ca::peer_spiffe(&leaf)?;
    let (_, parsed) = X509Certificate::from_der(&leaf).map_err(|_| CaError::Unidentified)?;
    let at = |time: x509_parser::time::ASN1Time| Timestamp::from_unix_s(time.timestamp());
    let validity = parsed.validity();
    Ok((spiffe, Validity { not_before: at(validity.not_before), not_after: at(validity.not_after) }))
}

/// Whether the workload in `dir` asks for a token, or never had an identity.
///
/// It opens nothing: the folder may belong to somebody who would like to see its reader wait or follow a link.
#[must_use]
pub fn wants_token(dir: &Path) -> bool {
    let is_there = |name| dir.join(name).symlink_metadata().is_ok();
    is_there(WANTED) || !is_there(PEM)
}

/// Asks for a token.
pub(super) fn want_token(dir: &Path) -> Result<(), IdentityError> {
    Ok(host::files::write_private_atomically(&dir.join(WANTED), b"")?)
}

/// Removes a used token and the wish for one.
pub(super) fn used(dir: &Path, token_file: &Path) -> Result<(), IdentityError> {
    remove(token_file)?;
    remove(&dir.join(WANTED))
}

/// Removes a file that may not be there.
pub(super) fn remove(path: &Path) -> Result<(), IdentityError> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            let path = path.to_owned();
            Err(host::files::FileError::System { deed: "remove", path, source }.into())
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn read(dir: &Path, name: &str) -> Result<Option<(PathBuf, Zeroizing<String>)>, IdentityError> {
    let path = dir.join(name);
    if !path.exists() {
        return Ok(None);
    }
    let bytes = host::files::read_private(&path, MAX_BYTES)?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Some((path, Zeroizing::new(text)))),
        Err(_) => Err(damaged(path, "it is not text")),
    }
}

fn write(dir: &Path, name: &str, key: &KeyPem, rest: &str) -> Result<(), IdentityError> {
    let pem = Zeroizing::new(format!("{}{rest}", key.expose()));
    Ok(host::files::write_private_atomically(&dir.join(name), pem.as_bytes())?)
}

/// Splits a key from what follows it.
fn split(pem: &str, following: &str) -> Option<(KeyPem, String)> {
    let (key, rest) = pem.split_at_checked(pem.find(following)?)?;
    key.contains("PRIVATE KEY").then(|| (KeyPem::new(key.to_owned()), rest.to_owned()))
}

fn damaged(path: PathBuf, reason: &str) -> IdentityError {
    IdentityError::Damaged { path, reason: reason.to_owned() }
}
