//! The plan-signing keys: the notary's ring, kept in the store, with the parsed private keys in memory.

use crate::config::Keys;
use host::clock::Clock;
use notary::{KeyRecord, KeyRing, KeyState, PlanSigner, RingPolicy, RingStep, RingTimes, RotateError};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use store::{SigningKeyRow, Store, StoreError, WriteError};
use terms::{Action, Actor, KeyId, Timestamp};
use wire::audit::AuditEntry;
use wire::event::EventOutcome;
use wire::jwks::Jwks;

/// Seconds that a data plane may use a fetched set without asking again; the answer's `max-age`.
pub(crate) const JWKS_MAX_AGE_S: u32 = 300;

/// The signing keys of this process.
pub(crate) struct Signers {
    policy: RingPolicy,
    state: RwLock<State>,
    /// One change at a time; readers are not held up by its write to the store.
    changing: tokio::sync::Mutex<()>,
}

#[derive(Clone, Default)]
struct State {
    ring: KeyRing,
    signers: BTreeMap<KeyId, Arc<PlanSigner>>,
}

/// Says why the ring could not be loaded or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RingError {
    /// The store did not answer.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The stored ring is not one that any release left behind.
    #[error("the stored signing keys are damaged ({0}): restore the database from a backup")]
    Damaged(String),
    /// A key cannot be made.
    #[error("a signing key cannot be made: {0}")]
    Key(#[from] notary::KeyError),
    /// Another replica changed the ring at the same moment.
    #[error("another replica changes the keys right now")]
    Raced,
    /// The configured times would let a plan fail.
    #[error("[keys]: {0}")]
    Policy(#[from] notary::PolicyError),
    /// A rotation is not possible now.
    #[error("{0}")]
    Rotate(#[from] RotateError),
}

impl Signers {
    /// Loads the ring; on the very first start it mints the first key, afterwards a restart mints none.
    pub(crate) async fn load(store: &Store, config: &Keys, clock: &Clock) -> Result<Self, RingError> {
        let (policy, state) = (policy(config)?, RwLock::default());
        let signers = Self { policy, state, changing: tokio::sync::Mutex::new(()) };
        signers.advance(store, clock.now()).await?;
        Ok(signers)
    }

    /// The key that signs now.
    pub(crate) fn active(&self) -> Option<Arc<PlanSigner>> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let kid = &state.ring.active()?.kid;
        state.signers.get(kid).cloned()
    }

    /// The keys that are served.
    pub(crate) fn jwks(&self) -> Jwks {
        self.state.read().unwrap_or_else(PoisonError::into_inner).ring.jwks()
    }

    /// Every key, oldest first.
    pub(crate) fn records(&self) -> Vec<KeyRecord> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).ring.records().to_vec()
    }

    /// Takes every step that is due, a new key by age included.
    pub(crate) async fn advance(&self, store: &Store, now: Timestamp) -> Result<(), RingError> {
        let _one = self.changing.lock().await;
        let mut next = self.kept(store).await?;
        let wanted = next.ring.due(now, &self.policy).contains(&RingStep::Mint);
        let minted = if wanted { Some(next.mint(now, &self.policy)?) } else { None };
        next.ring.advance(now, &self.policy);
        match self.keep(store, next, minted, None, now).await {
            // The other replica took the steps that were due.
            Err(RingError::Raced) => Ok(()),
            kept => kept,
        }
    }

    /// Begins a rotation by command.
    pub(crate) async fn rotate(
        &self,
        store: &Store,
        deed: AuditEntry,
        now: Timestamp,
    ) -> Result<(), RingError> {
        let _one = self.changing.lock().await;
        let mut next = self.kept(store).await?;
        let minted = next.mint(now, &self.policy)?;
        next.ring.advance(now, &self.policy);
        self.keep(store, next, Some(minted), Some(deed), now).await
    }

    /// The ring as the store has it, which other replicas change too.
    async fn kept(&self, store: &Store) -> Result<State, RingError> {
        let rows = store.read().await?.signing_keys().list().await?;
        let known = self.state.read().unwrap_or_else(PoisonError::into_inner).clone();
        if is_of(&known.ring, &rows) {
            return Ok(known);
        }
        let kept = State::restore(rows)?;
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = kept.clone();
        Ok(kept)
    }

    /// Writes what changed, then shows it: a key neither signs nor is served before it is durable.
    async fn keep(
        &self,
        store: &Store,
        mut next: State,
        minted: Option<Minted>,
        deed: Option<AuditEntry>,
        now: Timestamp,
    ) -> Result<(), RingError> {
        let before = self.state.read().unwrap_or_else(PoisonError::into_inner).ring.clone();
        let changed: Vec<KeyRecord> =
            next.ring.records().iter().filter(|record| !before.records().contains(record)).cloned().collect();
        if changed.is_empty() {
            return Ok(());
        }
        let entries: Vec<AuditEntry> =
            deed.into_iter().chain(changed.iter().map(|record| change(record, now))).collect();
        store
            .write(move |tx| {
                Box::pin(async move {
                    // Writers take turns, over replicas too: what is read here holds until the commit.
                    if !is_of(&before, &tx.signing_keys().list().await?) {
                        return Err(RingError::Raced);
                    }
                    for record in changed {
                        match &minted {
                            Some(minted) if minted.kid == record.kid => {
                                tx.signing_keys().insert(&minted.row(&record)).await?;
                            }
                            Some(_) | None => {
                                let state = record.state.as_str();
                                tx.signing_keys().set_state(&record.kid, state, record.since).await?;
                            }
                        }
                    }
                    for entry in entries {
                        tx.audit(entry);
                    }
                    Ok(())
                })
            })
            .await
            .map_err(|error| match error {
                WriteError::Work(refused) => refused,
                WriteError::Store(error) => error.into(),
            })?;
        next.forget_archived();
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(())
    }
}

