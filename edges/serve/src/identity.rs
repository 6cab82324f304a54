//! A workload's own identity: enrolled once with a one-time token, renewed by itself from then on.
//!
//! The key is born here and never leaves its folder. What is kept there:
//! - `identity.pem` (0600): the key and its certificate chain in one file, replaced whole, so that a crash can
//!   never leave a key beside another key's certificate;
//! - `identity.json`: what else enrolment said;
//! - `identity.request` (0600): a key and its request, kept from before the token is used until the certificate
//!   is, so that a crash in between repeats the same request;
//! - `enrol.wanted`: an empty file by which the workload asks its node for a (new) token.

mod control_plane;
mod kept;
mod renewal;

pub use control_plane::{ControlPlane, ControlPlaneAt, port_of};
pub use kept::wants_token;
pub use renewal::{RenewalEnd, renewal_due};

use crate::ca::{CaError, KeyPem};
use crate::client::CallError;
use crate::tls::{self, ClientAuth, Identity, Roots, TlsError};
use api::enrolment::{Enrol, Enrolled, IssuedCertificate};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use host::clock::Clock;
use kept::{Facts, Kept, Request};
use rustls::ServerConfig;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use terms::{SpiffeId, Timestamp, Token};

/// The largest answer to an enrolment or a renewal: two chains of certificates with room to spare.
const MAX_ANSWER_BYTES: usize = 256 * 1024;

/// The largest token file: a token and a line break, with room for a person's editor.
const MAX_TOKEN_BYTES: usize = 1_024;

/// The first and the longest wait before enrolment is tried again.
const RETRY_MS: core::ops::RangeInclusive<u64> = 250..=10_000;

/// Says why a workload has no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// There is none yet, or it has expired, and there is no token to get one with.
    #[error("no valid identity, and no enrolment token in `{}`; a new one comes from the node or an operator", .0.display())]
    NoToken(PathBuf),
    /// The token file holds something else.
    #[error("`{}` does not hold an enrolment token", .0.display())]
    NotAToken(PathBuf),
    /// The control plane did not enrol or renew.
    #[error("the control plane did not issue a certificate: {0}")]
    Call(#[from] CallError),
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] host::files::FileError),
    /// A kept file is damaged.
    #[error("`{}` is damaged: {reason}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The certificate names another workload than it should.
    #[error("the certificate is for `{found}`, not for `{expected}`")]
    Stranger {
        /// Whose it should be.
        expected: String,
        /// Whose it is.
        found: SpiffeId,
    },
    /// Certificates or keys cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No key could be made, or the certificate cannot be read.
    #[error(transparent)]
    Certificate(#[from] CaError),
    /// The control plane's URL cannot be called.
    #[error("`{0}` is not an https URL without a trailing slash")]
    Url(String),
}

/// How a workload gets its identity.
#[derive(Debug, Clone)]
pub struct Enrolment {
    /// The workload's own folder (0700).
    pub dir: PathBuf,
    /// Whom to ask.
    pub at: ControlPlaneAt,
    /// The one-time token's file; it is removed once the token was used.
    pub token_file: PathBuf,
    /// A sidecar's Ed25519 public key.
    pub public_key: Option<[u8; 32]>,
}

/// An enrolled workload's identity.
#[derive(Debug)]
pub struct WorkloadIdentity {
    dir: PathBuf,
    tls: Identity,
    spiffe: SpiffeId,
    issuer: String,
    roots: Roots,
    validity: Mutex<Validity>,
}

/// How long a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// From when.
    pub not_before: Timestamp,
    /// Until when.
    pub not_after: Timestamp,
}

impl Enrolment {
    /// Loads the identity, or enrols when there is none or it has expired.
    ///
    /// # Errors
    /// [`IdentityError`]. Without a usable token, `enrol.wanted` then asks the node for one.
    pub async fn obtain(&self, now: Timestamp) -> Result<WorkloadIdentity, IdentityError> {
        if let Some(identity) = WorkloadIdentity::load(&self.dir)?
            && identity.validity().not_after > now
        {
            kept::used(&self.dir, &self.token_file)?;
            return Ok(identity);
        }
        self.enrol().await
    }

    /// Obtains the identity, and waits for as long as the control plane cannot be reached or there is no token.
    ///
    /// # Errors
    /// [`IdentityError`], but for those that time or a node may mend.
    pub async fn await_identity(&self, clock: &Clock) -> Result<WorkloadIdentity, IdentityError> {
        let mut retry_ms = *RETRY_MS.start();
        loop {
            match self.obtain(clock.now()).await {
                Err(error @ (IdentityError::NoToken(_) | IdentityError::Call(_))) => {
                    tracing::warn!(%error, retry_ms, "not enrolled yet");
                    tokio::time::sleep(Duration::from_millis(retry_ms)).await;
                    retry_ms = retry_ms.saturating_mul(2).min(*RETRY_MS.end());
                }
                other => return other,
            }
        }
    }

