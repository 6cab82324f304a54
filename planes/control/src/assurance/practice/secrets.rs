//! OPS-2: a search for secrets in logs, state files, command lines and kept texts.

use super::super::{Looked, NoMeans, sample};
use crate::app::App;
use ::assurance::{Observation, SecretSearch};
use host::files;
use memchr::memmem::{Finder, find_iter};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use store::{LIMIT_MAX, Page};
use zeroize::Zeroizing;

/// Most bytes of one file that are searched: more than a log grows to before it is begun anew.
const FILE_MAX: u64 = 64 << 20;

/// Most files that are searched.
const FILES_MAX: usize = 2_000;

/// How deep folders are searched: a process's folder, and one below it.
const DEPTH_MAX: usize = 3;

/// Most bytes of a key file.
const KEY_FILE_MAX: usize = 256;

/// Characters of a token's secret part.
const TOKEN_CHARACTERS: usize = 43;

/// Beginnings of tokens; one is a secret if the right number of characters follows.
const TOKENS: [&str; 2] = ["palisade_operator_", "palisade_enrol_"];

/// What stands in no log and no configuration. Cut in two, so that this program's own text is not found.
const TEXTS: [(&str, &str); 5] = [
    ("-----BEGIN PRIVATE", " KEY-----"),
    ("-----BEGIN EC PRIVATE", " KEY-----"),
    ("-----BEGIN RSA PRIVATE", " KEY-----"),
    ("-----BEGIN ENCRYPTED PRIVATE", " KEY-----"),
    ("PRAGMA key", " = "),
];

/// Files that hold secrets because they are made for it: 0600, each in its owner's folder. Databases and journals are
/// sealed, which is DATA-1's affair.
const KEY_FILES: [&str; 5] =
    ["operator.token", "enrol.token", "identity.pem", "identity.request", "palisade.db"];

/// Secrets that are looked for: shapes, and what is known.
struct Wanted {
    texts: Vec<Zeroizing<Vec<u8>>>,
}

/// OPS-2: what this process can read, searched for anything that has the form of a secret, and for the root key.
pub(in crate::assurance) async fn ops_2(app: &App) -> Looked {
    let wanted = Wanted::new(&app.config.root_key_file)?;
    let kept = kept_texts(app).await?;
    let mut keep_out = vec![app.config.root_key_file.clone()];
    keep_out.extend(app.config.tls.as_ref().map(|own| own.key_file.clone()));
    keep_out.extend(app.config.database.url_file.clone());
    let folders = folders(&app.config.state_dir);
    let search = move || {
        let mut search =
            SecretSearch { secrets_sought: wanted.count(), bytes_searched: 0, found_in: Vec::new() };
        for (place, text) in &kept {
            wanted.look(place, text, &mut search);
        }
        for file in ["/proc/self/cmdline", "/proc/self/environ"] {
            wanted.look_in_file(Path::new(file), &mut search);
        }
        let mut found = Vec::new();
        folders.iter().for_each(|folder| list(folder, DEPTH_MAX, &keep_out, &mut found));
        found.iter().for_each(|path| wanted.look_in_file(path, &mut search));
        search
    };
    let search = tokio::task::spawn_blocking(search).await.map_err(NoMeans::new)?;
    Ok(Observation::Secrets(search))
}

/// The newest audit entries and security events, as texts.
async fn kept_texts(app: &App) -> Result<Vec<(&'static str, Vec<u8>)>, NoMeans> {
    let permit = sample::permit(app)?;
    let mut reader = app.store.read().await?;
    let page = Page::first(LIMIT_MAX);
    let (entries, _) = reader.audit_log().list(&permit, &page).await?;
    let (events, _) = reader.events().list(&permit, &page).await?;
    let mut texts = Vec::with_capacity(entries.len() + events.len());
    for row in entries {
        texts.push(("audit log", serde_json::to_vec(&row.entry).map_err(NoMeans::new)?));
    }
    for event in events {
        texts.push(("security events", serde_json::to_vec(&event).map_err(NoMeans::new)?));
    }
    Ok(texts)
}

/// The folders of this process and of the others on this host, if they lie beside it.
fn folders(state_dir: &Path) -> Vec<PathBuf> {
    let mut folders = vec![state_dir.to_owned()];
    let beside = state_dir.parent().and_then(|site| std::fs::read_dir(site).ok());
    for entry in beside.into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_ours =
            name == "node" || ["data-", "meter-", "run-"].iter().any(|prefix| name.starts_with(prefix));
        if is_ours {
            folders.push(entry.path());
        }
    }
    folders
}

