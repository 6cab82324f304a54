//! An intruder who has a site's files and its root key: edits the database, and issues certificates.

use anyhow::{Context as _, Result, ensure};
use serve::ca::{Authority, KeyPem, Subject, Use};
use serve::tls::Identity;
use store::{Config, Database, Store};
use terms::{KeyBytes, SpiffeId, Timestamp, Workload};
use trials::Site;
use vault::{Keystore, RootKey};

/// How long certificates live.
pub(super) const DAY_MS: i64 = 24 * 3_600_000;

/// The trust domain of every site that nobody gave another one.
const TRUST_DOMAIN: &str = "palisade.internal";

/// An intruder in a site's database, running or not.
pub(super) struct Intruder {
    root: [u8; 32],
    database: std::path::PathBuf,
    file: rusqlite::Connection,
}

impl Intruder {
    pub(super) fn into(site: &Site) -> Result<Self> {
        let text = std::fs::read_to_string(site.state().join("control/root.key"))?;
        let mut root = [0; 32];
        hex::decode_to_slice(text.trim(), &mut root)?;
        let database = site.state().join("control/palisade.db");
        let file = rusqlite::Connection::open(&database)?;
        let key = hex::encode(keystore(root).page_key().expose());
        let cipher = store::PAGE_CIPHER;
        file.execute_batch(&format!("PRAGMA key = \"x'{key}'\"; {cipher}; PRAGMA busy_timeout = 10000;"))?;
        Ok(Self { root, database, file })
    }

    /// Runs statements past the store and all its rules.
    pub(super) fn run(&self, sql: &str) -> Result<()> {
        self.file.execute_batch(sql).with_context(|| sql.to_owned())
    }

    /// Changes one value of bytes, named by column, table and condition, and gives what it was.
    pub(super) fn edit(
        &self,
        [column, table, which]: [&str; 3],
        edit: impl FnOnce(&[u8]) -> Result<Vec<u8>>,
    ) -> Result<Vec<u8>> {
        let select = format!("SELECT {column} FROM {table} WHERE {which}");
        let before: Vec<u8> = self.file.query_row(&select, [], |row| row.get(0)).context(select)?;
        let update = format!("UPDATE {table} SET {column} = ?1 WHERE {which}");
        ensure!(self.file.execute(&update, [edit(&before)?])? == 1, "{update}: not one row");
        Ok(before)
    }

    /// The store itself, which seals what it writes.
    pub(super) async fn store(&self) -> Result<Store> {
        let keystore = keystore(self.root);
        let database = Database::File { path: self.database.clone(), key: keystore.page_key() };
        Ok(Store::open(Config::new(database), keystore).await?)
    }

    /// An identity of any workload, with a certificate that lives for a day from `now`.
    pub(super) async fn identity(&self, of: Workload, now: Timestamp) -> Result<Identity> {
        let store = self.store().await?;
        let mut reader = store.read().await?;
        let mut setting = async |name| {
            let value = reader.settings().get(name).await?.context(name)?;
            Ok::<_, anyhow::Error>(String::from_utf8(value.to_vec())?)
        };
        let (certificate, key) = (setting("authority.certificate").await?, setting("authority.key").await?);
        drop(reader);
        store.close().await;
        let authority = Authority::load(&certificate, &KeyPem::new(key))?;
        let spiffe = SpiffeId::new(TRUST_DOMAIN.parse()?, of);
        let (usage, lifetime_ms) = (Use::Server, DAY_MS);
        let subject = Subject { spiffe: &spiffe, dns_names: &[], ips: &[], usage, now, lifetime_ms };
        let (issued, key) = authority.issue_with_key(&subject)?;
        Ok(Identity::from_pem(&issued.chain_pem, key.expose())?)
    }
}

fn keystore(root: [u8; 32]) -> Keystore {
    Keystore::new(RootKey::new(KeyBytes::new(root)))
}
