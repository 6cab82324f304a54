//! The control plane's plan keys: a rotation in which no plan fails.
//!
//! ```text
//! staged -> published -> active -> retiring -> archived
//! ```
//! A key is served before it signs, for as long as data planes may hold an older set; and after it last
//! signed, for as long as one of its tokens may have to be verified. Time alone moves keys on: a command or
//! the active key's age only brings a new one in.

use crate::{KeyError, PlanKey};
use terms::{KeyId, Timestamp};
use wire::jwks::{Jwk, Jwks, KEYS_MAX};
use wire::plan_token::LIFETIME_S;

/// Milliseconds that a data plane's clock may be off when it judges a token's expiry.
const LEEWAY_MS: i64 = 5_000;

/// The oldest that a signing key may become, in milliseconds (IAM-7: 90 days).
const AGE_MS_MAX: i64 = 90 * 24 * 3_600_000;

/// Where a key is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyState {
    /// Minted and kept, not yet served.
    Staged,
    /// Served, does not sign yet.
    Published,
    /// Served and signs.
    Active,
    /// Served, does not sign any more.
    Retiring,
    /// Neither served nor used again.
    Archived,
}

/// One key, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// The thumbprint.
    pub kid: KeyId,
    /// The public key.
    pub jwk: Jwk,
    /// Where it is.
    pub state: KeyState,
    /// Since when it is there.
    pub since: Timestamp,
    /// When it was minted.
    pub created_at: Timestamp,
}

/// The times of a rotation, not yet checked. All in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingTimes {
    /// How long data planes use a fetched set without asking again.
    pub jwks_max_age_ms: i64,
    /// How long past that they use it when they cannot ask.
    pub stale_if_error_ms: i64,
    /// How long a key is served before it signs.
    pub publish_ms: i64,
    /// How long a key is served after it last signed.
    pub retire_ms: i64,
    /// The age at which the active key is replaced.
    pub max_age_ms: i64,
}

/// The times of a rotation in which no plan fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RingPolicy(RingTimes);

/// One step of a rotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RingStep {
    /// A new key is wanted: [`KeyRing::rotate`] takes it.
    Mint,
    /// Serve this staged key.
    Publish(KeyId),
    /// Sign with this published key; the one that signed retires.
    Activate(KeyId),
    /// Stop serving this retiring key.
    Archive(KeyId),
}

/// Every plan key of a control plane.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyRing {
    /// In the order of their birth.
    // INVARIANT: at most `KEYS_MAX` served, at most one staged or published, exactly one active as soon as
    // one is retiring or archived.
    keys: Vec<KeyRecord>,
}

/// Says why times do not make a rotation in which no plan fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// A key would sign before every data plane can know it.
    #[error("keys must be published for at least {0} ms before they sign")]
    Publish(i64),
    /// A key would be gone while its tokens may have to be verified.
    #[error("keys must be served for at least {0} ms after they last signed")]
    Retire(i64),
    /// A key would sign for longer than 90 days, or not at all.
    #[error("keys must be replaced between 1 ms and 90 days after their birth, publication included")]
    Age,
}

/// Says why records are not a ring.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// A key is unusable, or its id is not its own.
    #[error("key `{0}`: {1}")]
    Key(KeyId, KeyError),
    /// One key twice.
    #[error("key `{0}` stands twice")]
    Twice(KeyId),
    /// Not exactly one active key although one was active before, or more than one.
    #[error("{0} active keys")]
    Active(usize),
    /// More than one key on its way in.
    #[error("{0} rotations under way")]
    UnderWay(usize),
    /// More keys served than a set holds.
    #[error("{0} keys served, more than {KEYS_MAX}")]
    Served(usize),
}

/// Says why a rotation does not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RotateError {
    /// Another key is on its way in.
    #[error("key `{0}` is already on its way in")]
    UnderWay(KeyId),
    /// The set is full until a retiring key is archived.
    #[error("{KEYS_MAX} keys are served; one is archived at {until}")]
    Full {
        /// When there is room again.
        until: Timestamp,
    },
    /// The ring already has this key.
    #[error("key `{0}` is not new")]
    Known(KeyId),
    /// The key is unusable.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// Says that a step is not due.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the step is not due: {0:?}")]
pub struct StepError(pub RingStep);

// === impl KeyState ===