/// The plain files of a folder that are not made for secrets. Links are not followed.
fn list(folder: &Path, depth: usize, keep_out: &[PathBuf], found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let (path, Ok(kind)) = (entry.path(), entry.file_type()) else { continue };
        if found.len() >= FILES_MAX {
            return;
        }
        if kind.is_dir() && depth > 1 {
            list(&path, depth - 1, keep_out, found);
        } else if kind.is_file() && !is_key_file(&path) && !keep_out.contains(&path) {
            found.push(path);
        }
    }
}

fn is_key_file(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.ends_with(".key") || KEY_FILES.iter().any(|key_file| name.starts_with(key_file))
}

impl Wanted {
    fn new(root_key_file: &Path) -> Result<Self, NoMeans> {
        let mut texts: Vec<_> =
            TEXTS.map(|(begin, end)| Zeroizing::new([begin, end].concat().into_bytes())).into();
        let root = Zeroizing::new(files::read_private(root_key_file, KEY_FILE_MAX).map_err(NoMeans::new)?);
        texts.push(Zeroizing::new(root.trim_ascii().to_vec()));
        Ok(Self { texts })
    }

    fn count(&self) -> u64 {
        (self.texts.len() + TOKENS.len()) as u64
    }

    fn look(&self, place: &str, text: &[u8], search: &mut SecretSearch) {
        search.bytes_searched += text.len() as u64;
        let known = self.texts.iter().any(|wanted| Finder::new(wanted.as_slice()).find(text).is_some());
        if (known || holds_token(text)) && !search.found_in.iter().any(|found| found == place) {
            search.found_in.push(place.to_owned());
        }
    }

    /// A file that cannot be read by this process can leak nothing to it.
    fn look_in_file(&self, path: &Path, search: &mut SecretSearch) {
        let Ok(file) = std::fs::File::open(path) else { return };
        let mut text = Zeroizing::new(Vec::new());
        if file.take(FILE_MAX).read_to_end(&mut text).is_ok() {
            self.look(&path.display().to_string(), &text, search);
        }
    }
}

fn holds_token(text: &[u8]) -> bool {
    let in_secret = |b: &&u8| b.is_ascii_alphanumeric() || **b == b'-' || **b == b'_';
    TOKENS.iter().any(|begin| {
        find_iter(text, begin.as_bytes()).any(|at| {
            let secret = text.iter().skip(at + begin.len()).take(TOKEN_CHARACTERS);
            secret.take_while(in_secret).count() == TOKEN_CHARACTERS
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{create_dir, write};
    use terms::Token;

    #[test]
    fn secrets_are_found_wherever_they_do_not_belong_and_only_there() {
        let site = tempfile::tempdir().unwrap();
        let (control, meter, foreign) =
            (site.path().join("control"), site.path().join("meter-x"), site.path().join("home"));
        for folder in [&control, &meter, &foreign, &meter.join("spool")] {
            create_dir(folder).unwrap();
        }
        let token = Token::mint("operator", &[7; 32]);
        let leak = format!("at=10 {} end", token.expose());
        let root = "ab".repeat(32);
        host::files::write_private_atomically(&control.join("root.key"), root.as_bytes()).unwrap();
        for (path, text) in [
            (control.join("log"), leak.as_str()),
            (control.join("config.toml"), "operator_token_sha256 = [\"00\"] # palisade_operator_short"),
            (control.join("copy"), &root),
            (meter.join("enrol.token"), &leak),
            (meter.join("spool/0001"), "-----BEGIN PRIVATE KEY-----"),
            (foreign.join("notes"), &leak),
        ] {
            write(path, text).unwrap();
        }
        let wanted = Wanted::new(&control.join("root.key")).unwrap();
        let mut found = Vec::new();
        folders(&control).iter().for_each(|folder| list(folder, DEPTH_MAX, &[], &mut found));
        let mut search = SecretSearch { secrets_sought: 0, bytes_searched: 0, found_in: Vec::new() };
        found.iter().for_each(|path| wanted.look_in_file(path, &mut search));
        search.found_in.sort();
        let expected = [control.join("copy"), control.join("log"), meter.join("spool/0001")];
        assert_eq!(search.found_in, expected.map(|path| path.display().to_string()));
        assert!(search.bytes_searched > 0);
    }

    #[test]
    fn a_token_is_one_only_with_its_whole_secret() {
        let token = Token::mint("enrol", &[255; 32]);
        assert!(holds_token(token.expose().as_bytes()));
        let short = &token.expose()[..token.expose().len() - 1];
        assert!(!holds_token(short.as_bytes()) && !holds_token(format!("{short}!").as_bytes()));
        assert!(!holds_token(token.expose().replace("enrol", "demo").as_bytes()));
    }
}
