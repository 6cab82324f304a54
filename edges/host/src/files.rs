//! Files that hold state and keys: private from their first byte, whole or absent after a crash.

use crate::entropy;
use rustix::fs::{Access, AtFlags, Gid, Mode, OFlags, Stat, Uid};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

pub use crate::lock::{DirLock, LockError, lock_dir};

/// Says why a file or folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refused.
    #[error("cannot {deed} `{}`: {source}", .path.display())]
    System {
        /// What was tried.
        deed: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Something else than a folder is there, a symbolic link to one included.
    #[error("`{}` is not a folder (a symbolic link is not followed)", .0.display())]
    NotAFolder(PathBuf),
    /// Something else than a plain file is there.
    #[error("`{}` is not a plain file", .0.display())]
    NotAFile(PathBuf),
    /// It belongs to somebody else.
    #[error("`{}` belongs to user id {owner}, not to {wanted}", .path.display())]
    ForeignOwner {
        /// The file or folder.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Who must own it.
        wanted: u32,
    },
    /// Others than its owner may use it.
    #[error("`{}` is open to others (mode {mode:03o}); run: chmod go-rwx '{}'", .path.display(), .path.display())]
    OpenToOthers {
        /// The file or folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is larger than its reader allows.
    #[error("`{}` is larger than {max} bytes", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The bound in bytes.
        max: usize,
    },
    /// The path names no file in a folder.
    #[error("`{}` has no file name", .0.display())]
    NoName(PathBuf),
    /// No entropy for the name of a temporary file.
    #[error(transparent)]
    Entropy(#[from] entropy::EntropyError),
}

/// Who owns a new file or folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// The user that this process runs as.
    This,
    /// Another user and group; only root can give things away.
    User {
        /// User id.
        uid: u32,
        /// Group id.
        gid: u32,
    },
}

/// The permission bits of the group and of others.
const OTHERS: u32 = 0o077;

/// Makes the folder `path`, and its missing parents, for the owner alone (0700); one that is there must be so.
///
/// # Errors
/// When it is a symbolic link or no folder, belongs to somebody else, or is open to others.
pub fn create_private_dir(path: &Path) -> Result<(), FileError> {
    create_dir(path, 0o700, Owner::This)
}

