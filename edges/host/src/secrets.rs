//! Secrets where none may stand: texts, logs and folders, searched for whatever has the form of one (OPS-2).
//!
//! What cannot be read is never taken for clean: it is listed, so that a search says what it is worth.

use crate::files::{self, FileError};
use memchr::memmem::{Finder, find_iter};
use rustix::fs::OFlags;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use zeroize::Zeroizing;

/// Most bytes of one file that are searched: more than a log grows to before it is begun anew.
const FILE_MAX: u64 = 64 << 20;

/// Bytes that are searched at once.
const CHUNK: usize = 1 << 20;

/// More than the longest secret has; one may lie across two chunks.
const OVERLAP: usize = 256;

/// Most files that are searched.
const FILES_MAX: usize = 2_000;

/// How deep folders are searched: a process's folder, and one below it.
const DEPTH_MAX: usize = 3;

/// Most places that are named; one is enough for a finding.
const PLACES_MAX: usize = 100;

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

/// Beginnings of names of files that hold secrets because they are made for it: 0600, each in its owner's folder.
/// Databases and journals are sealed, which is DATA-1's affair.
const KEY_FILES: [&str; 5] =
    ["operator.token", "enrol.token", "identity.pem", "identity.request", "palisade.db"];

/// Ends of names of such files.
const KEY_FILE_ENDS: [&str; 2] = [".key", ".segment"];

/// This process's stderr (proc(5)), where its log goes.
const OWN_LOG: &str = "/proc/self/fd/2";

/// What is looked for: shapes, and secrets that are known.
pub struct Wanted {
    texts: Vec<Zeroizing<Vec<u8>>>,
    file_max: u64,
}

/// What was searched, and where something was found; never the secret itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Search {
    /// Bytes that were searched.
    pub bytes: u64,
    /// What is there and could not be searched whole.
    pub unread: Vec<String>,
    /// Where a secret stands.
    pub found_in: Vec<String>,
    /// Files of folders that were searched.
    pub files: usize,
}

// === impl Wanted ===

impl Wanted {
    /// Whatever has the form of a token or a private key.
    #[must_use]
    pub fn shapes() -> Self {
        let text = |(begin, end): (&str, &str)| Zeroizing::new([begin, end].concat().into_bytes());
        Self { texts: TEXTS.map(text).into(), file_max: FILE_MAX }
    }

    /// A known secret as well; of one longer than 256 bytes, its begin.
    #[must_use]
    pub fn and(mut self, secret: &[u8]) -> Self {
        let secret = secret.get(..OVERLAP).unwrap_or(secret);
        if !secret.is_empty() {
            self.texts.push(Zeroizing::new(secret.to_vec()));
        }
        self
    }

    /// How many secrets and shapes are looked for.
    #[must_use]
    pub const fn count(&self) -> u64 {
        (self.texts.len() + TOKENS.len()) as u64
    }

    /// Looks in a text.
    pub fn look(&self, place: &str, text: &[u8], search: &mut Search) {
        search.bytes += text.len() as u64;
        if self.stands_in(text) {
            search.found(place);
        }
    }

