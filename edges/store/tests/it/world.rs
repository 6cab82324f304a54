//! A database of its own for each test, on either engine.

use sqlx::any::AnyConnectOptions;
use sqlx::{AnyConnection, AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, Row as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use store::{Config, Database, OpenError, Store, Tenant, TenantState};
use tempfile::TempDir;
use terms::{Action, Actor, KeyBytes, Permit, Scope, TenantId, Timestamp};
use vault::{Keystore, RootKey};
use wire::audit::AuditEntry;
use wire::event::{EventKind, EventOutcome, Plane, SecurityEvent};

/// Runs each contract on both engines.
macro_rules! contracts {
    ($($name:ident,)*) => {
        mod sqlcipher {
            $(#[test] fn $name() { crate::world::on_sqlcipher(super::$name); })*
        }
        mod postgres {
            $(#[test] fn $name() { crate::world::on_postgres(super::$name); })*
        }
    };
}

/// Writes in one closure and waits for it.
macro_rules! write {
    ($world:expr, |$tx:ident| $work:expr) => {
        $world.store.write(move |$tx| Box::pin(async move { $work })).await
    };
}

/// Makes an id that no other call makes.
macro_rules! id {
    ($id:ident) => {
        terms::$id::mint(crate::world::NOW, crate::world::unique())
    };
}

pub(crate) const NOW: Timestamp = Timestamp::from_unix_ms(1_795_507_200_000);
pub(crate) const PAGE_KEY: [u8; 32] = [0xa7; 32];
pub(crate) const ROOT_KEY: [u8; 32] = [0x5b; 32];

pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) place: Place,
}

/// Where a world's database is.
pub(crate) enum Place {
    File(PathBuf),
    Postgres(String),
}

pub(crate) fn on_sqlcipher<F: Future<Output = ()>>(contract: impl FnOnce(World) -> F) {
    // Outside, so that it outlives whatever part of the world the contract holds on to.
    let folder = TempDir::new().unwrap();
    block_on(async {
        let place = Place::File(folder.path().to_owned());
        contract(World { store: place.open().await.unwrap(), place }).await;
    });
}

pub(crate) fn on_postgres<F: Future<Output = ()>>(contract: impl FnOnce(World) -> F) {
    let Some(server) = postgres_server() else { return };
    block_on(async {
        let place = Place::postgres(&server).await;
        contract(World { store: place.open().await.unwrap(), place }).await;
    });
}

/// The server to test on; says loudly if there is none.
pub(crate) fn postgres_server() -> Option<String> {
    let server = std::env::var("PALISADE_TEST_POSTGRES_URL").ok();
    if server.is_none() {
        eprintln!("SKIPPED on PostgreSQL: PALISADE_TEST_POSTGRES_URL is not set");
    }
    server
}

pub(crate) fn block_on(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future);
}

impl Place {
    pub(crate) async fn postgres(server: &str) -> Self {
        sqlx::any::install_default_drivers();
        let schema = format!("t{}_{}", std::process::id(), count());
        let mut admin = AnyConnection::connect(server).await.unwrap();
        admin.execute(AssertSqlSafe(format!("CREATE SCHEMA {schema}"))).await.unwrap();
        Self::Postgres(format!("{server}&options=-c%20search_path%3D{schema}"))
    }

    pub(crate) fn config(&self) -> Config {
        Config::new(match self {
            Self::File(folder) => Database::File { path: file_in(folder), key: KeyBytes::new(PAGE_KEY) },
            Self::Postgres(url) => Database::Postgres { url: url.clone().into() },
        })
    }

    pub(crate) async fn open(&self) -> Result<Store, OpenError> {
        Store::open(self.config(), keystore(ROOT_KEY)).await
    }

    /// The folder of a world on SQLCipher.
    pub(crate) fn folder(&self) -> &Path {
        match self {
            Self::File(folder) => folder,
            Self::Postgres(_) => panic!("PostgreSQL has no folder of ours"),
        }
    }

    /// A connection past the store.
    pub(crate) async fn raw(&self) -> AnyConnection {
        match self {
            Self::File(folder) => {
                let url = format!("sqlite://{}", file_in(folder).display());
                // A test listens for keys in the log: this one is not the store's.
                let options = url.parse::<AnyConnectOptions>().unwrap().disable_statement_logging();
                let mut raw = AnyConnection::connect_with(&options).await.unwrap();
                let key = format!("PRAGMA key = \"x'{}'\"", hex::encode(PAGE_KEY));
                raw.execute(AssertSqlSafe(key)).await.unwrap();
                raw
            }
            Self::Postgres(url) => AnyConnection::connect(url).await.unwrap(),
        }
    }

    /// Runs a statement past the store.
    pub(crate) async fn execute(&self, statement: &str) -> u64 {
        let mut raw = self.raw().await;
        let done = raw.execute(AssertSqlSafe(statement.to_owned())).await.unwrap();
        raw.close().await.unwrap();
        done.rows_affected()
    }

    /// The number that a query past the store gives.
    pub(crate) async fn number(&self, query: &str) -> i64 {
        let mut raw = self.raw().await;
        let row = raw.fetch_one(AssertSqlSafe(query.to_owned())).await.unwrap();
        raw.close().await.unwrap();
        row.get(0)
    }
}

impl World {
    /// A new tenant.
    pub(crate) async fn tenant(&self, name: &str) -> TenantId {
        let tenant = tenant(name);
        let id = tenant.id;
        write!(self, |tx| tx.tenants().insert(&platform(), &tenant).await).unwrap();
        id
    }

    /// Closes the store and opens it again.
    pub(crate) async fn reopened(self) -> Self {
        self.store.close().await;
        Self { store: self.place.open().await.unwrap(), place: self.place }
    }
}

pub(crate) fn file_in(folder: &Path) -> PathBuf {
    folder.join("palisade.db")
}

pub(crate) fn keystore(root: [u8; 32]) -> Keystore {
    Keystore::new(RootKey::new(KeyBytes::new(root)))
}

pub(crate) fn tenant(name: &str) -> Tenant {
    let name = name.parse().unwrap();
    Tenant { id: id!(TenantId), name, state: TenantState::Active, created_at: NOW, updated_at: NOW }
}

/// A permit that reaches everything.
pub(crate) const fn platform() -> Permit {
    Permit::grant(Actor::System, Action::ReadTenant, Scope::Platform)
}

/// A permit that reaches one tenant.
pub(crate) const fn of(tenant: TenantId) -> Permit {
    Permit::grant(Actor::System, Action::ReadTenant, Scope::Tenant(tenant))
}

pub(crate) fn entry(resource: &str, tenant: Option<TenantId>) -> AuditEntry {
    AuditEntry {
        time: NOW,
        actor: "system".to_owned(),
        action: "tenant.read".to_owned(),
        resource: resource.to_owned(),
        tenant,
        outcome: EventOutcome::Success,
        reason: "ok".to_owned(),
        request_digest: None,
    }
}

pub(crate) fn event(resource: &str, tenant: Option<TenantId>) -> SecurityEvent {
    SecurityEvent {
        id: id!(EventId),
        time: NOW,
        plane: Plane::Control,
        kind: EventKind::TenantChanged,
        actor: "system".to_owned(),
        resource: resource.to_owned(),
        tenant,
        outcome: EventOutcome::Success,
        reason: "ok".to_owned(),
        address: None,
        count: 1,
    }
}

/// Ten bytes for an id; later calls give larger ids.
pub(crate) fn unique() -> [u8; 10] {
    let mut bytes = [0; 10];
    bytes[2..].copy_from_slice(&count().to_be_bytes());
    bytes
}

fn count() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
