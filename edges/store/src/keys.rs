//! The keys of sealed columns: made with their owner, unwrapped once, cached, gone with their owner.

use crate::error::StoreError;
use crate::sql::{self, Columns, Source, sql};
use crate::tx::Tx;
use core::time::Duration;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;
use terms::TenantId;
use vault::{Context, DataKey, Keystore, NONCE_LENGTH, Owner, Purpose, WrappedKey};
use zeroize::Zeroizing;

/// The purposes that each owner has a key for.
const PURPOSES: [Purpose; 3] = [Purpose::Column, Purpose::Index, Purpose::Log];

/// The first version of every key.
const VERSION: u32 = 1;

/// Most owners whose keys are kept unwrapped: a few megabytes.
const CACHED_MAX: usize = 1_024;

/// For how long keys are used without looking whether they are still there. Another replica may have destroyed
/// them: after that long, none can open what they sealed.
const TRUSTED_FOR: Duration = Duration::from_secs(60);

/// The keys of all owners.
#[derive(Clone)]
pub struct Keys(Arc<Inner>);

struct Inner {
    keystore: Keystore,
    cache: RwLock<Cache>,
}

/// Keys that are known to be committed.
#[derive(Default)]
struct Cache {
    owners: HashMap<Owner, (Arc<OwnerKeys>, Instant)>,
    /// How often keys were destroyed: what was read before the last time may be gone.
    destroyed: u64,
}

/// What is at hand of an owner's keys.
pub enum Cached {
    /// They are.
    Here(Arc<OwnerKeys>),
    /// They are not; what the database says may be kept if nothing was destroyed since.
    Unknown {
        /// How often keys had been destroyed.
        seen: u64,
    },
    /// This transaction destroyed them.
    Destroyed,
}

/// One owner's keys.
pub struct OwnerKeys {
    owner: Owner,
    column: DataKey,
    index: DataKey,
    log: DataKey,
}

/// Nonces for many values, drawn from the kernel by the handful: a call for each would cost as much as sealing.
#[derive(Default)]
pub(crate) struct Nonces(Vec<[u8; NONCE_LENGTH]>);

/// Where a sealed value stands.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) table: &'static str,
    pub(crate) column: &'static str,
    pub(crate) row: &'a [u8],
}

// === impl Keys ===

impl Keys {
    pub(crate) fn new(keystore: Keystore) -> Self {
        Self(Arc::new(Inner { keystore, cache: RwLock::default() }))
    }

    pub(crate) fn cached(&self, owner: Owner) -> Cached {
        let cache = self.0.cache.read().unwrap_or_else(PoisonError::into_inner);
        match cache.owners.get(&owner) {
            Some((keys, since)) if since.elapsed() < TRUSTED_FOR => Cached::Here(Arc::clone(keys)),
            Some(_) | None => Cached::Unknown { seen: cache.destroyed },
        }
    }

    /// Keeps committed keys, unless some were destroyed since they were read: perhaps these.
    pub(crate) fn keep(&self, owner: Owner, keys: Arc<OwnerKeys>, seen: u64) {
        let mut cache = self.0.cache.write().unwrap_or_else(PoisonError::into_inner);
        if cache.destroyed != seen {
            return;
        }
        if cache.owners.len() >= CACHED_MAX {
            cache.owners.clear();
        }
        cache.owners.insert(owner, (keys, Instant::now()));
    }

    /// Forgets keys whose destruction is committed.
    pub(crate) fn forget(&self, owners: &[Owner]) {
        if owners.is_empty() {
            return;
        }
        let mut cache = self.0.cache.write().unwrap_or_else(PoisonError::into_inner);
        cache.destroyed += 1;
        for owner in owners {
            cache.owners.remove(owner);
        }
    }
}

/// The keys of `owner`, from the cache or the database.
///
/// # Errors
/// [`StoreError::KeyDestroyed`] if there are none.
pub(crate) async fn of<S: Source>(source: &mut S, owner: Owner) -> Result<Arc<OwnerKeys>, StoreError> {
    let seen = match source.cached(owner) {
        Cached::Here(keys) => return Ok(keys),
        Cached::Unknown { seen } => seen,
        Cached::Destroyed => return Err(StoreError::KeyDestroyed),
    };
    let statement = sql("SELECT purpose, wrapped FROM vault_keys WHERE owner = $1 AND version = $2");
    let rows = sql::all(source, statement.bind(owner_text(owner)).bind(i64::from(VERSION))).await?;
    if rows.is_empty() {
        return Err(StoreError::KeyDestroyed);
    }
    let mut wrapped = Vec::with_capacity(rows.len());
    for row in &rows {
        let mut columns = Columns::of(row);
        let purpose: Purpose = columns.parsed("vault_keys.purpose")?;
        wrapped.push((purpose, columns.bytes()?));
    }
    let sealed = |source| StoreError::Sealed { what: "key", source };
    let unwrap = |purpose| {
        let found = wrapped.iter().find(|(of, _)| *of == purpose);
        let (_, bytes) = found.ok_or(StoreError::Corrupt("vault_keys.purpose"))?;
        let key = WrappedKey::try_from(bytes.as_slice()).map_err(sealed)?;
        source.keys().0.keystore.unwrap(owner, purpose, VERSION, &key).map_err(sealed)
    };
    let [column, index, log] = PURPOSES.map(unwrap);
    let found = Arc::new(OwnerKeys { owner, column: column?, index: index?, log: log? });
    source.keep(owner, Arc::clone(&found), seen);
    Ok(found)
}

