//! The bytes under the journal: what a file system promises, and no more.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// A file that is appended to, cut, synced and replaced as a whole.
#[expect(clippy::len_without_is_empty, reason = "an empty file is no special case")]
pub trait Disk {
    /// How many bytes there are.
    ///
    /// # Errors
    /// When the system refuses.
    fn len(&self) -> io::Result<u64>;

    /// Writes `bytes` at `offset`, the file's end. They may be lost until [`Disk::sync`] succeeds, and may have
    /// been written in part when this fails.
    ///
    /// # Errors
    /// When the system refuses: full, read-only, broken.
    fn append(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Reads exactly `into.len()` bytes from `offset` on.
    ///
    /// # Errors
    /// When there are fewer, or the system refuses.
    fn read(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;

    /// Cuts the file to `len` bytes.
    ///
    /// # Errors
    /// When the system refuses.
    fn cut(&mut self, len: u64) -> io::Result<()>;

    /// Makes everything written so far survive a power cut. After a failure nobody knows what does.
    ///
    /// # Errors
    /// When the system refuses.
    fn sync(&mut self) -> io::Result<()>;

    /// Replaces the file by the byte ranges `kept` of the old one, followed by `tail`: after a crash the old one
    /// or the new one is there, and the new one once a [`Disk::sync`] succeeded.
    ///
    /// # Errors
    /// When the system refuses; the old file is then unchanged.
    fn replace(&mut self, kept: &[Range<u64>], tail: &[u8]) -> io::Result<()>;
}

/// A private file (0600) in a folder.
#[derive(Debug)]
pub struct FileDisk {
    file: File,
    path: PathBuf,
    /// Whether a power cut could bring back the file that had this name before.
    renamed: bool,
}

impl FileDisk {
    /// Opens the file `path`, which must be there.
    ///
    /// # Errors
    /// When it is not, or the system refuses.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Self { file, path: path.to_owned(), renamed: false })
    }

    fn write_successor(&self, path: &Path, kept: &[Range<u64>], tail: &[u8]) -> io::Result<File> {
        let mut options = OpenOptions::new();
        let mut new = options.read(true).write(true).create(true).truncate(true).mode(0o600).open(path)?;
        for range in kept {
            let length = range.end.saturating_sub(range.start);
            let copied = io::copy(&mut From { file: &self.file, at: range.start }.take(length), &mut new)?;
            if copied != length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        new.write_all(tail)?;
        new.sync_all()?;
        std::fs::rename(path, &self.path)?;
        Ok(new)
    }
}

impl Disk for FileDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn append(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(into, offset)
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.renamed {
            let folder = self.path.parent().unwrap_or(Path::new("."));
            File::open(folder)?.sync_all()?;
            self.renamed = false;
        }
        self.file.sync_data()
    }

    fn replace(&mut self, kept: &[Range<u64>], tail: &[u8]) -> io::Result<()> {
        let successor = self.path.with_extension("new");
        self.file = self.write_successor(&successor, kept, tail).inspect_err(|_| {
            // The write's own error is the one to report; a remainder is overwritten next time.
            let _ = std::fs::remove_file(&successor);
        })?;
        self.renamed = true;
        Ok(())
    }
}

/// Reads a file from a place of its own, leaving the file's position alone.
struct From<'f> {
    file: &'f File,
    at: u64,
}

impl io::Read for From<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(into, self.at)?;
        self.at = self.at.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_appended_to_cut_and_read() {
        let dir = tempfile::tempdir().unwrap();
        let mut disk = made(dir.path(), b"");
        disk.append(0, b"abcdef").unwrap();
        disk.cut(4).unwrap();
        disk.append(4, b"XY").unwrap();
        disk.sync().unwrap();
        let mut bytes = [0; 6];
        disk.read(0, &mut bytes).unwrap();
        assert_eq!((&bytes, disk.len().unwrap()), (b"abcdXY", 6));
        assert!(disk.read(1, &mut bytes).is_err());
    }

    #[test]
    fn a_replaced_file_holds_what_was_kept_and_the_tail_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let mut disk = made(dir.path(), b"0123456789");
        // What a crash in an earlier replacement left.
        let remainder = dir.path().join("journal.new");
        host::files::write_private_atomically(&remainder, b"a longer remainder than the new file").unwrap();
        disk.replace(&[1..3, 7..10], b"tail").unwrap();
        disk.append(9, b"!").unwrap();
        disk.sync().unwrap();
        let path = dir.path().join("journal");
        assert_eq!(std::fs::read(&path).unwrap(), b"12789tail!");
        let mode = std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions());
        assert_eq!((mode & 0o777, std::fs::read_dir(dir.path()).unwrap().count()), (0o600, 1));
    }

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "a list of one range is what is meant")]
    fn a_replacement_that_fails_leaves_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let mut disk = made(dir.path(), b"0123456789");
        assert!(disk.replace(&[8..20], b"tail").is_err(), "a range behind the end");
        std::fs::create_dir(dir.path().join("journal.new")).unwrap();
        assert!(disk.replace(&[0..1], b"tail").is_err(), "no file can be made");
        disk.append(10, b"!").unwrap();
        assert_eq!(std::fs::read(dir.path().join("journal")).unwrap(), b"0123456789!");
    }

    fn made(dir: &Path, bytes: &[u8]) -> FileDisk {
        let path = dir.join("journal");
        host::files::write_private_atomically(&path, bytes).unwrap();
        FileDisk::open(&path).unwrap()
    }
}