impl KeyState {
    /// The state's stable text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Staged => "staged",
            Self::Published => "published",
            Self::Active => "active",
            Self::Retiring => "retiring",
            Self::Archived => "archived",
        }
    }

    /// Whether the JWKS holds keys in this state.
    #[must_use]
    pub const fn is_served(self) -> bool {
        match self {
            Self::Published | Self::Active | Self::Retiring => true,
            Self::Staged | Self::Archived => false,
        }
    }
}

impl core::str::FromStr for KeyState {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let all = [Self::Staged, Self::Published, Self::Active, Self::Retiring, Self::Archived];
        all.into_iter().find(|state| state.as_str() == text).ok_or(())
    }
}

// === impl RingTimes ===

impl Default for RingTimes {
    fn default() -> Self {
        Self {
            jwks_max_age_ms: 300_000,
            stale_if_error_ms: 3_600_000,
            publish_ms: 300_000,
            retire_ms: 70 * 60_000,
            max_age_ms: 30 * 24 * 3_600_000,
        }
    }
}

// === impl RingPolicy ===

impl RingPolicy {
    /// Checks the times.
    ///
    /// # Errors
    /// [`PolicyError`], with the shortest time that would do.
    pub fn new(times: RingTimes) -> Result<Self, PolicyError> {
        // INVARIANT: a data plane with the oldest set that it may use knows each key that signs, and still
        // knows each key whose token it may have to verify.
        let publish_min = times.jwks_max_age_ms.max(0);
        if times.publish_ms < publish_min {
            return Err(PolicyError::Publish(publish_min));
        }
        let lifetime = LIFETIME_S * 1_000 + LEEWAY_MS;
        let retire_min = lifetime.saturating_add(times.stale_if_error_ms.max(0));
        if times.retire_ms < retire_min {
            return Err(PolicyError::Retire(retire_min));
        }
        if times.max_age_ms < 1 || times.max_age_ms.saturating_add(times.publish_ms) > AGE_MS_MAX {
            return Err(PolicyError::Age);
        }
        Ok(Self(times))
    }

    /// The checked times.
    #[must_use]
    pub const fn times(&self) -> &RingTimes {
        &self.0
    }
}

// === impl KeyRing ===

impl KeyRing {
    /// A ring without keys, as before the first start.
    #[must_use]
    pub const fn new() -> Self {
        Self { keys: Vec::new() }
    }

    /// A ring from kept records. Archived ones may be left out.
    ///
    /// # Errors
    /// [`RestoreError`] for records that no ring can have left.
    pub fn restore(mut records: Vec<KeyRecord>) -> Result<Self, RestoreError> {
        sort_by_birth(&mut records);
        for (at, record) in records.iter().enumerate() {
            let key = PlanKey::from_jwk(&record.jwk).map_err(|e| RestoreError::Key(record.kid.clone(), e))?;
            if *key.kid() != record.kid {
                return Err(RestoreError::Key(record.kid.clone(), KeyError::Thumbprint));
            }
            if records.iter().skip(at + 1).any(|other| other.kid == record.kid) {
                return Err(RestoreError::Twice(record.kid.clone()));
            }
        }
        let ring = Self { keys: records };
        let count = |state: KeyState| ring.keys.iter().filter(|k| k.state == state).count();
        let active = count(KeyState::Active);
        let had_active = count(KeyState::Retiring) + count(KeyState::Archived) > 0;
        if active > 1 || (had_active && active == 0) {
            return Err(RestoreError::Active(active));
        }
        let under_way = count(KeyState::Staged) + count(KeyState::Published);
        if under_way > 1 {
            return Err(RestoreError::UnderWay(under_way));
        }
        if ring.served() > KEYS_MAX {
            return Err(RestoreError::Served(ring.served()));
        }
        Ok(ring)
    }

    /// Every key, oldest first.
    #[must_use]
    pub fn records(&self) -> &[KeyRecord] {
        &self.keys
    }

    /// The key that signs.
    #[must_use]
    pub fn active(&self) -> Option<&KeyRecord> {
        self.keys.iter().find(|k| k.state == KeyState::Active)
    }

    /// The keys that are served, oldest first.
    #[must_use]
    pub fn jwks(&self) -> Jwks {
        Jwks { keys: self.keys.iter().filter(|k| k.state.is_served()).map(|k| k.jwk.clone()).collect() }
    }

