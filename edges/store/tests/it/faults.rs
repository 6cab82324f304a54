//! What breaks, and what is said then: keys, files, disks, servers.

use crate::world::{
    PAGE_KEY, Place, ROOT_KEY, World, block_on, entry, execute_on, file_in, keystore, platform,
    process_behind, tenant,
};
use std::fs;
use std::path::Path;
use store::{Config, Database, OpenError, Page, Source as _, Store, StoreError, WriteError};
use tempfile::TempDir;
use terms::KeyBytes;

contracts! {
    another_root_key_is_named,
    a_lost_root_key_is_not_replaced,
    a_write_that_the_engine_refuses_is_not_kept_and_the_next_one_is,
}

async fn another_root_key_is_named(world: World) {
    world.store.close().await;
    let refused = Store::open(world.place.config(), keystore([1; 32])).await.err();
    assert_eq!(refused, Some(OpenError::WrongRoot));
    world.place.open().await.unwrap();
}

async fn a_lost_root_key_is_not_replaced(world: World) {
    world.tenant("demo").await;
    world.store.close().await;
    world.place.execute("DELETE FROM vault_keys WHERE owner = 'platform'").await;
    let refused = world.place.open().await.err();
    assert!(matches!(&refused, Some(OpenError::Database(why)) if why.contains("backup")), "{refused:?}");
    assert_eq!(world.place.number("SELECT count(*) FROM vault_keys WHERE owner = 'platform'").await, 0);
}

async fn a_write_that_the_engine_refuses_is_not_kept_and_the_next_one_is(world: World) {
    let refused = write!(world, |tx| {
        tx.tenants().insert(&platform(), &tenant("first")).await?;
        execute_on(tx.connection().await?, "INSERT INTO nowhere VALUES (1)").await
    });
    assert!(matches!(refused, Err(WriteError::Work(StoreError::Database(_)))), "{refused:?}");
    world.tenant("second").await;
    assert_eq!(world.place.number("SELECT count(*) FROM tenants").await, 1);
}

#[test]
fn a_wrong_page_key_is_named() {
    crate::world::on_sqlcipher(|world| async move {
        world.tenant("demo").await;
        world.store.close().await;
        let path = file_in(world.place.folder());
        assert_eq!(open(&path, [1; 32]).await, Some(OpenError::WrongKey(path.clone())));
        assert_eq!(open(&path, PAGE_KEY).await, None, "the refused attempt left it whole");
    });
}

#[test]
fn an_unencrypted_database_is_refused() {
    block_on(async {
        let folder = TempDir::new().unwrap();
        let path = file_in(folder.path());
        fs::write(&path, [b"SQLite format 3\0".as_slice(), &[0; 4_080]].concat()).unwrap();
        let reason = "it is not encrypted";
        assert_eq!(open(&path, PAGE_KEY).await, Some(OpenError::NotADatabase { path: path.clone(), reason }));
    });
}

#[test]
fn a_file_that_was_cut_short_is_refused_and_left_alone() {
    crate::world::on_sqlcipher(|world| async move {
        world.tenant("demo").await;
        world.store.close().await;
        let path = file_in(world.place.folder());
        let whole = fs::read(&path).unwrap();
        for length in [1, 15, 100, 4_095] {
            fs::write(&path, &whole[..length]).unwrap();
            let reason = "it is cut short";
            assert_eq!(
                open(&path, PAGE_KEY).await,
                Some(OpenError::NotADatabase { path: path.clone(), reason })
            );
            assert_eq!(fs::read(&path).unwrap(), whole[..length]);
        }
        fs::write(&path, &whole[..8_192]).unwrap();
        let reason = "it is cut short or damaged";
        assert_eq!(open(&path, PAGE_KEY).await, Some(OpenError::NotADatabase { path: path.clone(), reason }));
    });
}

