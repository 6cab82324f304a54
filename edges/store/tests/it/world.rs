//! A database of its own for each test, on either engine.

use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _};
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use store::{Config, Database, OpenError, Store, StoreError, Tenant, TenantState};
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
        let Place::Postgres(url) = &place else { return };
        let schema = url.rsplit_once("%3D").unwrap().1.to_owned();
        contract(World { store: place.open().await.unwrap(), place }).await;
        let mut admin = PgConnection::connect(&server).await.unwrap();
        admin.execute(AssertSqlSafe(format!("DROP SCHEMA {schema} CASCADE"))).await.unwrap();
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
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        future.await;
        for store in OPENED.take() {
            store.close().await;
        }
    });
}

thread_local! {
    /// The stores that the test of this thread opened. At its end they are closed: were a writer still at work
    /// when the process ends, it would use a cipher that has been taken down already.
    static OPENED: RefCell<Vec<Store>> = const { RefCell::new(Vec::new()) };
}

/// Leaves the stores opened so far to be dropped, as by a process that crashes.
pub(crate) fn abandon_stores() {
    OPENED.take();
}

impl Place {
    pub(crate) async fn postgres(server: &str) -> Self {
        let schema = format!("t{}_{}", std::process::id(), count());
        let mut admin = PgConnection::connect(server).await.unwrap();
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
        let store = Store::open(self.config(), keystore(ROOT_KEY)).await?;
        OPENED.with_borrow_mut(|opened| opened.push(store.clone()));
        Ok(store)
    }

    /// The folder of a world on SQLCipher.
    pub(crate) fn folder(&self) -> &Path {
        match self {
            Self::File(folder) => folder,
            Self::Postgres(_) => panic!("PostgreSQL has no folder of ours"),
        }
    }

    /// A connection past the store.
    pub(crate) async fn raw(&self) -> Raw {
        match self {
            Self::File(folder) => {
                let file = rusqlite::Connection::open(file_in(folder)).unwrap();
                file.execute_batch(&format!("PRAGMA key = \"x'{}'\"", hex::encode(PAGE_KEY))).unwrap();
                file.execute_batch(store::PAGE_CIPHER).unwrap();
                Raw::File(file)
            }
            Self::Postgres(url) => Raw::Server(PgConnection::connect(url).await.unwrap()),
        }
    }

    /// Runs a statement past the store.
    pub(crate) async fn execute(&self, statement: &str) {
        self.raw().await.execute(statement).await.unwrap();
    }

    /// The number that a query past the store gives.
    pub(crate) async fn number(&self, query: &str) -> i64 {
        match self.raw().await.query(query).await.unwrap().as_slice() {
            [row] => match row.as_slice() {
                [Cell::Integer(number)] => *number,
                other => panic!("not a number: {other:?}"),
            },
            other => panic!("not one row: {other:?}"),
        }
    }
}

/// A connection past the store.
pub(crate) enum Raw {
    File(rusqlite::Connection),
    Server(PgConnection),
}

/// A value, as either engine gives it.
#[derive(Debug, PartialEq)]
pub(crate) enum Cell {
    Null,
    Integer(i64),
    Text(String),
    Bytes(Vec<u8>),
}

impl Raw {
    pub(crate) async fn execute(&mut self, statement: &str) -> Result<(), String> {
        match self {
            Self::File(file) => file.execute_batch(statement).map_err(|e| e.to_string()),
            Self::Server(server) => {
                let statement = sqlx::raw_sql(AssertSqlSafe(statement.to_owned()));
                server.execute(statement).await.map(drop).map_err(|e| e.to_string())
            }
        }
    }

    pub(crate) async fn query(&mut self, query: &str) -> Result<Vec<Vec<Cell>>, String> {
        match self {
            Self::File(file) => {
                let mut prepared = file.prepare(query).map_err(|e| e.to_string())?;
                let columns = prepared.column_count();
                let rows = prepared
                    .query_map([], |row| (0..columns).map(|at| row.get_ref(at).map(Cell::from)).collect());
                rows.and_then(|rows| rows.collect()).map_err(|e| e.to_string())
            }
            Self::Server(server) => {
                let query = sqlx::query(AssertSqlSafe(query.to_owned()));
                let rows = server.fetch_all(query).await.map_err(|e| e.to_string())?;
                Ok(rows.iter().map(|row| (0..row.len()).map(|at| Cell::of(row, at)).collect()).collect())
            }
        }
    }
}

/// Runs a statement on a connection of the store's own, past its repositories.
pub(crate) async fn execute_on(
    connection: &mut store::Connection,
    statement: &str,
) -> Result<(), StoreError> {
    let failed = |error: String| StoreError::Database(error);
    match connection {
        store::Connection::File(file) => file.execute_batch(statement).map_err(|e| failed(e.to_string())),
        store::Connection::Server(server) => {
            let statement = sqlx::raw_sql(AssertSqlSafe(statement.to_owned()));
            server.execute(statement).await.map(drop).map_err(|e| failed(e.to_string()))
        }
    }
}

/// The process that serves a connection of the store's own, on PostgreSQL.
pub(crate) async fn process_behind(connection: &mut store::Connection) -> i32 {
    match connection {
        store::Connection::File(_) => panic!("a file has no process behind it"),
        store::Connection::Server(server) => {
            server.fetch_one("SELECT pg_backend_pid()").await.unwrap().get(0)
        }
    }
}

impl Cell {
    fn of(row: &PgRow, at: usize) -> Self {
        let text = row.try_get::<Option<String>, _>(at).map(|value| value.map(Self::Text));
        let bytes = || row.try_get::<Option<Vec<u8>>, _>(at).map(|value| value.map(Self::Bytes));
        let large = || row.try_get::<Option<i64>, _>(at).map(|value| value.map(Self::Integer));
        let small = || row.try_get::<Option<i32>, _>(at).map(|n| n.map(|n| Self::Integer(n.into())));
        text.or_else(|_| bytes()).or_else(|_| large()).or_else(|_| small()).unwrap().unwrap_or(Self::Null)
    }
}

impl From<rusqlite::types::ValueRef<'_>> for Cell {
    fn from(value: rusqlite::types::ValueRef<'_>) -> Self {
        use rusqlite::types::ValueRef;
        match value {
            ValueRef::Null => Self::Null,
            ValueRef::Integer(value) => Self::Integer(value),
            ValueRef::Text(text) => Self::Text(String::from_utf8(text.to_vec()).unwrap()),
            ValueRef::Blob(bytes) => Self::Bytes(bytes.to_vec()),
            ValueRef::Real(value) => panic!("no column holds {value}"),
        }
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