/// A key that was made and is not durable yet.
struct Minted {
    kid: KeyId,
    private: notary::Pkcs8,
}

impl Minted {
    fn row(&self, record: &KeyRecord) -> SigningKeyRow {
        SigningKeyRow {
            kid: record.kid.clone(),
            state: record.state.as_str().to_owned(),
            since: record.since,
            created_at: record.created_at,
            jwk: serde_json::to_string(&record.jwk).unwrap_or_default(),
            private: self.private.clone(),
        }
    }
}

impl State {
    fn restore(rows: Vec<SigningKeyRow>) -> Result<Self, RingError> {
        let mut signers = BTreeMap::new();
        let mut records = Vec::with_capacity(rows.len());
        for row in rows {
            let damaged = |what: &str| RingError::Damaged(format!("{what} of {}", row.kid));
            let state = row.state.parse().map_err(|()| damaged("the state"))?;
            if state != KeyState::Archived {
                signers.insert(row.kid.clone(), Arc::new(PlanSigner::from_pkcs8(&row.private)?));
            }
            let jwk = serde_json::from_str(&row.jwk).map_err(|_| damaged("the public key"))?;
            let (since, created_at) = (row.since, row.created_at);
            records.push(KeyRecord { kid: row.kid, jwk, state, since, created_at });
        }
        let ring = KeyRing::restore(records).map_err(|e| RingError::Damaged(e.to_string()))?;
        Ok(Self { ring, signers })
    }

    fn mint(&mut self, now: Timestamp, policy: &RingPolicy) -> Result<Minted, RingError> {
        let (signer, private) = PlanSigner::generate()?;
        let kid = signer.kid().clone();
        self.ring.rotate(signer.jwk(), now, policy)?;
        self.signers.insert(kid.clone(), Arc::new(signer));
        Ok(Minted { kid, private })
    }

    fn forget_archived(&mut self) {
        let gone = |kid: &KeyId| {
            let record = self.ring.records().iter().find(|record| record.kid == *kid);
            record.is_none_or(|record| record.state == KeyState::Archived)
        };
        let keep: Vec<KeyId> = self.signers.keys().filter(|kid| !gone(kid)).cloned().collect();
        self.signers.retain(|kid, _| keep.contains(kid));
    }
}