/// Makes the folder `path` with permission bits `mode` (0711 to let other users through to a folder of
/// theirs inside) for `owner`, and missing parents likewise; one that is there may not be wider.
///
/// # Errors
/// As [`create_private_dir`].
pub fn create_dir(path: &Path, mode: u32, owner: Owner) -> Result<(), FileError> {
    let failed = |source: Errno| system("create", path, source.into());
    let mut missing = Vec::new();
    for ancestor in path.ancestors().filter(|a| !a.as_os_str().is_empty()) {
        if ancestor.symlink_metadata().is_ok() {
            break;
        }
        missing.push(ancestor);
    }
    for dir in missing.iter().rev() {
        match rustix::fs::mkdir(*dir, Mode::from_raw_mode(mode)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    let (dir, stat) = open_dir(path)?;
    let created = !missing.is_empty();
    if created {
        // The umask may have taken bits that 0711 needs.
        rustix::fs::fchmod(&dir, Mode::from_raw_mode(mode)).map_err(failed)?;
        give(&dir, owner).map_err(failed)?;
        return sync_parent(path);
    }
    refuse_foreign(path, &stat, owner)?;
    if permissions(&stat) & !mode & OTHERS != 0 {
        return Err(FileError::OpenToOthers { path: path.to_owned(), mode: permissions(&stat) });
    }
    Ok(())
}

/// Writes `bytes` to `path` (0600): after a crash either the old file or the new one is there, whole.
///
/// # Errors
/// When the system refuses (no such folder, read-only, full); an older file is then unchanged.
pub fn write_private_atomically(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    write_atomically(path, bytes, 0o600, Owner::This)
}

/// Writes `bytes` to `path` as [`write_private_atomically`], with permission bits `mode` and for `owner`.
///
/// # Errors
/// As [`write_private_atomically`].
pub fn write_atomically(path: &Path, bytes: &[u8], mode: u32, owner: Owner) -> Result<(), FileError> {
    let name = path.file_name().ok_or_else(|| FileError::NoName(path.to_owned()))?;
    // Everything below goes through this handle: swapping a folder for a link midway changes nothing.
    let (dir, _) = open_dir(parent(path))?;
    let temporary = temporary_name(name)?;
    let written = write_new(&dir, &temporary, bytes, mode, owner)
        .and_then(|()| rustix::fs::renameat(&dir, &temporary, &dir, name))
        .and_then(|()| rustix::fs::fsync(&dir));
    written.map_err(|error| {
        // The write's own error is the one to report, whether or not the remains can be removed.
        let _ = rustix::fs::unlinkat(&dir, &temporary, AtFlags::empty());
        system("write", path, error.into())
    })
}

/// Reads the whole of `path`, at most `max` bytes.
///
/// # Errors
/// When it cannot be read, is a folder, or is larger.
pub fn read_bounded(path: &Path, max: usize) -> Result<Vec<u8>, FileError> {
    let file = File::open(path).map_err(|error| system("read", path, error))?;
    read_from(file, path, max)
}

/// Reads a plain file whole, at most `max` bytes, from a folder that somebody else may write to: a symbolic link
/// is not followed, and a pipe is not waited for. What it says is its owner's word.
///
/// # Errors
/// When it cannot be read, is a link or no plain file, or is larger.
pub fn read_foreign(path: &Path, max: usize) -> Result<Vec<u8>, FileError> {
    let (fd, _) = open_plain(path, OFlags::NOFOLLOW)?;
    read_from(File::from(fd), path, max)
}

/// Reads a private file whole, at most `max` bytes: owned by this user or root, open to nobody else.
///
/// # Errors
/// When it cannot be read, is no plain file, is larger, belongs to somebody else, or is open to others.
pub fn read_private(path: &Path, max: usize) -> Result<Vec<u8>, FileError> {
    let (fd, stat) = open_plain(path, OFlags::empty())?;
    if stat.st_uid != 0 {
        refuse_foreign(path, &stat, Owner::This)?;
    }
    if permissions(&stat) & OTHERS != 0 {
        return Err(FileError::OpenToOthers { path: path.to_owned(), mode: permissions(&stat) });
    }
    read_from(File::from(fd), path, max)
}

/// Whether this process may make files in the folder `dir`; false too when the file system is read-only.
#[must_use]
pub fn is_writable(dir: &Path) -> bool {
    rustix::fs::access(dir, Access::WRITE_OK | Access::EXEC_OK).is_ok()
}

pub(crate) fn open_plain(path: &Path, how: OFlags) -> Result<(OwnedFd, Stat), FileError> {
    // Without NONBLOCK, opening a pipe that somebody left here would wait for ever.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY | how;
    let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| system("read", path, e.into()))?;
    let stat = rustix::fs::fstat(&fd).map_err(|e| system("read", path, e.into()))?;
    if !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file() {
        return Err(FileError::NotAFile(path.to_owned()));
    }
    Ok((fd, stat))
}

/// Opens the folder `path` itself, never what a link points at.
fn open_dir(path: &Path) -> Result<(OwnedFd, Stat), FileError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags, Mode::empty());
    let dir = opened.map_err(|error| match error {
        Errno::NOTDIR | Errno::LOOP => FileError::NotAFolder(path.to_owned()),
        other => system("open", path, other.into()),
    })?;
    let stat = rustix::fs::fstat(&dir).map_err(|error| system("open", path, error.into()))?;
    Ok((dir, stat))
}

fn write_new(dir: &OwnedFd, name: &OsStr, bytes: &[u8], mode: u32, owner: Owner) -> Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o600))?;
    let mut file = File::from(fd);
    file.write_all(bytes).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    give(&file, owner)?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
    rustix::fs::fsync(&file)
}

fn give(what: impl std::os::fd::AsFd, owner: Owner) -> Result<(), Errno> {
    match owner {
        Owner::This => Ok(()),
        Owner::User { uid, gid } => {
            rustix::fs::fchown(what, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
        }
    }
}

fn read_from(file: File, path: &Path, max: usize) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    let bound = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    file.take(bound).read_to_end(&mut bytes).map_err(|error| system("read", path, error))?;
    if bytes.len() > max {
        return Err(FileError::TooLarge { path: path.to_owned(), max });
    }
    Ok(bytes)
}

fn refuse_foreign(path: &Path, stat: &Stat, owner: Owner) -> Result<(), FileError> {
    let wanted = match owner {
        Owner::This => rustix::process::geteuid().as_raw(),
        Owner::User { uid, .. } => uid,
    };
    if stat.st_uid == wanted {
        return Ok(());
    }
    Err(FileError::ForeignOwner { path: path.to_owned(), owner: stat.st_uid, wanted })
}