#[test]
fn a_file_that_is_gone_from_beside_its_log_is_not_made_anew() {
    crate::world::on_sqlcipher(|world| async move {
        world.tenant("demo").await;
        let crashed = TempDir::new().unwrap();
        let log = crashed.path().join("palisade.db-wal");
        fs::copy(world.place.folder().join("palisade.db-wal"), &log).unwrap();
        let path = file_in(crashed.path());
        let reason = "it is empty or gone, but the log beside it is not";
        let refused = Some(OpenError::NotADatabase { path: path.clone(), reason });
        assert_eq!(open(&path, PAGE_KEY).await, refused);
        assert!(!path.exists());
        fs::write(&path, "").unwrap();
        assert_eq!(open(&path, PAGE_KEY).await, refused);
        assert!(fs::metadata(&log).unwrap().len() > 0, "the log is left alone");
        fs::copy(file_in(world.place.folder()), &path).unwrap();
        assert_eq!(open(&path, PAGE_KEY).await, None);
    });
}

#[test]
fn what_was_acknowledged_is_in_the_files_at_that_moment() {
    crate::world::on_sqlcipher(|world| async move {
        let crashed = Place::File(TempDir::new().unwrap().keep());
        for n in 0..20 {
            world.tenant(&format!("t{n}")).await;
            for file in ["palisade.db", "palisade.db-wal"] {
                fs::copy(world.place.folder().join(file), crashed.folder().join(file)).unwrap();
            }
            let store = crashed.open().await.unwrap();
            let mut reader = store.read().await.unwrap();
            let (tenants, _) = reader.tenants().list(&platform(), &Page::first(99)).await.unwrap();
            assert_eq!(tenants.len(), n + 1);
            drop(reader);
            store.close().await;
        }
        fs::remove_dir_all(crashed.folder()).unwrap();
    });
}

#[test]
fn destroyed_keys_do_not_stay_in_the_log() {
    crate::world::on_sqlcipher(|world| async move {
        let id = world.tenant("demo").await;
        let log = world.place.folder().join("palisade.db-wal");
        assert!(fs::metadata(&log).unwrap().len() > 0);
        write!(world, |tx| tx.tenants().delete(&platform(), id).await).unwrap();
        assert_eq!(fs::metadata(&log).unwrap().len(), 0);
        let id = world.tenant("next").await;
        // A reader in the midst of a statement still needs the log.
        let mut busy = world.place.raw().await;
        busy.execute("BEGIN").await.unwrap();
        busy.execute("SELECT count(*) FROM tenants").await.unwrap();
        write!(world, |tx| tx.tenants().delete(&platform(), id).await).unwrap();
        assert!(fs::metadata(&log).unwrap().len() > 0);
        busy.execute("COMMIT").await.unwrap();
        world.tenant("later").await;
        assert_eq!(fs::metadata(&log).unwrap().len(), 0, "the next commit tries again");
    });
}

#[test]
fn a_page_that_was_changed_is_never_read_as_data() {
    crate::world::on_sqlcipher(|world| async move {
        for n in 0..50 {
            world.tenant(&format!("t{n}")).await;
        }
        world.store.close().await;
        let path = file_in(world.place.folder());
        let whole = fs::read(&path).unwrap();
        for page in 1..whole.len() / 4_096 {
            let mut damaged = whole.clone();
            damaged[page * 4_096 + 77] ^= 1;
            fs::write(&path, &damaged).unwrap();
            let Ok(store) = world.place.open().await else { continue };
            let mut reader = store.read().await.unwrap();
            if let Ok((tenants, _)) = reader.tenants().list(&platform(), &Page::first(99)).await {
                assert_eq!(tenants.len(), 50, "page {page} was changed");
            }
            drop(reader);
            store.close().await;
        }
    });
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    block_on(async {
        let path = Path::new("/nowhere/palisade.db").to_owned();
        assert_eq!(open(&path, PAGE_KEY).await, Some(OpenError::NoFolder(path)));
    });
}

#[test]
fn a_read_only_folder_is_named() {
    block_on(async {
        // Read-only for root too.
        let path = Path::new("/proc/palisade.db").to_owned();
        assert_eq!(open(&path, PAGE_KEY).await, Some(OpenError::ReadOnly(path)));
    });
}

#[test]
fn a_url_of_another_kind_is_refused() {
    block_on(async {
        for url in ["mysql://x", "sqlite://x", "", "/tmp/x"] {
            let database = Database::Postgres { url: url.into() };
            let refused = Store::open(Config::new(database), keystore(ROOT_KEY)).await.err();
            assert_eq!(refused, Some(OpenError::Url), "{url}");
        }
    });
}

