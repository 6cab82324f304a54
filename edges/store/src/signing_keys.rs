//! Plan-signing keys: public halves plain, private halves sealed.

use crate::error::StoreError;
use crate::keys::{self, Place};
use crate::repositories::SigningKeys;
use crate::sql::{self, Columns, Source, ms, sql};
use crate::tx::Tx;
use terms::{KeyId, Timestamp};
use vault::Owner;
use zeroize::Zeroizing;

/// A signing key.
#[derive(Clone)]
pub struct SigningKeyRow {
    /// The thumbprint.
    pub kid: KeyId,
    /// Its state's stable text.
    pub state: String,
    /// Since when it is in that state.
    pub since: Timestamp,
    /// When it was minted.
    pub created_at: Timestamp,
    /// The public key, as JWK.
    pub jwk: String,
    /// The private key, PKCS #8.
    pub private: Zeroizing<Vec<u8>>,
}

impl<S: Source> SigningKeys<'_, S> {
    /// Lists every key, oldest first. At most four are served; a key a month makes the list short for ever.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list(&mut self) -> Result<Vec<SigningKeyRow>, StoreError> {
        let keys = keys::of(self.0, Owner::Platform).await?;
        let statement =
            sql("SELECT kid, state, since, created_at, jwk, private FROM signing_keys ORDER BY created_at");
        let mut found = Vec::new();
        for row in sql::all(self.0, statement).await? {
            let mut columns = Columns::of(&row);
            let kid: KeyId = columns.parsed("signing_keys.kid")?;
            let (state, since) = (columns.text()?, columns.time()?);
            let (created_at, jwk) = (columns.time()?, columns.text()?);
            let private = keys.open(place(&kid), &columns.bytes()?)?;
            found.push(SigningKeyRow { kid, state, since, created_at, jwk, private });
        }
        Ok(found)
    }
}

impl SigningKeys<'_, Tx> {
    /// Inserts a key.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if it is there.
    pub async fn insert(&mut self, key: &SigningKeyRow) -> Result<(), StoreError> {
        let sealed = keys::of(self.0, Owner::Platform).await?.seal(place(&key.kid), &key.private)?;
        let statement = sql("INSERT INTO signing_keys (kid, state, since, created_at, jwk, private) \
                             VALUES ($1, $2, $3, $4, $5, $6)")
        .bind(key.kid.to_string())
        .bind(key.state.clone())
        .bind(ms(key.since))
        .bind(ms(key.created_at))
        .bind(key.jwk.clone())
        .bind(sealed);
        sql::run(self.0, statement).await.map(drop)
    }

    /// Moves a key to another state.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is none.
    pub async fn set_state(&mut self, kid: &KeyId, state: &str, since: Timestamp) -> Result<(), StoreError> {
        let statement = sql("UPDATE signing_keys SET state = $1, since = $2 WHERE kid = $3")
            .bind(state.to_owned())
            .bind(ms(since))
            .bind(kid.to_string());
        match sql::run(self.0, statement).await? {
            0 => Err(StoreError::NotFound("signing key")),
            _ => Ok(()),
        }
    }
}

fn place(kid: &KeyId) -> Place<'_> {
    Place { table: "signing_keys", column: "private", row: kid.as_str().as_bytes() }
}
