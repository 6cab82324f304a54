//! The root key: gone, another one, or no key at all. Refused by name, and nothing is touched.

use super::load::Load;
use std::fs;
use std::path::{Path, PathBuf};
use trials::{Options, Site};

#[tokio::test(flavor = "multi_thread")]
async fn without_its_own_root_key_a_site_says_what_to_do_and_touches_nothing() {
    let mut site = Site::up(Options::default()).await.unwrap();
    let load = Load::begin(&site).await;
    load.more(5).await;
    let answered = load.end().await;
    site.stop().await.unwrap();
    let key_file = site.state().join("control/root.key");
    let key = fs::read(&key_file).unwrap();
    let before = Database::of(&site);

    let another: Vec<u8> = key.iter().map(|digit| if *digit == b'0' { b'1' } else { b'0' }).collect();
    for (case, content) in [
        ("another key", Some(another)),
        ("a short key", Some(key[..40].to_vec())),
        ("no hex digits", Some(vec![b'x'; 64])),
        ("an empty file", Some(Vec::new())),
        ("no file", None),
    ] {
        match &content {
            Some(bytes) => fs::write(&key_file, bytes).unwrap(),
            None => fs::remove_file(&key_file).unwrap(),
        }
        let (exit, said) = site.up_fails().await.unwrap();
        assert_eq!(exit, 1, "{case}: {said}");
        let next_step = if content.is_some() { "restore" } else { "put the key back" };
        for expected in ["error[", "root.key", next_step, "next: "] {
            assert!(said.contains(expected), "{case}: no `{expected}` in:\n{said}");
        }
        assert_eq!(fs::read(&key_file).ok(), content, "{case}: the key file was touched");
        assert_eq!(Database::of(&site), before, "{case}: the database was touched");
        assert_eq!(site.processes(), [], "{case}");
        put_back(&key_file, &key, &site);
    }

    site.again().await.unwrap();
    answered.held(&site).await;
}

/// The key as it was, for the user that it was of.
fn put_back(key_file: &Path, key: &[u8], site: &Site) {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
    fs::write(key_file, key).unwrap();
    fs::set_permissions(key_file, fs::Permissions::from_mode(0o600)).unwrap();
    let folder = site.state().join("control").metadata().unwrap();
    chown(key_file, Some(folder.uid()), Some(folder.gid())).unwrap();
}

/// The database's files, byte for byte.
#[derive(Debug, PartialEq, Eq)]
struct Database(Vec<(PathBuf, Vec<u8>)>);

impl Database {
    fn of(site: &Site) -> Self {
        let names = ["palisade.db", "palisade.db-wal"];
        let path = |name| site.state().join("control").join(name);
        // A log that is not there and an empty one are the same to the engine.
        let content = |path: PathBuf| (path.clone(), fs::read(path).unwrap_or_default());
        let files: Vec<_> = names.map(path).map(content).into();
        assert!(!files[0].1.is_empty(), "no database");
        Self(files)
    }
}