#[test]
fn a_server_that_does_not_answer_is_named_and_its_password_is_not() {
    block_on(async {
        let url = "postgres://palisade:hunter2@localhost/postgres?host=/nowhere";
        let config = Config::new(Database::Postgres { url: url.into() });
        assert!(!format!("{config:?}").contains("hunter2"));
        let refused = Store::open(config, keystore(ROOT_KEY)).await.err();
        assert!(
            matches!(&refused, Some(OpenError::Unreachable(why)) if !why.contains("hunter2")),
            "{refused:?}"
        );
    });
}

#[test]
fn a_full_disk_fails_the_group_and_writing_goes_on_by_itself() {
    crate::world::on_sqlcipher(|world| async move {
        world.tenant("before").await;
        let pages = world.place.number("PRAGMA page_count").await;
        limit_pages(&world, pages + 2).await;
        let filling = (0..3).map(|n| {
            world.store.write(move |tx| {
                Box::pin(async move {
                    for _ in 0..200 {
                        tx.audit(entry(&format!("thing/{n}"), None));
                    }
                    Ok::<_, StoreError>(())
                })
            })
        });
        for answer in futures_util::future::join_all(filling).await {
            assert_eq!(answer, Err(WriteError::Store(StoreError::DiskFull)));
        }
        let head = world.store.read().await.unwrap().audit_log().head().await.unwrap();
        assert_eq!(head.size, 0, "nothing of the group was kept");
        limit_pages(&world, 1_000_000).await;
        world.tenant("after").await;
        let world = world.reopened().await;
        assert_eq!(world.place.number("SELECT count(*) FROM tenants").await, 2);
    });
}

#[test]
fn a_disk_that_is_really_full_fails_every_waiter_and_loses_nothing() {
    let folder = TempDir::new().unwrap();
    let Some(_small) = SmallDisk::mount(folder.path()) else { return };
    block_on(async {
        let place = Place::File(folder.path().to_owned());
        let world = World { store: place.open().await.unwrap(), place };
        let ballast = folder.path().join("ballast");
        fs::write(&ballast, vec![0; 1 << 20]).unwrap();
        let mut kept = 0;
        let full = loop {
            match log(&world, 50).await {
                Ok(()) => kept += 50,
                Err(error) => break error,
            }
        };
        assert_eq!(full, WriteError::Store(StoreError::DiskFull));
        for answer in futures_util::future::join_all((0..5).map(|_| log(&world, 500))).await {
            assert_eq!(answer, Err(WriteError::Store(StoreError::DiskFull)));
        }
        let head = world.store.read().await.unwrap().audit_log().head().await.unwrap();
        assert_eq!(head.size, kept);
        fs::remove_file(&ballast).unwrap();
        log(&world, 50).await.unwrap();
        let world = world.reopened().await;
        let mut reader = world.store.read().await.unwrap();
        assert_eq!(reader.audit_log().head().await.unwrap().size, kept + 50);
        drop(reader);
        world.store.close().await;
    });
}

/// A disk of a few megabytes; goes with its value.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(on: &Path) -> Option<Self> {
        let mut mount = std::process::Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", "size=4m", "palisade-test"]).arg(on).output();
        if mounted.is_ok_and(|done| done.status.success()) {
            return Some(Self(on.to_owned()));
        }
        eprintln!("SKIPPED: only root can mount a small disk to fill");
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        std::process::Command::new("umount").arg("-l").arg(&self.0).status().ok();
    }
}

async fn log(world: &World, entries: u64) -> Result<(), WriteError<StoreError>> {
    write!(world, |tx| {
        for _ in 0..entries {
            tx.audit(entry("thing/x", None));
        }
        Ok(())
    })
}

#[test]
fn a_closure_that_ignores_a_full_disk_is_not_acknowledged() {
    crate::world::on_sqlcipher(|world| async move {
        let pages = world.place.number("PRAGMA page_count").await;
        limit_pages(&world, pages + 1).await;
        let answer = write!(world, |tx| {
            let large = vec![7; 100_000];
            let _ignored = tx.settings().put("large", &large).await;
            tx.audit(entry("thing/done", None));
            Ok::<_, StoreError>(())
        });
        assert_eq!(answer, Err(WriteError::Store(StoreError::DiskFull)));
        let head = world.store.read().await.unwrap().audit_log().head().await.unwrap();
        assert_eq!(head.size, 0);
        limit_pages(&world, 1_000_000).await;
        world.tenant("after").await;
    });
}

