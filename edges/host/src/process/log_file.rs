//! A child's log file, turned over before it fills the disk.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// A log that is longer is turned over. With the one before it, a process takes at most twice this much and what
/// it writes between two looks.
const BYTES_MAX: u64 = 16 << 20;

/// Bytes that are copied at a time.
const CHUNK_BYTES: usize = 256 * 1024;

/// A log file that a child writes to the end of, and this process holds too.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    uid: Option<u32>,
}

impl LogFile {
    /// Opens the log at `path` (0600), or makes it, for a child of user `uid`, who owns its own log: whoever checks
    /// it for secrets must read it.
    pub(super) fn open(path: &Path, uid: Option<u32>) -> io::Result<Self> {
        let file = owned(OpenOptions::new().read(true).append(true).create(true), path, uid)?;
        Ok(Self { path: path.to_owned(), file, uid })
    }

    /// The child's handle.
    pub(super) fn handle(&self) -> io::Result<Stdio> {
        Ok(self.file.try_clone()?.into())
    }

    /// Whether it is time to turn it over.
    pub(super) fn is_long(&self) -> bool {
        self.file.metadata().is_ok_and(|file| file.len() > BYTES_MAX)
    }

    /// Copies the log to `PATH.1`, in place of the one there, and empties it. The child goes on writing to the end
    /// of the same file; what it writes during the copy's last moment is lost.
    pub(super) fn turn_over(&self) -> io::Result<()> {
        let mut name = self.path.clone().into_os_string();
        name.push(".1");
        let older = PathBuf::from(name);
        match std::fs::remove_file(&older) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let copy = owned(OpenOptions::new().write(true).create_new(true), &older, self.uid)?;
        let mut at = 0;
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let read = self.file.read_at(&mut chunk, at)?;
            let Some(bytes) = chunk.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
            copy.write_all_at(bytes, at)?;
            at += u64::try_from(read).unwrap_or(u64::MAX);
        }
        self.file.set_len(0)
    }
}

/// The folder may belong to the child: a link in it must not lead a privileged parent to another file.
fn owned(options: &mut OpenOptions, path: &Path, uid: Option<u32>) -> io::Result<File> {
    let no_follow = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
    let file = options.mode(0o600).custom_flags(no_follow).open(path)?;
    if let Some(uid) = uid {
        std::os::unix::fs::fchown(&file, Some(uid), None)?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn a_long_log_is_turned_over_and_its_writer_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let log = LogFile::open(&path, None).unwrap();
        let mut child = log.file.try_clone().unwrap();
        child.write_all(b"first\n").unwrap();
        assert!(!log.is_long());
        child.write_all(&vec![b'x'; usize::try_from(BYTES_MAX).unwrap()]).unwrap();
        assert!(log.is_long());

        log.turn_over().unwrap();
        child.write_all(b"after\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"after\n");
        let older = std::fs::read(dir.path().join("log.1")).unwrap();
        assert!(older.starts_with(b"first\n"));
        assert_eq!(u64::try_from(older.len()).unwrap(), BYTES_MAX + 6);

        log.turn_over().unwrap();
        assert_eq!(std::fs::read(dir.path().join("log.1")).unwrap(), b"after\n", "one older log is kept");
    }

    #[test]
    fn a_link_in_the_place_of_either_log_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (path, victim) = (dir.path().join("log"), dir.path().join("victim"));
        std::fs::write(&victim, "precious").unwrap();
        std::os::unix::fs::symlink(&victim, &path).unwrap();
        assert!(LogFile::open(&path, None).is_err());

        std::fs::remove_file(&path).unwrap();
        let log = LogFile::open(&path, None).unwrap();
        std::os::unix::fs::symlink(&victim, dir.path().join("log.1")).unwrap();
        log.turn_over().unwrap();
        assert_eq!(std::fs::read(&victim).unwrap(), b"precious");
    }
}
