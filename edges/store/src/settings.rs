//! Values of the platform itself: its authority, its audit key. Sealed.

use crate::error::StoreError;
use crate::keys::{self, Place};
use crate::repositories::Settings;
use crate::sql::{self, Columns, Source, sql};
use crate::tx::Tx;
use vault::Owner;
use zeroize::Zeroizing;

impl<S: Source> Settings<'_, S> {
    /// A value, if it was put.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn get(&mut self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        let statement = sql("SELECT sealed FROM settings WHERE name = $1").bind(name.to_owned());
        let Some(row) = sql::one(self.0, statement).await? else { return Ok(None) };
        let sealed = Columns::of(&row).bytes()?;
        keys::of(self.0, Owner::Platform).await?.open(place(name), &sealed).map(Some)
    }
}

impl Settings<'_, Tx> {
    /// Puts a value in place of the one that was there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn put(&mut self, name: &str, value: &[u8]) -> Result<(), StoreError> {
        let sealed = keys::of(self.0, Owner::Platform).await?.seal(place(name), value)?;
        let statement = sql("INSERT INTO settings (name, sealed) VALUES ($1, $2) \
                             ON CONFLICT (name) DO UPDATE SET sealed = excluded.sealed")
        .bind(name.to_owned())
        .bind(sealed);
        sql::run(self.0, statement).await.map(drop)
    }
}

const fn place(name: &str) -> Place<'_> {
    Place { table: "settings", column: "sealed", row: name.as_bytes() }
}
