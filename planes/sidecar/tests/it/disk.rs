//! A disk that keeps only what was synced, and fails when it is told to.

use sidecar::disk::Disk;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

/// The disk; clones are handles to the same one, so that it outlives a process that dies.
#[derive(Debug, Clone, Default)]
pub(crate) struct FaultyDisk(Arc<Mutex<Bytes>>);

#[derive(Debug, Default)]
struct Bytes {
    /// What survives a power cut.
    durable: Vec<u8>,
    /// What the process sees.
    seen: Vec<u8>,
    next: Option<Fault>,
}

/// What fails next, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// An append, after so many bytes.
    AppendAfter(usize),
    /// A sync, which keeps nothing.
    SyncLoses,
    /// A sync, which keeps everything and says that it did not.
    SyncLies,
    /// A replacement.
    Replace,
}

impl FaultyDisk {
    pub(crate) fn fail_next(&self, fault: Fault) {
        self.bytes().next = Some(fault);
    }

    pub(crate) fn size(&self) -> usize {
        self.bytes().seen.len()
    }

    /// A power cut: of what was not synced, the first `kept` of 256 parts survive; the rest is gone, or `zeroed`
    /// as a file system leaves blocks that it allotted and did not write.
    pub(crate) fn cut_power(&self, kept: u8, zeroed: bool) {
        let mut bytes = self.bytes();
        bytes.next = None;
        if bytes.seen.starts_with(&bytes.durable) {
            let unsynced = bytes.seen.len() - bytes.durable.len();
            let survives = bytes.durable.len() + unsynced * usize::from(kept) / 256;
            if zeroed {
                bytes.seen[survives..].fill(0);
            } else {
                bytes.seen.truncate(survives);
            }
        } else if kept < 128 {
            // The file was cut or replaced, and that was not synced: either one may be there.
            bytes.seen = bytes.durable.clone();
        }
        bytes.durable = bytes.seen.clone();
    }

    /// Spoils one byte, `from_end` bytes before the end.
    pub(crate) fn rot(&self, from_end: usize) {
        let mut bytes = self.bytes();
        if let Some(at) = bytes.seen.len().checked_sub(from_end + 1) {
            bytes.seen[at] ^= 0x40;
            bytes.durable = bytes.seen.clone();
        }
    }

    fn bytes(&self) -> MutexGuard<'_, Bytes> {
        self.0.lock().unwrap()
    }
}

impl Bytes {
    fn fails(&mut self, is_it: impl Fn(Fault) -> bool) -> Option<Fault> {
        self.next.take_if(|fault| is_it(*fault))
    }
}

fn full() -> io::Error {
    io::ErrorKind::StorageFull.into()
}

impl Disk for FaultyDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.size() as u64)
    }

    fn append(&mut self, offset: u64, new: &[u8]) -> io::Result<()> {
        let mut bytes = self.bytes();
        bytes.seen.truncate(offset as usize);
        assert_eq!(bytes.seen.len(), offset as usize, "appended behind the end");
        if let Some(Fault::AppendAfter(count)) = bytes.fails(|fault| matches!(fault, Fault::AppendAfter(_))) {
            bytes.seen.extend_from_slice(&new[..count.min(new.len())]);
            return Err(full());
        }
        bytes.seen.extend_from_slice(new);
        Ok(())
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let bytes = self.bytes();
        let from = bytes.seen.get(offset as usize..).unwrap_or_default();
        let found = from.get(..into.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        into.copy_from_slice(found);
        Ok(())
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.bytes().seen.truncate(len as usize);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut bytes = self.bytes();
        let fault = bytes.fails(|fault| matches!(fault, Fault::SyncLoses | Fault::SyncLies));
        if fault != Some(Fault::SyncLoses) {
            bytes.durable = bytes.seen.clone();
        }
        fault.map_or(Ok(()), |_| Err(full()))
    }

    fn replace(&mut self, kept: &[Range<u64>], tail: &[u8]) -> io::Result<()> {
        let mut bytes = self.bytes();
        if bytes.fails(|fault| fault == Fault::Replace).is_some() {
            return Err(full());
        }
        let ranges = kept.iter().flat_map(|range| &bytes.seen[range.start as usize..range.end as usize]);
        bytes.seen = ranges.chain(tail).copied().collect();
        Ok(())
    }
}
