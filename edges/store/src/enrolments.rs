//! One-time enrolment tokens, by their digests.

use crate::error::StoreError;
use crate::permit::{reach_either, reach_platform};
use crate::repositories::Enrolments;
use crate::sql::{self, Columns, ms, sql};
use crate::tx::Tx;
use terms::{Digest, Permit, TenantId, Timestamp};

/// A one-time token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrolmentToken {
    /// The token's digest; the token itself is kept nowhere.
    pub digest: Digest,
    /// What it enrols.
    pub kind: EnrolmentKind,
    /// For which tenant.
    pub tenant: Option<TenantId>,
    /// It works until then.
    pub expires_at: Timestamp,
    /// When it was used.
    pub used_at: Option<Timestamp>,
}

/// What a token enrols.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnrolmentKind {
    /// A tenant's data plane.
    DataPlane,
    /// A tenant's metering sidecar.
    Sidecar,
    /// A host's agent.
    Node,
}

/// Says why a token is not redeemed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Redeem {
    /// There is no such token.
    #[error("the enrolment token is unknown")]
    Unknown,
    /// It was used.
    #[error("the enrolment token was used")]
    Used,
    /// Its time is over.
    #[error("the enrolment token has expired")]
    Expired,
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl EnrolmentKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::DataPlane => "data_plane",
            Self::Sidecar => "sidecar",
            Self::Node => "node",
        }
    }
}

impl core::str::FromStr for EnrolmentKind {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::DataPlane, Self::Sidecar, Self::Node].into_iter().find(|k| k.as_str() == text).ok_or(())
    }
}

impl Enrolments<'_, Tx> {
    /// Keeps a new token's digest, and forgets those whose time is over.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn insert(
        &mut self,
        permit: &Permit,
        token: &EnrolmentToken,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        reach_either(permit, token.tenant)?;
        sql::run(self.0, sql("DELETE FROM enrolments WHERE expires_at < $1").bind(ms(now))).await?;
        let statement =
            sql("INSERT INTO enrolments (digest, kind, tenant_id, expires_at) VALUES ($1, $2, $3, $4)")
                .bind(token.digest.as_bytes().to_vec())
                .bind(token.kind.as_str())
                .bind(token.tenant.map(|tenant| tenant.to_string()))
                .bind(ms(token.expires_at));
        sql::run(self.0, statement).await.map(drop)
    }

    /// Redeems a token, once: writers take turns, so of two callers one finds it used.
    ///
    /// # Errors
    /// [`Redeem`].
    pub async fn redeem(
        &mut self,
        permit: &Permit,
        digest: Digest,
        now: Timestamp,
    ) -> Result<EnrolmentToken, Redeem> {
        reach_platform(permit)?;
        let statement = sql("SELECT kind, tenant_id, expires_at, used_at FROM enrolments WHERE digest = $1");
        let row =
            sql::one(self.0, statement.bind(digest.as_bytes().to_vec())).await?.ok_or(Redeem::Unknown)?;
        let mut columns = Columns::of(&row);
        let token = EnrolmentToken {
            digest,
            kind: columns.parsed("enrolments.kind")?,
            tenant: columns.parsed_or_none("enrolments.tenant_id")?,
            expires_at: columns.time()?,
            used_at: columns.time_or_none()?,
        };
        if token.used_at.is_some() {
            return Err(Redeem::Used);
        }
        if token.expires_at <= now {
            return Err(Redeem::Expired);
        }
        let statement = sql("UPDATE enrolments SET used_at = $1 WHERE digest = $2");
        sql::run(self.0, statement.bind(ms(now)).bind(digest.as_bytes().to_vec())).await?;
        Ok(EnrolmentToken { used_at: Some(now), ..token })
    }
}
