//! DATA-1 and DATA-7: the database as it lies on its medium, and what listeners say to a scanner.

use super::own::Target;
use super::{Looked, NoMeans, own, sample};
use crate::app::App;
use ::assurance::{Database, DatabaseFile, DatabaseServer, Listener, Observation};
use memchr::memmem::Finder;
use serve::tls::probe;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use store::{DATA_MAP, Protection};

/// The first bytes of a SQLite file that needs no key (sqlite.org/fileformat.html, section 1.3).
const PLAINTEXT_MAGIC: &[u8] = b"SQLite format 3\0";

/// A shorter plaintext could stand in random bytes by chance.
const CANARY_MIN: usize = 12;

/// The longest part of a plaintext that is looked for: short enough to lie in one page.
const CANARY_MAX: usize = 48;

/// Where a P-256 key's scalar begins in PKCS #8 (RFC 5958 around RFC 5915): everything before is the same for all.
const P256_SCALAR_AT: usize = 36;

/// Where an Ed25519 key's seed begins in PKCS #8 (RFC 8410, section 7).
const ED25519_SEED_AT: usize = 16;

/// Bytes of either.
const SCALAR_BYTES: usize = 32;

/// Most bytes of one file that are searched.
const SEARCHED_MAX: u64 = 256 << 20;

/// Bytes that are searched at once.
const CHUNK: usize = 1 << 20;

/// DATA-1: plaintexts that the database holds, looked for in what lies on the disk or in the server's tables.
pub(super) async fn data_1(app: &App) -> Looked {
    let canaries = canaries(app).await?;
    let database = match &app.config.database.url_file {
        None => Database::File(file(app, canaries).await?),
        Some(_) => Database::Server(server(app, &canaries).await?),
    };
    Ok(Observation::Database(database))
}

async fn file(app: &App, mut canaries: Vec<Vec<u8>>) -> Result<DatabaseFile, NoMeans> {
    // Written into every SQLite database, and readable in one without a page cipher.
    canaries.push(b"CREATE TABLE".to_vec());
    let cipher = app.store.read().await?.page_cipher().await?.unwrap_or_default();
    let path = app.config.file("palisade.db");
    let canaries_stored = canaries.len() as u64;
    let search = move || {
        let opens_without_key = head(&path)? == PLAINTEXT_MAGIC;
        let files = ["", "-wal", "-shm", "-journal"].map(|suffix| with_suffix(&path, suffix));
        let (canaries_found, bytes_searched) = search_files(&files, &canaries)?;
        Ok::<_, NoMeans>((opens_without_key, canaries_found, bytes_searched))
    };
    let searched = tokio::task::spawn_blocking(search).await.map_err(NoMeans::new)??;
    let (opens_without_key, canaries_found, bytes_searched) = searched;
    Ok(DatabaseFile { cipher, opens_without_key, canaries_stored, canaries_found, bytes_searched })
}

async fn server(app: &App, canaries: &[Vec<u8>]) -> Result<DatabaseServer, NoMeans> {
    let permit = sample::permit(app)?;
    let mut reader = app.store.read().await?;
    let (mut sensitive_columns, mut unsealed_columns) = (0, 0);
    let mut found = vec![false; canaries.len()];
    for column in DATA_MAP.iter().filter(|column| column.protection == Protection::Sealed) {
        let values = reader.raw_column(&permit, column).await?;
        sensitive_columns += 1;
        unsealed_columns += u64::from(!values.iter().all(|value| is_sealed(value)));
        for (found, canary) in found.iter_mut().zip(canaries) {
            let finder = Finder::new(canary);
            *found |= values.iter().any(|value| finder.find(value).is_some());
        }
    }
    Ok(DatabaseServer {
        sensitive_columns,
        unsealed_columns,
        canaries_stored: canaries.len() as u64,
        canaries_found: found.into_iter().filter(|found| *found).count() as u64,
    })
}

/// Whether bytes begin as a sealed value or wrapped key does.
fn is_sealed(value: &[u8]) -> bool {
    value.starts_with(b"PV") || value.starts_with(b"PK")
}