    /// Enrols with the token, whether or not there is an identity.
    ///
    /// # Errors
    /// [`IdentityError`]. A token that is missing or refused is asked for anew through `enrol.wanted`.
    pub async fn enrol(&self) -> Result<WorkloadIdentity, IdentityError> {
        let Some(token) = self.token()? else {
            kept::want_token(&self.dir)?;
            return Err(IdentityError::NoToken(self.token_file.clone()));
        };
        let request = Request::pending(&self.dir)?;
        let body =
            Enrol { csr: request.csr.clone(), public_key: self.public_key.map(|key| STANDARD.encode(key)) };
        let asked = ControlPlane::anonymous(&self.at)?;
        let url = asked.url_of("/v1/enrol");
        let answer =
            asked.client().json(http::Method::POST, &url, Some(&token), Some(&body), MAX_ANSWER_BYTES);
        let enrolled: Enrolled = match answer.await {
            Ok(enrolled) => enrolled,
            Err(error) => {
                if is_refusal(&error) {
                    kept::want_token(&self.dir)?;
                    kept::remove(&self.token_file)?;
                }
                return Err(error.into());
            }
        };
        let identity = self.keep(&request.key, enrolled)?;
        kept::used(&self.dir, &self.token_file)?;
        Ok(identity)
    }

    fn token(&self) -> Result<Option<Token>, IdentityError> {
        if !self.token_file.exists() {
            return Ok(None);
        }
        let bytes = host::files::read_private(&self.token_file, MAX_TOKEN_BYTES)?;
        let text = core::str::from_utf8(&bytes).ok().map(str::trim);
        let token = text.and_then(|text| text.parse().ok());
        token.map(Some).ok_or_else(|| IdentityError::NotAToken(self.token_file.clone()))
    }

    fn keep(&self, key: &KeyPem, enrolled: Enrolled) -> Result<WorkloadIdentity, IdentityError> {
        let facts = Facts { issuer: enrolled.issuer, roots: enrolled.certificate.roots };
        let kept = Kept { chain: enrolled.certificate.chain, key: key.clone(), facts };
        // Read before it is kept: what cannot be used must not replace anything.
        let identity = WorkloadIdentity::new(&self.dir, &kept)?;
        kept.save(&self.dir)?;
        Ok(identity)
    }
}

impl WorkloadIdentity {
    /// Loads the identity that is kept in `dir`, if there is one; it may have expired.
    ///
    /// # Errors
    /// When a file cannot be read or is damaged.
    pub fn load(dir: &Path) -> Result<Option<Self>, IdentityError> {
        Kept::load(dir)?.map(|kept| Self::new(dir, &kept)).transpose()
    }

    fn new(dir: &Path, kept: &Kept) -> Result<Self, IdentityError> {
        let (spiffe, validity) = kept::leaf(&kept.chain)?;
        Ok(Self {
            dir: dir.to_owned(),
            tls: Identity::from_pem(&kept.chain, kept.key.expose())?,
            spiffe,
            issuer: kept.facts.issuer.clone(),
            roots: Roots::from_pem(&kept.facts.roots)?,
            validity: Mutex::new(validity),
        })
    }

    /// Which workload this is.
    #[must_use]
    pub const fn spiffe(&self) -> &SpiffeId {
        &self.spiffe
    }

    /// The control plane's public URL: `iss` of plan tokens.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The roots that workloads' certificates come from.
    #[must_use]
    pub const fn roots(&self) -> &Roots {
        &self.roots
    }

    /// The certificate with its key, for servers and clients; it is replaced in place when it is renewed.
    #[must_use]
    pub const fn tls(&self) -> &Identity {
        &self.tls
    }

    /// How long the certificate is valid.
    #[must_use]
    pub fn validity(&self) -> Validity {
        *self.validity.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A caller of the control plane that shows this identity.
    ///
    /// # Errors
    /// When the library refuses the roots.
    pub fn control_plane(&self, at: &ControlPlaneAt) -> Result<ControlPlane, IdentityError> {
        ControlPlane::identified(at, &self.tls)
    }

    /// A server that shows this identity and demands one from the same roots of every client.
    ///
    /// # Errors
    /// When the library refuses the roots.
    pub fn server_config(&self) -> Result<Arc<ServerConfig>, IdentityError> {
        Ok(tls::server_config(&self.tls, &ClientAuth::Required(self.roots.clone()))?)
    }

    /// Takes over a renewed certificate: kept first, then shown from the next handshake on.
    fn take_over(&self, key: &KeyPem, issued: IssuedCertificate) -> Result<(), IdentityError> {
        let (found, validity) = kept::leaf(&issued.chain)?;
        if found != self.spiffe {
            return Err(IdentityError::Stranger { expected: self.spiffe.to_string(), found });
        }
        Roots::from_pem(&issued.roots)?;
        Identity::from_pem(&issued.chain, key.expose())?;
        let facts = Facts { issuer: self.issuer.clone(), roots: issued.roots };
        let kept = Kept { chain: issued.chain, key: key.clone(), facts };
        kept.save(&self.dir)?;
        self.show(&kept, validity)
    }

    fn show(&self, kept: &Kept, validity: Validity) -> Result<(), IdentityError> {
        self.tls.replace(&kept.chain, kept.key.expose())?;
        *self.validity.lock().unwrap_or_else(PoisonError::into_inner) = validity;
        Ok(())
    }
}

/// Whether the control plane will never take this token.
fn is_refusal(error: &CallError) -> bool {
    match error {
        CallError::Problem(problem, _) => {
            problem.code == api::Code::EnrolmentRefused.as_str() || problem.status == 401
        }
        CallError::Unreachable(_)
        | CallError::Timeout
        | CallError::Malformed { .. }
        | CallError::TooLarge(_)
        | CallError::Request(_) => false,
    }
}
