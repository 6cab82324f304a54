//! DATA-1: what lies on the medium gives nothing away.

use crate::seed::{CANARIES, seed_every_table, seed_platform};
use crate::world::{Cell, PAGE_KEY, ROOT_KEY, World, file_in, platform};
use std::path::Path;
use store::{DATA_MAP, Page, Protection};

contracts! {
    no_column_shows_a_canary,
    every_sealed_column_was_seeded_and_is_sealed,
    a_sealed_value_that_was_moved_does_not_open,
}

async fn no_column_shows_a_canary(world: World) {
    let tenant = world.tenant("demo").await;
    seed_every_table(&world, tenant).await;
    seed_platform(&world).await;
    let mut raw = world.place.raw().await;
    for column in DATA_MAP {
        let (table, name) = (column.table, column.column);
        let query = format!("SELECT {name} FROM {table}");
        for row in raw.query(&query).await.unwrap() {
            let shown = match &row[0] {
                Cell::Null | Cell::Integer(_) => continue,
                Cell::Text(text) => text.as_bytes(),
                Cell::Bytes(bytes) => bytes.as_slice(),
            };
            for canary in CANARIES {
                assert!(!contains(shown, canary.as_bytes()), "{table}.{name} shows {canary}");
            }
        }
    }
}

async fn every_sealed_column_was_seeded_and_is_sealed(world: World) {
    let tenant = world.tenant("demo").await;
    seed_every_table(&world, tenant).await;
    seed_platform(&world).await;
    let mut reader = world.store.read().await.unwrap();
    for column in DATA_MAP.iter().filter(|column| column.protection == Protection::Sealed) {
        let values = reader.raw_column(&platform(), column).await.unwrap();
        assert!(!values.is_empty(), "nothing was seeded in {}.{}", column.table, column.column);
        let key = column.table == "vault_keys";
        for value in values {
            assert!(value.starts_with(if key { b"PK" } else { b"PV" }), "{}.{}", column.table, column.column);
        }
    }
}

async fn a_sealed_value_that_was_moved_does_not_open(world: World) {
    write!(world, |tx| {
        tx.settings().put("one", b"value of one").await?;
        tx.settings().put("two", b"value of two").await
    })
    .unwrap();
    world
        .place
        .execute("UPDATE settings SET sealed = (SELECT sealed FROM settings WHERE name = 'one') WHERE name = 'two'")
        .await;
    let mut reader = world.store.read().await.unwrap();
    assert!(reader.settings().get("one").await.is_ok());
    let moved = reader.settings().get("two").await;
    assert!(matches!(moved, Err(store::StoreError::Sealed { what: "settings", .. })), "{moved:?}");
}

#[test]
fn no_file_of_a_used_database_shows_a_canary_or_a_key() {
    crate::world::on_sqlcipher(|world| async move {
        let tenant = world.tenant("canary-of-a-name").await;
        seed_every_table(&world, tenant).await;
        seed_platform(&world).await;
        assert_files_are_silent(world.place.folder(), "while it is open");
        world.store.close().await;
        assert_files_are_silent(world.place.folder(), "after it was closed");
    });
}

#[test]
fn a_file_does_not_open_without_its_key() {
    crate::world::on_sqlcipher(|world| async move {
        world.tenant("demo").await;
        world.store.close().await;
        let keyless = rusqlite::Connection::open(file_in(world.place.folder())).unwrap();
        let refused = keyless.prepare("SELECT name FROM tenants").err().unwrap();
        assert!(refused.to_string().contains("not a database"), "{refused}");
    });
}

#[test]
fn the_page_cipher_says_what_it_is() {
    crate::world::on_sqlcipher(|world| async move {
        let cipher = world.store.read().await.unwrap().page_cipher().await.unwrap();
        assert!(cipher.is_some_and(|cipher| cipher.starts_with('4')));
    });
}

#[test]
fn only_the_owner_may_read_the_files() {
    use std::os::unix::fs::PermissionsExt as _;
    crate::world::on_sqlcipher(|world| async move {
        world.tenant("demo").await;
        for file in std::fs::read_dir(world.place.folder()).unwrap() {
            let file = file.unwrap();
            let mode = file.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{:?}", file.file_name());
        }
    });
}

#[test]
fn the_keys_are_never_logged() {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    static LINES: AtomicU64 = AtomicU64::new(0);
    static LEAKED: AtomicBool = AtomicBool::new(false);

    struct Listener;
    impl std::io::Write for Listener {
        fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
            LINES.fetch_add(1, Ordering::Relaxed);
            let keys = [hex::encode(PAGE_KEY), hex::encode(ROOT_KEY)];
            if keys.iter().any(|key| contains(line, key.as_bytes())) {
                LEAKED.store(true, Ordering::Relaxed);
            }
            Ok(line.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    // Everything, of every thread: each connection has one of its own.
    let listener = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(|| Listener);
    tracing::subscriber::set_global_default(listener.finish()).unwrap();
    crate::world::on_sqlcipher(|world| async move {
        let tenant = world.tenant("demo").await;
        seed_every_table(&world, tenant).await;
        world.store.read().await.unwrap().tenants().list(&platform(), &Page::first(9)).await.unwrap();
        tracing::info!("heard");
        world.store.close().await;
    });
    assert!(LINES.load(Ordering::Relaxed) > 0, "the listener hears nothing");
    assert!(!LEAKED.load(Ordering::Relaxed));
}

fn assert_files_are_silent(folder: &Path, when: &str) {
    let mut files = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        let secrets = CANARIES.iter().copied().chain(["canary-of-a-name", "CREATE TABLE", "SQLite format"]);
        for secret in secrets {
            assert!(!contains(&bytes, secret.as_bytes()), "{} shows `{secret}` {when}", path.display());
        }
        for key in [PAGE_KEY, ROOT_KEY] {
            assert!(!contains(&bytes, &key) && !contains(&bytes, hex::encode(key).as_bytes()), "{when}");
        }
        files += 1;
    }
    assert!(files > 0);
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
