//! Plan tokens: what a data plane checks, in the order of the checks, before it reads a plan.

use crate::PlanKey;
use std::sync::Arc;
use subtle::ConstantTimeEq as _;
use terms::{KeyId, TenantId, Timestamp, Unverified, Verified};
use wire::plan::{Plan, PlanBytes, PlanError};
use wire::plan_token::{Claims, LIFETIME_S, PlanToken, TokenError};

/// Whose plans a data plane takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// The control plane's public URL.
    pub issuer: String,
    /// The data plane's own SPIFFE id.
    pub audience: String,
    /// The data plane's tenant.
    pub tenant: TenantId,
}

/// A plan whose token's signature covers its exact bytes.
#[derive(Debug, Clone)]
pub struct SignedPlan {
    /// The token's claims.
    pub claims: Claims,
    /// The plan, read from `bytes`.
    pub plan: Plan,
    /// The exact bytes.
    pub bytes: PlanBytes,
}

/// Says why a plan is refused. The list is closed: counters and events use its codes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanRefusal {
    /// The text is not a plan token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// No usable key has the token's key id.
    #[error("the key `{0}` is not known")]
    UnknownKey(KeyId),
    /// The signature is not the key's over these bytes.
    #[error("the signature is not valid")]
    BadSignature,
    /// `iss` is not this control plane.
    #[error("the token is from another issuer")]
    WrongIssuer,
    /// `sub` is not this tenant.
    #[error("the token is for another tenant")]
    WrongSubject,
    /// `aud` is not this data plane.
    #[error("the token is for another data plane")]
    WrongAudience,
    /// `nbf` is not `iat`, or `exp` is not `iat` and the lifetime.
    #[error("the token does not live for exactly {LIFETIME_S} s")]
    WrongLifetime,
    /// The plan has another length than the token says.
    #[error("the plan has another length than its token says")]
    LengthMismatch,
    /// The plan has another hash than the token says.
    #[error("the plan has another hash than its token says")]
    HashMismatch,
    /// The bytes are what was signed, but not a plan.
    #[error(transparent)]
    Malformed(#[from] PlanError),
    /// A member of the plan differs from the claim that it repeats.
    #[error("the plan's `{0}` differs from its token's")]
    Disagrees(&'static str),
}

impl PlanRefusal {
    /// The stable reason code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Token(TokenError::TooLarge(_)) => "plan.token_too_large",
            Self::Token(TokenError::Parts) => "plan.token_parts",
            Self::Token(TokenError::Encoding) => "plan.token_encoding",
            Self::Token(TokenError::Header(_)) => "plan.token_header",
            Self::Token(TokenError::Algorithm) => "plan.wrong_algorithm",
            Self::Token(TokenError::Type) => "plan.wrong_type",
            Self::Token(TokenError::SignatureLength) => "plan.signature_length",
            Self::Token(TokenError::Claims(_)) => "plan.token_claims",
            Self::UnknownKey(_) => "plan.unknown_key",
            Self::BadSignature => "plan.bad_signature",
            Self::WrongIssuer => "plan.wrong_issuer",
            Self::WrongSubject => "plan.wrong_subject",
            Self::WrongAudience => "plan.wrong_audience",
            Self::WrongLifetime => "plan.wrong_lifetime",
            Self::LengthMismatch => "plan.length_mismatch",
            Self::HashMismatch => "plan.hash_mismatch",
            Self::Malformed(_) => "plan.malformed",
            Self::Disagrees(_) => "plan.disagrees",
        }
    }
}

/// Checks a plan and its token, and only then reads the plan.
///
/// The order: key, signature over the exact signing input, claims, issuer, subject, audience, lifetime,
/// length, hash, the plan itself, and its agreement with the claims. Whether the token is still valid *now*
/// is decided at admission, because a plan that was admitted before is answered also after its expiry.
///
/// A signature stays valid with `s` replaced by `n - s` (ECDSA is malleable), so nothing may be keyed by
/// the token's bytes: admission keys by `jti` and `execution_id`.
///
/// # Errors
/// [`PlanRefusal`], the first thing that is wrong.
pub fn verify_plan(
    token: Unverified<PlanToken>,
    bytes: Unverified<PlanBytes>,
    find_key: impl FnOnce(&KeyId) -> Option<Arc<PlanKey>>,
    expected: &Expected,
) -> Result<Verified<SignedPlan>, PlanRefusal> {
    let token = token.into_unchecked();
    let kid = &token.header().kid;
    let Some(key) = find_key(kid).filter(|key| key.kid() == kid) else {
        return Err(PlanRefusal::UnknownKey(kid.clone()));
    };
    if !key.has_signed(token.signing_input(), token.signature()) {
        return Err(PlanRefusal::BadSignature);
    }
    let claims = token.claims()?;
    check_claims(&claims, expected)?;
    let bytes = bytes.into_unchecked();
    if bytes.length() != claims.plan_len {
        return Err(PlanRefusal::LengthMismatch);
    }
    if !bool::from(bytes.hash().as_bytes().ct_eq(claims.plan_hash.as_bytes())) {
        return Err(PlanRefusal::HashMismatch);
    }
    let plan = Plan::read(bytes.as_slice())?;
    check_agreement(&plan, &claims)?;
    Ok(Verified::attest(SignedPlan { claims, plan, bytes }))
}

/// Whether `claims` live from `iat` for exactly a plan token's lifetime.
pub(crate) fn has_plan_lifetime(claims: &Claims) -> bool {
    claims.iat >= 0 && claims.nbf == claims.iat && claims.iat.checked_add(LIFETIME_S) == Some(claims.exp)
}

fn check_claims(claims: &Claims, expected: &Expected) -> Result<(), PlanRefusal> {
    if claims.iss != expected.issuer {
        return Err(PlanRefusal::WrongIssuer);
    }
    if claims.sub != expected.tenant {
        return Err(PlanRefusal::WrongSubject);
    }
    if claims.aud != expected.audience {
        return Err(PlanRefusal::WrongAudience);
    }
    if !has_plan_lifetime(claims) {
        return Err(PlanRefusal::WrongLifetime);
    }
    Ok(())
}

fn check_agreement(plan: &Plan, claims: &Claims) -> Result<(), PlanRefusal> {
    let members = [
        ("plan_id", plan.plan_id == claims.jti),
        ("tenant_id", plan.tenant_id == claims.sub),
        ("issuer", plan.issuer == claims.iss),
        ("issued_at", plan.issued_at == Timestamp::from_unix_s(claims.iat)),
    ];
    match members.into_iter().find(|(_, agrees)| !agrees) {
        Some((member, _)) => Err(PlanRefusal::Disagrees(member)),
        None => Ok(()),
    }
}
