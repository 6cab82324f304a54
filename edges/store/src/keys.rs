//! The keys of sealed columns: made with their owner, unwrapped once, cached, gone with their owner.

use crate::error::StoreError;
use crate::sql::{self, Columns, Source, sql};
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use terms::TenantId;
use vault::{Context, DataKey, Keystore, Owner, Purpose, WrappedKey};
use zeroize::Zeroizing;

/// The purposes that each owner has a key for.
const PURPOSES: [Purpose; 3] = [Purpose::Column, Purpose::Index, Purpose::Log];

/// The first version of every key.
const VERSION: u32 = 1;

/// The keys of all owners.
#[derive(Clone)]
pub struct Keys(Arc<Inner>);

struct Inner {
    keystore: Keystore,
    cached: RwLock<HashMap<Owner, Arc<OwnerKeys>>>,
}

/// One owner's keys.
pub(crate) struct OwnerKeys {
    owner: Owner,
    column: DataKey,
    index: DataKey,
    log: DataKey,
}

/// Where a sealed value stands.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) table: &'static str,
    pub(crate) column: &'static str,
    pub(crate) row: &'a [u8],
}

impl Keys {
    pub(crate) fn new(keystore: Keystore) -> Self {
        Self(Arc::new(Inner { keystore, cached: RwLock::default() }))
    }

    fn cached(&self, owner: Owner) -> Option<Arc<OwnerKeys>> {
        self.0.cached.read().unwrap_or_else(PoisonError::into_inner).get(&owner).cloned()
    }

    /// Forgets the keys of an owner that was deleted.
    pub(crate) fn forget(&self, owner: Owner) {
        self.0.cached.write().unwrap_or_else(PoisonError::into_inner).remove(&owner);
    }
}

/// The keys of `owner`, from the cache or the database.
pub(crate) async fn of<S: Source>(source: &mut S, owner: Owner) -> Result<Arc<OwnerKeys>, StoreError> {
    if let Some(cached) = source.keys().cached(owner) {
        return Ok(cached);
    }
    let keys = source.keys().clone();
    let mut unwrapped = Vec::with_capacity(PURPOSES.len());
    for purpose in PURPOSES {
        let statement =
            sql("SELECT wrapped FROM vault_keys WHERE owner = $1 AND purpose = $2 AND version = $3")
                .bind(owner_text(owner))
                .bind(purpose.as_str())
                .bind(i64::from(VERSION));
        let row = sql::one(source, statement).await?.ok_or(StoreError::KeyDestroyed)?;
        let wrapped = Columns::of(&row).bytes()?;
        let sealed = |error| StoreError::Sealed { what: "key", source: error };
        let wrapped = WrappedKey::try_from(wrapped.as_slice()).map_err(sealed)?;
        unwrapped.push(keys.0.keystore.unwrap(owner, purpose, VERSION, &wrapped).map_err(sealed)?);
    }
    let [column, index, log] =
        <[DataKey; 3]>::try_from(unwrapped).map_err(|_| StoreError::Corrupt("vault_keys.purpose"))?;
    let found = Arc::new(OwnerKeys { owner, column, index, log });
    keys.0.cached.write().unwrap_or_else(PoisonError::into_inner).insert(owner, Arc::clone(&found));
    Ok(found)
}

/// Makes the keys of a new owner.
pub(crate) async fn create<S: Source>(source: &mut S, owner: Owner) -> Result<(), StoreError> {
    for purpose in PURPOSES {
        let keys = source.keys().clone();
        let wrapped = keys.0.keystore.wrap_new(owner, purpose, VERSION, entropy()?, entropy()?);
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

/// Destroys the keys of an owner: what they sealed can be read no more.
pub(crate) async fn destroy<S: Source>(source: &mut S, owner: Owner) -> Result<(), StoreError> {
    sql::run(source, sql("DELETE FROM vault_keys WHERE owner = $1").bind(owner_text(owner))).await?;
    source.keys().forget(owner);
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
    pub(crate) fn seal_entry(&self, place: Place<'_>, entry: &[u8]) -> Result<Vec<u8>, StoreError> {
        Ok(self.log.seal(&self.context(place), entropy()?, entry))
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
