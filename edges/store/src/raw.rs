//! The database as it lies on its medium, for control checks (DATA-1): nothing here is opened.

use crate::data_map::Column;
use crate::error::StoreError;
use crate::permit::reach_platform;
use crate::reader::Reader;
use crate::sql::{self, Columns, sql};
use terms::Permit;

impl Reader {
    /// What the page cipher of a SQLCipher file says it is; none if there is no page cipher.
    ///
    /// # Errors
    /// [`StoreError`], on a server too.
    pub async fn page_cipher(&mut self) -> Result<Option<String>, StoreError> {
        let row = sql::one(self, sql("PRAGMA cipher_version")).await?;
        row.map(|row| Columns::of(&row).text()).transpose()
    }

    /// The first 4 KiB of up to 1 000 values of a column that holds bytes, as they are stored.
    ///
    /// # Errors
    /// [`StoreError`], for a column that does not hold bytes too.
    pub async fn raw_column(&mut self, permit: &Permit, column: &Column) -> Result<Vec<Vec<u8>>, StoreError> {
        reach_platform(permit)?;
        // Names out of the data map, which is compiled in.
        let Column { table, column, .. } = column;
        let text =
            format!("SELECT substr({column}, 1, 4096) FROM {table} WHERE {column} IS NOT NULL LIMIT 1000");
        let rows = sql::all(self, sql(text)).await?;
        rows.iter().map(|row| Columns::of(row).bytes()).collect()
    }
}