/// Whether these rows are that ring.
fn is_of(ring: &KeyRing, rows: &[SigningKeyRow]) -> bool {
    let is_row = |record: &KeyRecord| {
        let is_it = |row: &SigningKeyRow| {
            (&row.kid, &*row.state, row.since) == (&record.kid, record.state.as_str(), record.since)
        };
        rows.iter().any(is_it)
    };
    ring.records().len() == rows.len() && ring.records().iter().all(is_row)
}

fn change(record: &KeyRecord, now: Timestamp) -> AuditEntry {
    AuditEntry {
        time: now,
        actor: Actor::System.to_string(),
        action: Action::RotateKey.as_str().to_owned(),
        resource: format!("key/{}", record.kid),
        tenant: None,
        outcome: EventOutcome::Success,
        reason: record.state.as_str().to_owned(),
        request_digest: None,
    }
}

fn policy(config: &Keys) -> Result<RingPolicy, RingError> {
    let times = RingTimes {
        jwks_max_age_ms: i64::from(JWKS_MAX_AGE_S.min(config.publish_s)) * 1_000,
        publish_ms: i64::from(config.publish_s) * 1_000,
        retire_ms: i64::from(config.retire_s) * 1_000,
        max_age_ms: i64::from(config.max_age_days) * 24 * 3_600_000,
        ..RingTimes::default()
    };
    Ok(RingPolicy::new(times)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::{Config, Database};
    use tempfile::TempDir;
    use terms::KeyBytes;
    use vault::{Keystore, RootKey};

    #[tokio::test]
    async fn replicas_that_start_together_mint_one_key() {
        let (_dir, store) = store().await;
        let (one, other) = tokio::join!(replica(&store), replica(&store));
        other.advance(&store, host::clock::now()).await.unwrap();
        assert_eq!(one.records().len(), 1);
        assert_eq!(one.records(), other.records());
        assert_eq!(one.active().unwrap().kid(), other.active().unwrap().kid());
        store.close().await;
    }

    #[tokio::test]
    async fn a_key_of_one_replica_is_served_by_the_other_from_its_next_look_on() {
        let (_dir, store) = store().await;
        let (one, other) = (replica(&store).await, replica(&store).await);
        let now = host::clock::now();
        one.rotate(&store, deed(now), now).await.unwrap();
        assert_eq!(other.jwks().keys.len(), 1);
        other.advance(&store, now).await.unwrap();
        assert_eq!(other.jwks(), one.jwks());
        assert!(matches!(other.rotate(&store, deed(now), now).await, Err(RingError::Rotate(_))));

        let later = now.plus_ms(3_600_000);
        one.advance(&store, later).await.unwrap();
        other.advance(&store, later).await.unwrap();
        assert_eq!(one.active().unwrap().kid(), other.active().unwrap().kid());
        assert_eq!(other.records().len(), 2);
        store.close().await;
    }

    #[tokio::test]
    async fn of_two_rotations_at_once_one_is_refused_and_nothing_is_lost() {
        let (_dir, store) = store().await;
        let (one, other) = (replica(&store).await, replica(&store).await);
        let now = host::clock::now();
        let (first, second) =
            tokio::join!(one.rotate(&store, deed(now), now), other.rotate(&store, deed(now), now));
        assert_eq!(usize::from(first.is_ok()) + usize::from(second.is_ok()), 1, "{first:?} {second:?}");
        one.advance(&store, now).await.unwrap();
        other.advance(&store, now).await.unwrap();
        assert_eq!(one.records(), other.records());
        store.close().await;
    }

    async fn store() -> (TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("palisade.db");
        let config = Config::new(Database::File { path, key: KeyBytes::new([1; 32]) });
        let keystore = Keystore::new(RootKey::new(KeyBytes::new([2; 32])));
        (dir, Store::open(config, keystore).await.unwrap())
    }

    async fn replica(store: &Store) -> Signers {
        Signers::load(store, &Keys::default(), &Clock::system()).await.unwrap()
    }

    fn deed(now: Timestamp) -> AuditEntry {
        AuditEntry {
            time: now,
            actor: Actor::System.to_string(),
            action: Action::RotateKey.as_str().to_owned(),
            resource: "keys".to_owned(),
            tenant: None,
            outcome: EventOutcome::Success,
            reason: "ok".to_owned(),
            request_digest: None,
        }
    }
}