/// The keys of `owner`; none if they were destroyed.
pub(crate) async fn find<S: Source>(
    source: &mut S,
    owner: Owner,
) -> Result<Option<Arc<OwnerKeys>>, StoreError> {
    match of(source, owner).await {
        Ok(keys) => Ok(Some(keys)),
        Err(StoreError::KeyDestroyed) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes the keys of a new owner.
pub(crate) async fn create<S: Source>(source: &mut S, owner: Owner) -> Result<(), StoreError> {
    for purpose in PURPOSES {
        let wrapped = source.keys().0.keystore.wrap_new(owner, purpose, VERSION, entropy()?, entropy()?);
        let statement =
            sql("INSERT INTO vault_keys (owner, purpose, version, wrapped) VALUES ($1, $2, $3, $4)")
                .bind(owner_text(owner))
                .bind(purpose.as_str())
                .bind(i64::from(VERSION))
                .bind(wrapped.as_bytes().to_vec());
        sql::run(source, statement).await?;
    }
    Ok(())
}

/// Destroys the keys of an owner: what they sealed can be read no more, once this is committed.
pub(crate) async fn destroy(tx: &mut Tx, owner: Owner) -> Result<(), StoreError> {
    let Some(keys) = find(tx, owner).await? else { return Ok(()) };
    sql::run(tx, sql("DELETE FROM vault_keys WHERE owner = $1").bind(owner_text(owner))).await?;
    tx.destroyed(owner, keys);
    Ok(())
}

/// Bytes from the kernel.
pub(crate) fn entropy<const N: usize>() -> Result<[u8; N], StoreError> {
    host::entropy::bytes().map_err(|_| StoreError::Entropy)
}

/// The owner of a tenant's or the platform's values.
pub(crate) fn owner(tenant: Option<TenantId>) -> Owner {
    tenant.map_or(Owner::Platform, Owner::Tenant)
}

fn owner_text(owner: Owner) -> String {
    match owner {
        Owner::Platform => "platform".to_owned(),
        Owner::Tenant(tenant) => tenant.to_string(),
    }
}

// === impl Nonces ===

impl Nonces {
    /// The next nonce; none is given twice.
    pub(crate) fn next(&mut self) -> Result<[u8; NONCE_LENGTH], StoreError> {
        if self.0.is_empty() {
            let drawn: [u8; 32 * NONCE_LENGTH] = entropy()?;
            self.0.extend(drawn.as_chunks().0);
        }
        self.0.pop().ok_or(StoreError::Entropy)
    }
}

// === impl OwnerKeys ===

impl OwnerKeys {
    /// Seals a column's value to its place.
    pub(crate) fn seal(&self, place: Place<'_>, value: &[u8]) -> Result<Vec<u8>, StoreError> {
        Ok(self.column.seal(&self.context(place), entropy()?, value))
    }

    /// Opens a column's value at its place.
    pub(crate) fn open(&self, place: Place<'_>, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let refused = |source| StoreError::Sealed { what: place.table, source };
        self.column.open(&self.context(place), sealed).map_err(refused)
    }

    /// Seals an audit entry to its index.
    pub(crate) fn seal_entry(&self, place: Place<'_>, nonce: [u8; NONCE_LENGTH], entry: &[u8]) -> Vec<u8> {
        self.log.seal(&self.context(place), nonce, entry)
    }

    /// Opens an audit entry at its index.
    pub(crate) fn open_entry(
        &self,
        place: Place<'_>,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let refused = |source| StoreError::Sealed { what: place.table, source };
        self.log.open(&self.context(place), sealed).map_err(refused)
    }

    /// What a value is looked up by, without being readable.
    pub(crate) fn blind_index(&self, table: &'static str, column: &'static str, value: &[u8]) -> Vec<u8> {
        self.index.blind_index(&self.context(Place { table, column, row: &[] }), value).to_vec()
    }

    fn context<'a>(&self, place: Place<'a>) -> Context<'a> {
        Context { owner: self.owner, kind: place.table, column: place.column, row: place.row }
    }
}
