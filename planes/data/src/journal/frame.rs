//! One frame of a segment: how bytes on disk are told from the remains of a crash.
//!
//! ```text
//! marker 4 | length 4 | synced 8 | crc 4 | sealed bytes
//! ```
//! All numbers little endian. The checksum covers everything but itself and the marker. `synced` says how much
//! of the segment was durable when the frame was written: a broken frame that a later one vouches for was
//! damaged after it was synced, and is no torn write. A frame of length 0 is such a voucher and nothing else.

use crc32fast::Hasher;

/// Bytes before the sealed ones.
pub(super) const HEADER_LENGTH: usize = 20;

/// The most sealed bytes in one frame: the largest plan or output, with its head and seal, fits many times.
pub(super) const SEALED_MAX: usize = 64 * 1024 * 1024;

/// Begins each frame, so that whole frames can be found behind a broken one.
const MARKER: [u8; 4] = [0xA5, b'P', b'J', 0x01];

/// A whole frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    /// The sealed record; empty for a voucher.
    pub(super) sealed: &'a [u8],
    /// How much of the segment was durable when it was written.
    pub(super) synced: u64,
    /// Where the next frame begins.
    pub(super) next: usize,
}

/// What stands at a place.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read<'a> {
    /// A whole frame.
    Frame(Frame<'a>),
    /// Exactly the end.
    End,
    /// Something else.
    Broken,
}

/// Appends a frame to `out`.
pub(super) fn write(out: &mut Vec<u8>, synced: u64, sealed: &[u8]) {
    // INVARIANT: callers keep `sealed` within SEALED_MAX, far below 4 GiB.
    let length = u32::try_from(sealed.len()).unwrap_or(u32::MAX).to_le_bytes();
    let synced = synced.to_le_bytes();
    out.extend_from_slice(&MARKER);
    out.extend_from_slice(&length);
    out.extend_from_slice(&synced);
    out.extend_from_slice(&checksum(length, synced, sealed).to_le_bytes());
    out.extend_from_slice(sealed);
}

/// Reads what stands at `at`.
pub(super) fn read(segment: &[u8], at: usize) -> Read<'_> {
    match segment.get(at..) {
        Some([]) => Read::End,
        Some(rest) => parse(rest, at).map_or(Read::Broken, Read::Frame),
        None => Read::Broken,
    }
}

/// Whether some whole frame behind `broken` was written after the bytes there had been durable.
pub(super) fn was_durable(segment: &[u8], broken: usize) -> bool {
    let rest = segment.get(broken..).unwrap_or_default();
    let starts = rest.windows(MARKER.len()).enumerate().filter(|(_, window)| *window == MARKER);
    let mut frames = starts.filter_map(|(offset, _)| match read(segment, broken.saturating_add(offset)) {
        Read::Frame(frame) => Some(frame),
        Read::End | Read::Broken => None,
    });
    frames.any(|frame| frame.synced > broken as u64)
}

fn parse(rest: &[u8], at: usize) -> Option<Frame<'_>> {
    let (marker, rest) = rest.split_first_chunk::<4>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (synced, rest) = rest.split_first_chunk::<8>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let size = usize::try_from(u32::from_le_bytes(*length)).ok().filter(|size| *size <= SEALED_MAX)?;
    let sealed = rest.get(..size)?;
    let whole = *marker == MARKER && u32::from_le_bytes(*crc) == checksum(*length, *synced, sealed);
    whole.then_some(Frame { sealed, synced: u64::from_le_bytes(*synced), next: at + HEADER_LENGTH + size })
}

fn checksum(length: [u8; 4], synced: [u8; 8], sealed: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&length);
    hasher.update(&synced);
    hasher.update(sealed);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_read_back_one_after_the_other() {
        let mut out = Vec::new();
        write(&mut out, 0, b"one");
        write(&mut out, 23, b"");
        let Read::Frame(first) = read(&out, 0) else { panic!("no frame") };
        assert_eq!((first.sealed, first.synced), (b"one".as_slice(), 0));
        let Read::Frame(second) = read(&out, first.next) else { panic!("no frame") };
        assert_eq!((second.sealed, second.synced), (b"".as_slice(), 23));
        assert_eq!(read(&out, second.next), Read::End);
    }

    #[test]
    fn no_flipped_bit_and_no_cut_reads_as_a_frame() {
        let mut out = Vec::new();
        write(&mut out, 7, b"sealed bytes");
        for bit in 0..out.len() * 8 {
            let mut flipped = out.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(&flipped, 0), Read::Broken, "bit {bit}");
        }
        for length in 1..out.len() {
            assert_eq!(read(&out[..length], 0), Read::Broken, "{length} bytes");
        }
    }

    #[test]
    fn a_broken_frame_that_a_later_one_vouches_for_was_durable() {
        let mut out = Vec::new();
        write(&mut out, 0, b"first");
        let first = out.len();
        write(&mut out, first as u64, b"second");
        out[HEADER_LENGTH] ^= 1;
        assert!(was_durable(&out, 0));
    }

    #[test]
    fn a_broken_frame_in_a_batch_that_was_never_synced_is_a_torn_write() {
        let mut out = Vec::new();
        write(&mut out, 0, b"first");
        write(&mut out, 0, b"second of the same batch");
        out[HEADER_LENGTH] ^= 1;
        assert!(!was_durable(&out, 0));
    }
}
