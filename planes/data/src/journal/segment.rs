//! Segments: the journal's files, each a header and frames, only ever appended to.
//!
//! ```text
//! magic 8 | segment number 8 | number of its first record 8 | journal id 16 | crc 4 | frames
//! ```

use super::JournalError;
use super::frame;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Bytes before the first frame.
pub(super) const HEADER_LENGTH: usize = 44;

const MAGIC: [u8; 8] = *b"PALJRNL1";

const EXTENSION: &str = "segment";

/// A segment's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) number: u64,
    pub(super) first_sequence: u64,
    pub(super) journal: [u8; 16],
}

/// The segment that is written.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) number: u64,
    file: File,
    /// Bytes that were written whole.
    length: u64,
    /// Bytes that are durable.
    synced: u64,
}

impl Header {
    fn encode(&self) -> [u8; HEADER_LENGTH] {
        let mut out = [0; HEADER_LENGTH];
        let parts =
            [MAGIC.as_slice(), &self.number.to_le_bytes(), &self.first_sequence.to_le_bytes(), &self.journal];
        let body = parts.concat();
        let crc = crc32fast::hash(&body).to_le_bytes();
        out.iter_mut().zip(body.iter().chain(&crc)).for_each(|(to, from)| *to = *from);
        out
    }

    /// Reads a header; none if it is not whole.
    pub(super) fn decode(segment: &[u8]) -> Option<Self> {
        let (magic, rest) = segment.split_first_chunk::<8>()?;
        let (number, rest) = rest.split_first_chunk::<8>()?;
        let (first_sequence, rest) = rest.split_first_chunk::<8>()?;
        let (journal, _) = rest.split_first_chunk::<16>()?;
        let header = Self {
            number: u64::from_le_bytes(*number),
            first_sequence: u64::from_le_bytes(*first_sequence),
            journal: *journal,
        };
        (*magic == MAGIC && segment.get(..HEADER_LENGTH)? == header.encode()).then_some(header)
    }
}

impl Active {
    /// Makes a segment that begins with `frames`, durable when this returns.
    pub(super) fn create(dir: &Path, header: &Header, frames: &[u8]) -> io::Result<Self> {
        let path = path(dir, header.number);
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        let whole = [header.encode().as_slice(), frames].concat();
        let made = file.write_all_at(&whole, 0).and_then(|()| file.sync_all()).and_then(|()| sync_dir(dir));
        if let Err(error) = made {
            // The write's own error is the one to report; a remainder is no segment to recovery.
            let _ = std::fs::remove_file(&path);
            return Err(error);
        }
        let length = whole.len() as u64;
        Ok(Self { number: header.number, file, length, synced: length })
    }

    /// Opens a segment to go on behind its first `length` bytes; whatever follows is cut off.
    pub(super) fn open(dir: &Path, number: u64, length: u64) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path(dir, number))?;
        if file.metadata()?.len() != length {
            file.set_len(length)?;
        }
        // What the crash left may never have been synced.
        file.sync_all()?;
        Ok(Self { number, file, length, synced: length })
    }

    pub(super) const fn length(&self) -> u64 {
        self.length
    }

    pub(super) const fn synced(&self) -> u64 {
        self.synced
    }

    /// Appends whole frames. A failed append leaves the segment as it was.
    pub(super) fn append(&mut self, frames: &[u8]) -> io::Result<()> {
        if let Err(error) = self.file.write_all_at(frames, self.length) {
            self.file.set_len(self.length)?;
            return Err(error);
        }
        self.length += frames.len() as u64;
        Ok(())
    }

    /// Makes everything that was appended durable.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        self.synced = self.length;
        Ok(())
    }

    /// Says on disk how much is durable, so that damage to it is not taken for a torn write. Not synced itself.
    pub(super) fn vouch(&mut self) -> io::Result<()> {
        let mut voucher = Vec::with_capacity(frame::HEADER_LENGTH);
        frame::write(&mut voucher, self.synced, &[]);
        self.append(&voucher)
    }
}

/// The path of segment `number`.
pub(super) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:016}.{EXTENSION}"))
}

/// The numbers of all segments in `dir`, in order.
pub(super) fn list(dir: &Path) -> Result<Vec<u64>, JournalError> {
    let failed = |source| JournalError::system("list", dir, source);
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let found = entry.map_err(failed)?.path();
        if found.extension().is_some_and(|extension| extension == EXTENSION) {
            let number = found.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
            let number = number.filter(|number| path(dir, *number) == found);
            numbers.push(number.ok_or(JournalError::Damaged { path: found, offset: 0 })?);
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Reads `length` bytes at `offset` of segment `number`.
pub(super) fn read(dir: &Path, number: u64, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    File::open(path(dir, number))?.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

/// Removes segment `number`.
pub(super) fn remove(dir: &Path, number: u64) -> io::Result<()> {
    std::fs::remove_file(path(dir, number))?;
    sync_dir(dir)
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
