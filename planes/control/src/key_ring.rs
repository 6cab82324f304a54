//! The plan-signing keys: the notary's ring, kept in the store, with the parsed private keys in memory.

use crate::config::Keys;
use host::clock::Clock;
use notary::{KeyRecord, KeyRing, KeyState, PlanSigner, RingPolicy, RingStep, RingTimes, RotateError};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use store::{SigningKeyRow, Store, StoreError};
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
        let policy = policy(config)?;
        let rows = store.read().await?.signing_keys().list().await?;
        let mut state = State { ring: KeyRing::default(), signers: BTreeMap::new() };
        let mut records = Vec::with_capacity(rows.len());
        for row in rows {
            let damaged = |what: &str| RingError::Damaged(format!("{what} of {}", row.kid));
            let key_state = row.state.parse().map_err(|()| damaged("the state"))?;
            if key_state != KeyState::Archived {
                state.signers.insert(row.kid.clone(), Arc::new(PlanSigner::from_pkcs8(&row.private)?));
            }
            let jwk = serde_json::from_str(&row.jwk).map_err(|_| damaged("the public key"))?;
            let (since, created_at) = (row.since, row.created_at);
            records.push(KeyRecord { kid: row.kid, jwk, state: key_state, since, created_at });
        }
        state.ring = KeyRing::restore(records).map_err(|e| RingError::Damaged(e.to_string()))?;
        let signers = Self { policy, state: RwLock::new(state), changing: tokio::sync::Mutex::new(()) };
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
        let mut next = self.snapshot();
        let wanted = next.ring.due(now, &self.policy).contains(&RingStep::Mint);
        let minted = if wanted { Some(next.mint(now, &self.policy)?) } else { None };
        next.ring.advance(now, &self.policy);
        self.keep(store, next, minted, None, now).await
    }

    /// Begins a rotation by command.
    pub(crate) async fn rotate(
        &self,
        store: &Store,
        deed: AuditEntry,
        now: Timestamp,
    ) -> Result<(), RingError> {
        let _one = self.changing.lock().await;
        let mut next = self.snapshot();
        let minted = next.mint(now, &self.policy)?;
        next.ring.advance(now, &self.policy);
        self.keep(store, next, Some(minted), Some(deed), now).await
    }

    fn snapshot(&self) -> State {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
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
        let before = self.records();
        let changed: Vec<KeyRecord> =
            next.ring.records().iter().filter(|record| !before.contains(record)).cloned().collect();
        if changed.is_empty() {
            return Ok(());
        }
        let entries: Vec<AuditEntry> =
            deed.into_iter().chain(changed.iter().map(|record| change(record, now))).collect();
        store
            .write(move |tx| {
                Box::pin(async move {
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
                    Ok::<_, StoreError>(())
                })
            })
            .await
            .map_err(StoreError::from)?;
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
