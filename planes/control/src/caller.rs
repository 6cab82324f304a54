//! Who asks: an operator by token, or a workload by certificate.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use serve::Peer;
use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};
use terms::{Actor, Digest, OperatorId, Timestamp, Token, TrustDomain, Workload};

/// The operators whose tokens are accepted, by the tokens' digests.
///
/// A look-up by the digest of a 256-bit secret tells an attacker nothing by its time: to steer it, they would
/// have to choose the output of SHA-256.
#[derive(Debug, Default)]
pub(crate) struct Operators(RwLock<BTreeMap<Digest, OperatorToken>>);

/// One accepted token.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OperatorToken {
    pub(crate) operator: OperatorId,
    pub(crate) expires_at: Option<Timestamp>,
}

impl Operators {
    /// Accepts a token from now on, and forgets those that have expired.
    pub(crate) fn accept(&self, digest: Digest, token: OperatorToken, now: Timestamp) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, token| token.expires_at.is_none_or(|at| at > now));
        known.insert(digest, token);
    }

    fn find(&self, token: &Token, now: Timestamp) -> Option<Actor> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&token.digest()).copied()?;
        let expired = known.expires_at.is_some_and(|at| at <= now);
        (!expired).then_some(Actor::Operator(known.operator))
    }
}

/// Says that a request carries no valid credential, and what kind of failure it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// No credential at all.
    NoCredential,
    /// A bearer token that is not one of ours, unknown or expired.
    BadToken,
    /// A certificate of another trust domain or of no caller.
    BadCertificate,
}

impl Unknown {
    /// The stable reason code.
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::NoCredential => "no_credential",
            Self::BadToken => "bad_token",
            Self::BadCertificate => "bad_certificate",
        }
    }
}

/// Finds out who asks. A bearer token, once sent, has to be right: there is no falling back to a certificate.
pub(crate) fn authenticate(
    headers: &HeaderMap,
    peer: &Peer,
    operators: &Operators,
    domain: &TrustDomain,
    now: Timestamp,
) -> Result<Actor, Unknown> {
    match bearer(headers) {
        Some(Ok(token)) => operators.find(&token, now).ok_or(Unknown::BadToken),
        Some(Err(_)) => Err(Unknown::BadToken),
        None => workload(peer, domain),
    }
}

/// The bearer token, if there is an Authorization header.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<Result<Token, terms::TokenError>> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let first = values.next()?;
    if values.next().is_some() {
        return Some(Err(terms::TokenError));
    }
    let text = first.to_str().ok().and_then(|text| {
        let (scheme, token) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token)
    });
    Some(text.ok_or(terms::TokenError).and_then(str::parse))
}

fn workload(peer: &Peer, domain: &TrustDomain) -> Result<Actor, Unknown> {
    let spiffe = peer.spiffe.as_ref().ok_or(Unknown::NoCredential)?;
    if spiffe.domain() != domain {
        return Err(Unknown::BadCertificate);
    }
    match spiffe.workload() {
        Workload::DataPlane(tenant) => Ok(Actor::DataPlane(tenant)),
        Workload::Sidecar(tenant, id) => Ok(Actor::Sidecar(tenant, id)),
        Workload::Node(id) => Ok(Actor::Node(id)),
        Workload::ControlPlane => Err(Unknown::BadCertificate),
    }
}