    /// What is due now. A restart makes nothing due: only an empty ring or the active key's age wants a key.
    #[must_use]
    pub fn due(&self, now: Timestamp, policy: &RingPolicy) -> Vec<RingStep> {
        let RingTimes { publish_ms, retire_ms, max_age_ms, .. } = policy.0;
        let has_active = self.active().is_some();
        let mut steps: Vec<RingStep> = Vec::new();
        for key in &self.keys {
            let waited_ms = now.ms_since(key.since);
            match key.state {
                KeyState::Staged => steps.push(RingStep::Publish(key.kid.clone())),
                KeyState::Published if waited_ms >= publish_ms || !has_active => {
                    steps.push(RingStep::Activate(key.kid.clone()));
                }
                KeyState::Retiring if waited_ms >= retire_ms => {
                    steps.push(RingStep::Archive(key.kid.clone()));
                }
                KeyState::Published | KeyState::Active | KeyState::Retiring | KeyState::Archived => {}
            }
        }
        let aged = self.active().is_none_or(|key| now.ms_since(key.created_at) >= max_age_ms);
        if aged && self.under_way().is_none() && self.served() < KEYS_MAX {
            steps.push(RingStep::Mint);
        }
        steps
    }

    /// Takes one step that is due.
    ///
    /// # Errors
    /// [`StepError`] for a step that is not due, and for [`RingStep::Mint`], which needs a key.
    pub fn apply(&mut self, step: &RingStep, now: Timestamp, policy: &RingPolicy) -> Result<(), StepError> {
        if !self.due(now, policy).contains(step) {
            return Err(StepError(step.clone()));
        }
        match step {
            RingStep::Mint => return Err(StepError(RingStep::Mint)),
            RingStep::Publish(kid) => self.move_to(KeyState::Published, kid, now),
            RingStep::Activate(kid) => {
                if let Some(last) = self.active().map(|key| key.kid.clone()) {
                    self.move_to(KeyState::Retiring, &last, now);
                }
                self.move_to(KeyState::Active, kid, now);
            }
            RingStep::Archive(kid) => self.move_to(KeyState::Archived, kid, now),
        }
        Ok(())
    }

    /// Takes every step that is due but minting, and says which those were.
    pub fn advance(&mut self, now: Timestamp, policy: &RingPolicy) -> Vec<RingStep> {
        let mut taken = Vec::new();
        while let Some(step) = self.due(now, policy).into_iter().find(|step| *step != RingStep::Mint) {
            if self.apply(&step, now, policy).is_err() {
                break;
            }
            taken.push(step);
        }
        taken
    }

    /// Brings a new key in, by command or because [`RingStep::Mint`] was due. It is staged; the very first
    /// key is then active as soon as it is published, every other one waits for its turn.
    ///
    /// # Errors
    /// [`RotateError`] leaves the ring unchanged.
    pub fn rotate(&mut self, jwk: Jwk, now: Timestamp, policy: &RingPolicy) -> Result<(), RotateError> {
        let kid = PlanKey::from_jwk(&jwk)?.kid().clone();
        if let Some(key) = self.under_way() {
            return Err(RotateError::UnderWay(key.kid.clone()));
        }
        if self.keys.iter().any(|key| key.kid == kid) {
            return Err(RotateError::Known(kid));
        }
        if self.served() >= KEYS_MAX {
            let retiring = self.keys.iter().filter(|key| key.state == KeyState::Retiring);
            let first = retiring.map(|key| key.since).min().unwrap_or(now);
            return Err(RotateError::Full { until: first.plus_ms(policy.0.retire_ms) });
        }
        self.keys.push(KeyRecord { kid, jwk, state: KeyState::Staged, since: now, created_at: now });
        sort_by_birth(&mut self.keys);
        Ok(())
    }

    fn under_way(&self) -> Option<&KeyRecord> {
        self.keys.iter().find(|key| matches!(key.state, KeyState::Staged | KeyState::Published))
    }

    fn served(&self) -> usize {
        self.keys.iter().filter(|key| key.state.is_served()).count()
    }

    fn move_to(&mut self, state: KeyState, kid: &KeyId, now: Timestamp) {
        if let Some(key) = self.keys.iter_mut().find(|key| key.kid == *kid) {
            key.state = state;
            key.since = now;
        }
    }
}

fn sort_by_birth(keys: &mut [KeyRecord]) {
    keys.sort_by(|a, b| (a.created_at, &a.kid).cmp(&(b.created_at, &b.kid)));
}