/// Plaintexts that are certainly stored: private keys, and parts of the newest workflow and input. One that does not
/// open is left out: it may not be sealed, and that is found where it lies.
async fn canaries(app: &App) -> Result<Vec<Vec<u8>>, NoMeans> {
    let mut plaintexts: Vec<Vec<u8>> = Vec::new();
    let ended = sample::ended(app).await?;
    let permit = sample::permit(app)?;
    let mut reader = app.store.read().await?;
    for key in reader.signing_keys().list().await.unwrap_or_default() {
        plaintexts.push(key.private.iter().skip(P256_SCALAR_AT).take(SCALAR_BYTES).copied().collect());
    }
    if let Ok(Some(key)) = reader.settings().get("audit.key").await {
        plaintexts.push(key.iter().skip(ED25519_SEED_AT).take(SCALAR_BYTES).copied().collect());
    }
    if let Some((_, execution)) = ended {
        let workflow = &execution.workflow;
        if let Ok(stored) = reader.workflows().document(&permit, workflow.id, workflow.version).await {
            plaintexts.push(stored.document.to_vec());
        }
        if let Ok(input) = reader.executions().input(&permit, execution.id).await {
            plaintexts.push(input.to_vec());
        }
    }
    plaintexts.iter_mut().for_each(|plaintext| plaintext.truncate(CANARY_MAX));
    plaintexts.retain(|plaintext| plaintext.len() >= CANARY_MIN);
    Ok(plaintexts)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn head(path: &Path) -> Result<Vec<u8>, NoMeans> {
    let mut head = Vec::new();
    let file = std::fs::File::open(path).map_err(NoMeans::new)?;
    file.take(PLAINTEXT_MAGIC.len() as u64).read_to_end(&mut head).map_err(NoMeans::new)?;
    Ok(head)
}

/// How many of the plaintexts stand in any of the files, and how many bytes those have. A file that is not there has
/// none.
fn search_files(files: &[PathBuf], canaries: &[Vec<u8>]) -> Result<(u64, u64), NoMeans> {
    let finders: Vec<Finder<'_>> = canaries.iter().map(Finder::new).collect();
    let mut found = vec![false; finders.len()];
    let mut searched = 0;
    for path in files {
        let Ok(file) = std::fs::File::open(path) else { continue };
        let mut file = file.take(SEARCHED_MAX);
        let mut window = Vec::new();
        loop {
            let read = (&mut file).take(CHUNK as u64).read_to_end(&mut window).map_err(NoMeans::new)?;
            if read == 0 {
                break;
            }
            searched += read as u64;
            for (found, finder) in found.iter_mut().zip(&finders) {
                *found |= finder.find(&window).is_some();
            }
            // A plaintext may lie across two chunks.
            window.drain(..window.len().saturating_sub(CANARY_MAX - 1));
        }
    }
    Ok((found.into_iter().filter(|found| *found).count() as u64, searched))
}

/// DATA-7: every listener, offered old versions and suites in the wrong order.
pub(super) async fn data_7(app: &App) -> Looked {
    let targets = own::all_listeners(app).await?;
    let mut listeners = Vec::with_capacity(targets.len());
    for Target { name, addr, .. } in targets {
        let offered = probe::offered(addr).await.map_err(|error| NoMeans(format!("{name}: {error}")))?;
        let owned = |texts: Vec<&str>| texts.into_iter().map(str::to_owned).collect();
        listeners.push(Listener {
            name,
            versions_accepted: owned(offered.versions_accepted),
            versions_refused: owned(offered.versions_refused),
            suites: owned(offered.suites),
        });
    }
    Ok(Observation::Listeners(listeners))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::write;

    #[test]
    fn a_plaintext_is_found_in_any_file_also_across_chunks() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("palisade.db");
        let files = [with_suffix(&path, ""), with_suffix(&path, "-wal"), with_suffix(&path, "-shm")];
        let canaries = [b"a secret of 20 bytes".to_vec(), b"another secret text".to_vec(), vec![7; 48]];
        let mut content = vec![b'x'; CHUNK - 10];
        content.extend(&canaries[0]);
        write(&files[0], &content).unwrap();
        write(&files[1], [b"..".as_slice(), &canaries[1]].concat()).unwrap();
        let bytes = (CHUNK - 10 + 20 + 2 + 19) as u64;
        assert_eq!(search_files(&files, &canaries), Ok((2, bytes)));
        write(&files[0], vec![b'x'; 100]).unwrap();
        write(&files[1], "").unwrap();
        assert_eq!(search_files(&files, &canaries), Ok((0, 100)));
    }

    #[test]
    fn a_file_without_encryption_gives_itself_away() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        write(&path, b"SQLite format 3\0 and more").unwrap();
        assert_eq!(head(&path).unwrap(), PLAINTEXT_MAGIC);
        write(&path, [9; 64]).unwrap();
        assert_ne!(head(&path).unwrap(), PLAINTEXT_MAGIC);
        assert!(head(&dir.path().join("absent")).is_err());
    }
}
