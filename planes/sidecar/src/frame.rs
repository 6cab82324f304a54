//! Frames: how records lie in the journal, and how they are found again after a crash.
//!
//! A frame is `magic (4) | length (4, little-endian) | CRC-32 (4, little-endian) | payload`; the checksum covers
//! length and payload. The magic lets a reader find the next frame behind a damaged one.

use crate::disk::Disk;
use std::io;

/// Begins each frame; its last byte is the format's version.
const MAGIC: [u8; 4] = *b"PMJ1";

/// The bytes before a payload.
const HEAD: usize = 12;

/// The largest payload: an envelope (16 KiB), a state with 64 past epochs, and room.
pub(crate) const PAYLOAD_MAX: usize = 32 * 1024;

/// How much is read at once while looking for the next frame.
const WINDOW: usize = 64 * 1024;

/// A frame that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// Where it begins.
    pub(crate) offset: u64,
    /// What it carries.
    pub(crate) payload: Vec<u8>,
}

impl Found {
    /// Where the next one begins.
    pub(crate) fn end(&self) -> u64 {
        self.offset.saturating_add(size(HEAD)).saturating_add(size(self.payload.len()))
    }
}

/// Frames `payload`; none if it is larger than [`PAYLOAD_MAX`].
pub(crate) fn encode(payload: &[u8]) -> Option<Vec<u8>> {
    let length = u32::try_from(payload.len()).ok().filter(|_| payload.len() <= PAYLOAD_MAX)?;
    let mut frame = Vec::with_capacity(HEAD + payload.len());
    frame.extend_from_slice(&MAGIC);
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(&checksum(length, payload).to_le_bytes());
    frame.extend_from_slice(payload);
    Some(frame)
}

/// The first whole frame at `from` or after it, before `end`.
pub(crate) fn find(disk: &impl Disk, mut from: u64, end: u64) -> io::Result<Option<Found>> {
    loop {
        if let Some(payload) = read_at(disk, from, end)? {
            return Ok(Some(Found { offset: from, payload }));
        }
        match next_magic(disk, from.saturating_add(1), end)? {
            Some(next) => from = next,
            None => return Ok(None),
        }
    }
}

/// The payload of a whole frame that begins at `offset` and ends by `end`.
pub(crate) fn read_at(disk: &impl Disk, offset: u64, end: u64) -> io::Result<Option<Vec<u8>>> {
    let left = end.saturating_sub(offset);
    if left < size(HEAD) {
        return Ok(None);
    }
    let mut magic = [0; 4];
    let (mut length, mut crc) = ([0; 4], [0; 4]);
    disk.read(offset, &mut magic)?;
    disk.read(offset.saturating_add(4), &mut length)?;
    disk.read(offset.saturating_add(8), &mut crc)?;
    let length = u32::from_le_bytes(length);
    let count = usize::try_from(length).unwrap_or(usize::MAX);
    if magic != MAGIC || count > PAYLOAD_MAX || size(HEAD + count) > left {
        return Ok(None);
    }
    let mut payload = vec![0; count];
    disk.read(offset.saturating_add(size(HEAD)), &mut payload)?;
    let whole = checksum(length, &payload) == u32::from_le_bytes(crc);
    Ok(whole.then_some(payload))
}

fn next_magic(disk: &impl Disk, mut from: u64, end: u64) -> io::Result<Option<u64>> {
    while end.saturating_sub(from) >= size(HEAD) {
        let count = usize::try_from(end - from).unwrap_or(usize::MAX).min(WINDOW);
        let mut window = vec![0; count];
        disk.read(from, &mut window)?;
        if let Some(at) = window.windows(MAGIC.len()).position(|bytes| bytes == MAGIC) {
            return Ok(Some(from.saturating_add(size(at))));
        }
        // A magic may lie across two windows.
        from = from.saturating_add(size(count.saturating_sub(MAGIC.len() - 1)));
    }
    Ok(None)
}

fn checksum(length: u32, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length.to_le_bytes());
    hasher.update(payload);
    hasher.finalize()
}

/// A length in memory as one on disk.
pub(crate) fn size(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::FileDisk;

    #[test]
    fn frames_are_found_one_after_the_other() {
        let bytes = [frame(b"one"), frame(b""), frame(&[7; PAYLOAD_MAX])].concat();
        assert_eq!(payloads(&bytes), [b"one".to_vec(), vec![], vec![7; PAYLOAD_MAX]]);
    }

    #[test]
    fn a_payload_that_no_reader_would_take_is_not_framed() {
        assert!(encode(&vec![0; PAYLOAD_MAX + 1]).is_none());
    }

    #[test]
    fn a_flipped_bit_anywhere_hides_its_frame_alone() {
        let good = [frame(b"one"), frame(b"two"), frame(b"three")].concat();
        let (second, third) = (frame(b"one").len(), frame(b"one").len() + frame(b"two").len());
        for bit in second * 8..third * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(payloads(&bytes), [b"one".to_vec(), b"three".to_vec()], "bit {bit}");
        }
    }

    #[test]
    fn an_end_that_was_cut_or_never_written_is_no_frame() {
        let whole = frame(b"payload");
        for len in 0..whole.len() {
            assert_eq!(payloads(&whole[..len]), Vec::<Vec<u8>>::new(), "{len} bytes");
            let zeroed = [&whole[..len], &vec![0; whole.len() - len]].concat();
            assert_eq!(payloads(&zeroed), Vec::<Vec<u8>>::new(), "{len} bytes, then zeros");
        }
    }

    #[test]
    fn a_frame_is_found_behind_any_amount_of_rubbish() {
        for rubbish in [1, 3, WINDOW - 14, WINDOW - 2, WINDOW - 1, WINDOW, WINDOW + 1, 3 * WINDOW + 5] {
            let bytes = [vec![b'P'; rubbish], frame(b"found")].concat();
            assert_eq!(payloads(&bytes), [b"found"], "{rubbish} bytes");
        }
        let headless = [&MAGIC[..], &[0xff; 4], &[0; 4], &frame(b"found")].concat();
        assert_eq!(payloads(&headless), [b"found"], "a head with a length behind the end");
    }

    fn frame(payload: &[u8]) -> Vec<u8> {
        encode(payload).unwrap()
    }

    fn payloads(bytes: &[u8]) -> Vec<Vec<u8>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        std::fs::write(&path, bytes).unwrap();
        let disk = FileDisk::open(&path).unwrap();
        let (mut at, mut found) = (0, Vec::new());
        while let Some(next) = find(&disk, at, size(bytes.len())).unwrap() {
            at = next.end();
            found.push(next.payload);
        }
        found
    }
}