fn sync_parent(path: &Path) -> Result<(), FileError> {
    let parent = parent(path);
    File::open(parent).and_then(|dir| dir.sync_all()).map_err(|error| system("sync", parent, error))
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn temporary_name(name: &OsStr) -> Result<OsString, FileError> {
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{:016x}", u64::from_le_bytes(entropy::fill()?)));
    Ok(temporary)
}

const fn permissions(stat: &Stat) -> u32 {
    stat.st_mode & 0o777
}

fn system(deed: &'static str, path: &Path, source: io::Error) -> FileError {
    FileError::System { deed, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    #[test]
    fn a_private_folder_and_its_missing_parents_are_closed_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("a/b");
        create_private_dir(&inner).unwrap();
        create_private_dir(&inner).unwrap();
        assert_eq!((mode(&inner), mode(&dir.path().join("a"))), (0o700, 0o700));
    }

    #[test]
    fn a_folder_that_others_can_use_is_refused_unless_it_was_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let open = dir.path().join("open");
        create_dir(&open, 0o711, Owner::This).unwrap();
        assert_eq!(mode(&open), 0o711);
        assert!(matches!(create_private_dir(&open), Err(FileError::OpenToOthers { mode: 0o711, .. })));
        create_dir(&open, 0o711, Owner::This).unwrap();
    }

    #[test]
    fn a_symbolic_link_or_a_file_is_not_a_private_folder() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link, file) = (dir.path().join("real"), dir.path().join("link"), dir.path().join("file"));
        create_private_dir(&real).unwrap();
        symlink(&real, &link).unwrap();
        std::fs::write(&file, "").unwrap();
        for bad in [link, file] {
            assert!(matches!(create_private_dir(&bad), Err(FileError::NotAFolder(_))), "{}", bad.display());
        }
    }

    #[test]
    fn somebody_elses_folder_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let other = Owner::User { uid: rustix::process::geteuid().as_raw() + 1, gid: 0 };
        assert!(matches!(create_dir(dir.path(), 0o700, other), Err(FileError::ForeignOwner { .. })));
    }

    #[test]
    fn a_private_file_is_replaced_whole_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        write_private_atomically(&path, b"one").unwrap();
        write_private_atomically(&path, b"two").unwrap();
        assert_eq!(read_private(&path, 3).unwrap(), b"two");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_write_that_fails_leaves_no_temporary_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("taken");
        std::fs::create_dir(&path).unwrap();
        assert!(matches!(write_private_atomically(&path, b"x"), Err(FileError::System { .. })));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(write_private_atomically(&dir.path().join("absent/key"), b"x").is_err());
        assert!(matches!(write_private_atomically(Path::new("/"), b"x"), Err(FileError::NoName(_))));
    }

    #[test]
    fn a_file_open_to_others_is_not_read_as_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        for mode in [0o640, 0o604, 0o602] {
            write_atomically(&path, b"x", mode, Owner::This).unwrap();
            assert!(matches!(read_private(&path, 9), Err(FileError::OpenToOthers { .. })), "{mode:o}");
        }
        assert_eq!(read_bounded(&path, 1).unwrap(), b"x");
    }

    #[test]
    fn a_folder_a_pipe_and_a_large_file_are_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert!(matches!(read_private(&pipe, 9), Err(FileError::NotAFile(_))));
        assert!(matches!(read_private(dir.path(), 9), Err(FileError::NotAFile(_))));
        let path = dir.path().join("large");
        write_private_atomically(&path, b"1234").unwrap();
        assert!(matches!(read_private(&path, 3), Err(FileError::TooLarge { max: 3, .. })));
        assert!(matches!(read_bounded(&path, 3), Err(FileError::TooLarge { max: 3, .. })));
    }

    #[test]
    fn a_foreign_file_is_read_but_no_link_pipe_or_folder_in_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let (plain, link, pipe) =
            (dir.path().join("plain"), dir.path().join("link"), dir.path().join("pipe"));
        std::fs::write(&plain, b"x").unwrap();
        symlink(&plain, &link).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert_eq!(read_foreign(&plain, 1).unwrap(), b"x");
        for bad in [&link, &pipe, &dir.path().to_owned()] {
            assert!(read_foreign(bad, 9).is_err(), "{}", bad.display());
        }
    }

    #[test]
    fn a_folder_that_is_not_there_is_not_writable() {
        let dir = tempfile::tempdir().unwrap();
        assert!(is_writable(dir.path()));
        assert!(!is_writable(&dir.path().join("absent")));
    }

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }
}