    /// Looks in a plain file.
    pub fn look_in_file(&self, path: &Path, search: &mut Search) {
        let place = path.display().to_string();
        let looked = match files::open_plain(path, OFlags::NOFOLLOW) {
            Ok((file, _)) => self.look_through(File::from(file), &place, search),
            // A file that was removed meanwhile leaks nothing any more.
            Err(FileError::System { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(true),
            Err(_) => Ok(false),
        };
        if !looked.unwrap_or(false) {
            search.not_read(&place);
        }
    }

    /// Looks in a folder's plain files, and below, but for those that are made for secrets and those in `keep_out`.
    /// Links are not followed: what they lead to lies elsewhere.
    pub fn look_in_folder(&self, folder: &Path, keep_out: &[&Path], search: &mut Search) {
        self.look_below(folder, DEPTH_MAX, keep_out, search);
    }

    /// Looks in what this process was started with, which other users may see: its arguments and environment.
    pub fn look_in_own_start(&self, search: &mut Search) {
        let arguments: Vec<OsString> = std::env::args_os().collect();
        self.look("own arguments", arguments.join(OsStr::new(" ")).as_bytes(), search);
        let variables = std::env::vars_os().map(|(name, value)| [name, value].join(OsStr::new("=")));
        let variables: Vec<OsString> = variables.collect();
        self.look("own environment", variables.join(OsStr::new(" ")).as_bytes(), search);
    }

    /// Looks in this process's own log: the file that its stderr goes to. A log that goes elsewhere, to a terminal
    /// or to another program, cannot be read back.
    pub fn look_in_own_log(&self, search: &mut Search) {
        let place = std::fs::read_link(OWN_LOG).unwrap_or_default().display().to_string();
        let kind = std::fs::metadata(OWN_LOG).map(|file| file.file_type());
        let looked = match kind {
            Ok(kind) if kind.is_file() => {
                File::open(OWN_LOG).and_then(|log| self.look_through(log, &place, search))
            }
            Ok(kind) if kind.is_char_device() && place == "/dev/null" => Ok(true),
            Ok(_) | Err(_) => Ok(false),
        };
        if !looked.unwrap_or(false) {
            search.not_read(&format!("own log at {place}"));
        }
    }

    fn look_below(&self, folder: &Path, depth: usize, keep_out: &[&Path], search: &mut Search) {
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return,
            Err(_) => return search.not_read(&folder.display().to_string()),
        };
        for entry in entries.flatten() {
            let (path, Ok(kind)) = (entry.path(), entry.file_type()) else { continue };
            if kind.is_dir() {
                match depth {
                    0 | 1 => search.not_read(&path.display().to_string()),
                    _ => self.look_below(&path, depth - 1, keep_out, search),
                }
            } else if kind.is_file() && !is_key_file(&path) && !keep_out.contains(&path.as_path()) {
                if search.files == FILES_MAX {
                    return search.not_read(&folder.display().to_string());
                }
                search.files += 1;
                self.look_in_file(&path, search);
            }
        }
    }

    /// Whether the whole of it was searched.
    fn look_through(&self, file: File, place: &str, search: &mut Search) -> io::Result<bool> {
        let mut file = file.take(self.file_max + 1);
        let mut window = Zeroizing::new(Vec::with_capacity(CHUNK + OVERLAP));
        let mut searched = 0;
        loop {
            let read = (&mut file).take(CHUNK as u64).read_to_end(&mut window)? as u64;
            if read == 0 {
                return Ok(searched <= self.file_max);
            }
            searched += read;
            search.bytes += read;
            if self.stands_in(&window) {
                search.found(place);
            }
            let done = window.len().saturating_sub(OVERLAP);
            window.drain(..done);
        }
    }

    fn stands_in(&self, text: &[u8]) -> bool {
        self.texts.iter().any(|wanted| Finder::new(wanted.as_slice()).find(text).is_some())
            || holds_token(text)
    }
}

fn is_key_file(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    KEY_FILES.iter().any(|begin| name.starts_with(begin))
        || KEY_FILE_ENDS.iter().any(|end| name.ends_with(end))
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

// === impl Search ===

impl Search {
    fn found(&mut self, place: &str) {
        note(&mut self.found_in, place);
    }

    fn not_read(&mut self, place: &str) {
        note(&mut self.unread, place);
    }
}

fn note(places: &mut Vec<String>, place: &str) {
    if places.len() < PLACES_MAX && !places.iter().any(|known| known == place) {
        places.push(place.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{create_dir, create_dir_all, write};
    use std::os::unix::fs::symlink;

    #[test]
    fn secrets_are_found_wherever_they_do_not_belong_and_only_there() {
        let site = tempfile::tempdir().unwrap();
        let own = site.path().join("own");
        create_dir_all(own.join("spool")).unwrap();
        let (leak, known) = (format!("at=10 {} end", token("palisade_operator_")), "ab".repeat(32));
        for (path, text) in [
            ("log", leak.as_str()),
            ("config.toml", "operator_token_sha256 = [\"00\"] # palisade_operator_short"),
            ("copy", &known),
            ("root.key", &known),
            ("kept.out", &leak),
            ("enrol.token", &leak),
            ("spool/0001", "-----BEGIN PRIVATE KEY-----"),
        ] {
            write(own.join(path), text).unwrap();
        }
        write(site.path().join("beside"), &leak).unwrap();
        symlink(site.path().join("beside"), own.join("link")).unwrap();
        let mut search = Search::default();
        let keep_out = own.join("kept.out");
        Wanted::shapes().and(known.as_bytes()).look_in_folder(&own, &[&keep_out], &mut search);
        search.found_in.sort();
        let expected = ["copy", "log", "spool/0001"].map(|path| own.join(path).display().to_string());
        assert_eq!((search.found_in, search.unread), (expected.to_vec(), vec![]));
        assert!(search.bytes > 0);
    }

    #[test]
    fn a_secret_is_found_across_chunks() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        for before in [CHUNK - 70, CHUNK - 20, CHUNK] {
            write(&path, ["x".repeat(before), token("palisade_enrol_")].concat()).unwrap();
            let mut search = Search::default();
            Wanted::shapes().look_in_file(&path, &mut search);
            assert_eq!((search.found_in.len(), search.unread.len()), (1, 0), "{before}");
        }
    }

    #[test]
    fn what_cannot_be_read_whole_is_never_taken_for_clean() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        create_dir_all(path("a/b/c/d")).unwrap();
        write(path("large"), [b'x'; 101]).unwrap();
        write(path("fits"), [b'x'; 100]).unwrap();
        let mut search = Search::default();
        let wanted = Wanted { file_max: 100, ..Wanted::shapes() };
        wanted.look_in_folder(dir.path(), &[], &mut search);
        search.unread.sort();
        assert_eq!(search.unread, [path("a/b/c"), path("large")].map(|path| path.display().to_string()));
        // A link in place of a file that was listed a moment ago.
        symlink(path("fits"), path("link")).unwrap();
        let mut search = Search::default();
        Wanted::shapes().look_in_file(&path("link"), &mut search);
        Wanted::shapes().look_in_file(&path("gone"), &mut search);
        assert_eq!(search.unread, [path("link").display().to_string()]);
    }

    #[test]
    fn a_folder_that_is_closed_is_not_read_and_one_that_is_not_there_holds_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        write(&file, "x").unwrap();
        let mut search = Search::default();
        Wanted::shapes().look_in_folder(&dir.path().join("absent"), &[], &mut search);
        assert_eq!(search, Search::default());
        Wanted::shapes().look_in_folder(&file, &[], &mut search);
        assert_eq!(search.unread, [file.display().to_string()]);
    }

    #[test]
    fn more_files_than_can_be_searched_are_said_to_be_unread() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("many");
        create_dir(&folder).unwrap();
        (0..=FILES_MAX).for_each(|n| write(folder.join(n.to_string()), "").unwrap());
        let mut search = Search::default();
        Wanted::shapes().look_in_folder(dir.path(), &[], &mut search);
        assert_eq!(search.unread, [folder.display().to_string()]);
    }

    #[test]
    fn a_token_is_one_only_with_its_whole_secret() {
        let token = token("palisade_enrol_");
        assert!(holds_token(token.as_bytes()));
        let short = &token[..token.len() - 1];
        assert!(!holds_token(short.as_bytes()) && !holds_token(format!("{short}!").as_bytes()));
        assert!(!holds_token(token.replace("enrol", "demo").as_bytes()));
    }

    fn token(begin: &str) -> String {
        format!("{begin}{}", "aZ0-_".repeat(9).get(..TOKEN_CHARACTERS).unwrap())
    }
}
