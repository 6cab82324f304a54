//! One process per state directory: a lock that the kernel drops with its holder.

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

/// The file in a locked folder that carries the lock and its holder's process id.
const LOCK_FILE: &str = "lock";

/// The longest process id that is read back.
const PID_MAX_BYTES: u64 = 10;

/// Holds a folder until dropped, or until the process ends in any way.
#[derive(Debug)]
pub struct DirLock(#[expect(dead_code, reason = "the lock lives as long as the open file")] File);

/// Says why a folder cannot be held.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else holds it.
    #[error("another palisade runs on this state directory, pid {pid} (`{}`)", .dir.display())]
    Held {
        /// The folder.
        dir: PathBuf,
        /// The holder's process id, `unknown` in the instant before it is written.
        pid: String,
    },
    /// The system refused.
    #[error("cannot lock `{}`: {source}", .dir.display())]
    System {
        /// The folder.
        dir: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// Takes the lock on the folder `dir`.
///
/// # Errors
/// When another process holds it, or the folder cannot be written.
pub fn lock_dir(dir: &Path) -> Result<DirLock, LockError> {
    let failed = |source: io::Error| LockError::System { dir: dir.to_owned(), source };
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::open(dir.join(LOCK_FILE), flags, Mode::from_raw_mode(0o600));
    let mut file = File::from(opened.map_err(|error| failed(error.into()))?);
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Err(LockError::Held { dir: dir.to_owned(), pid: holder(&file) }),
        Err(error) => return Err(failed(error.into())),
    }
    file.set_len(0).map_err(failed)?;
    file.rewind().map_err(failed)?;
    write!(file, "{}", std::process::id()).map_err(failed)?;
    Ok(DirLock(file))
}

fn holder(file: &File) -> String {
    let mut text = String::new();
    let read = file.take(PID_MAX_BYTES).read_to_string(&mut text);
    let is_pid = read.is_ok() && !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if is_pid { text } else { "unknown".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_told_who_holds_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let held = lock_dir(dir.path()).unwrap();
        let error = lock_dir(dir.path()).unwrap_err();
        let told = format!("another palisade runs on this state directory, pid {}", std::process::id());
        assert!(error.to_string().starts_with(&told), "{error}");
        drop(held);
        lock_dir(dir.path()).unwrap();
    }

    #[test]
    fn a_folder_that_is_not_there_cannot_be_locked() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(lock_dir(&dir.path().join("absent")), Err(LockError::System { .. })));
    }

    #[test]
    fn the_lock_of_a_holder_that_left_no_number_is_still_a_lock() {
        let dir = tempfile::tempdir().unwrap();
        let _held = lock_dir(dir.path()).unwrap();
        std::fs::write(dir.path().join(LOCK_FILE), "rm -rf").unwrap();
        let Err(LockError::Held { pid, .. }) = lock_dir(dir.path()) else { panic!() };
        assert_eq!(pid, "unknown");
    }
}