#[test]
fn a_reader_cannot_write() {
    crate::world::on_sqlcipher(|world| async move {
        let mut reader = world.store.read().await.unwrap();
        let written = execute_on(reader.connection().await.unwrap(), "DELETE FROM tenants").await;
        assert!(written.err().unwrap().to_string().contains("readonly"));
    });
}

#[test]
fn a_server_that_drops_the_writer_is_reached_again() {
    crate::world::on_postgres(|world| async move {
        world.tenant("before").await;
        let Place::Postgres(url) = &world.place else { return };
        let killer = Place::Postgres(url.clone());
        let lost = write!(world, |tx| {
            tx.tenants().insert(&platform(), &tenant("lost")).await?;
            let pid = process_behind(tx.connection().await?).await;
            killer.execute(&format!("SELECT pg_terminate_backend({pid})")).await;
            tx.tenants().insert(&platform(), &tenant("lost-too")).await
        });
        assert!(
            matches!(
                lost,
                Err(WriteError::Work(StoreError::Unreachable(_))
                    | WriteError::Store(StoreError::Unreachable(_)))
            ),
            "{lost:?}"
        );
        world.tenant("after").await;
        assert_eq!(world.place.number("SELECT count(*) FROM tenants").await, 2);
    });
}

#[test]
fn a_connection_that_was_lost_while_idle_fails_no_write() {
    crate::world::on_postgres(|world| async move {
        for n in 0..3 {
            let pid = write!(world, |tx| Ok::<_, StoreError>(process_behind(tx.connection().await?).await));
            world.place.execute(&format!("SELECT pg_terminate_backend({})", pid.unwrap())).await;
            world.tenant(&format!("t{n}")).await;
        }
        assert_eq!(world.place.number("SELECT count(*) FROM tenants").await, 3);
    });
}

#[test]
fn a_reader_that_was_lost_while_idle_fails_no_read() {
    crate::world::on_postgres(|world| async move {
        world.tenant("demo").await;
        for _ in 0..3 {
            let mut reader = world.store.read().await.unwrap();
            assert!(reader.tenants().list(&platform(), &Page::first(9)).await.is_ok());
            let pid = process_behind(reader.connection().await.unwrap()).await;
            drop(reader);
            world.place.execute(&format!("SELECT pg_terminate_backend({pid})")).await;
        }
    });
}

#[test]
fn a_closure_that_never_ends_is_given_up_and_writing_goes_on() {
    crate::world::on_sqlcipher(|world| async move {
        tokio::time::pause();
        // While a blocking task runs, the clock moves by hand only.
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let holding = tokio::task::spawn_blocking(move || ended.recv());
        let (begun, started) = tokio::sync::oneshot::channel();
        let hanging = world.store.write(move |tx| {
            Box::pin(async move {
                tx.tenants().insert(&platform(), &tenant("hanging")).await?;
                begun.send(()).unwrap();
                core::future::pending::<Result<(), StoreError>>().await
            })
        });
        let clock = async {
            started.await.unwrap();
            tokio::time::advance(core::time::Duration::from_secs(61)).await;
        };
        let (answer, ()) = tokio::join!(hanging, clock);
        assert!(matches!(answer, Err(WriteError::Store(StoreError::Unreachable(_)))), "{answer:?}");
        world.tenant("after").await;
        assert_eq!(world.place.number("SELECT count(*) FROM tenants").await, 1);
        end.send(()).unwrap();
        holding.await.unwrap().unwrap();
    });
}

/// Opens a file with a key; says why not.
async fn open(path: &Path, key: [u8; 32]) -> Option<OpenError> {
    let database = Database::File { path: path.to_owned(), key: KeyBytes::new(key) };
    match Store::open(Config::new(database), keystore(ROOT_KEY)).await {
        Ok(store) => {
            store.close().await;
            None
        }
        Err(error) => Some(error),
    }
}

/// Lets the writer's file grow to so many pages: SQLite then says that the disk is full.
async fn limit_pages(world: &World, pages: i64) {
    let limited = write!(world, |tx| {
        execute_on(tx.connection().await?, &format!("PRAGMA max_page_count = {pages}")).await
    });
    limited.unwrap();
}
