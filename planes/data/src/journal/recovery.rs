//! Recovery: reads every segment, cuts off what a crash tore, and refuses what was damaged.

use super::frame::{self, Read};
use super::index::{Index, Place};
use super::key::Sealing;
use super::record::{Began, Head, Record};
use super::segment::{self, Active, Header};
use super::{JournalError, place_context};
use plan::Ticket;
use std::collections::BTreeMap;
use std::path::Path;
use terms::Timestamp;
use wire::heartbeat::Totals;

/// A journal as it was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) index: Index,
    /// What was let through, in order.
    pub(super) tickets: Vec<Ticket>,
    pub(super) active: Active,
    pub(super) next_sequence: u64,
    /// Every segment's size but the active one's.
    pub(super) sizes: BTreeMap<u64, u64>,
    /// Bytes that a crash left behind the last whole record.
    pub(super) cut_bytes: u64,
}

struct Scan<'a> {
    dir: &'a Path,
    sealing: &'a Sealing,
    index: Index,
    tickets: Vec<Ticket>,
    next_sequence: Option<u64>,
    cut_bytes: u64,
}

/// Reads the journal in `dir`; none if it holds no record.
pub(super) fn recover(dir: &Path, sealing: &Sealing) -> Result<Option<Found>, JournalError> {
    let numbers = segment::list(dir)?;
    let nothing = Began {
        at: Timestamp::EPOCH,
        issued_from: Timestamp::EPOCH,
        epoch: 0,
        totals: Totals::default(),
        oldest: 0,
    };
    let index = Index::new(nothing);
    let mut scan = Scan { dir, sealing, index, tickets: Vec::new(), next_sequence: None, cut_bytes: 0 };
    let mut sizes = BTreeMap::new();
    for (at, number) in numbers.iter().enumerate() {
        let is_last = at + 1 == numbers.len();
        if at > 0 && !sizes.contains_key(&number.wrapping_sub(1)) {
            return Err(JournalError::Missing(segment::path(dir, number.wrapping_sub(1))));
        }
        if let Some(length) = scan.segment(*number, is_last)? {
            sizes.insert(*number, length);
        }
    }
    let (Some((number, length)), Some(next_sequence)) = (sizes.pop_last(), scan.next_sequence) else {
        return Ok(None);
    };
    drop_trimmed(dir, scan.index.began.oldest, number, &mut sizes)?;
    let active = Active::open(dir, number, length).map_err(|e| JournalError::system("open", dir, e))?;
    let Scan { index, tickets, cut_bytes, .. } = scan;
    Ok(Some(Found { index, tickets, active, next_sequence, sizes, cut_bytes }))
}

/// Removes segments that a crash kept from being removed; whatever is needed must be there.
fn drop_trimmed(
    dir: &Path,
    oldest: u64,
    active: u64,
    sizes: &mut BTreeMap<u64, u64>,
) -> Result<(), JournalError> {
    let first = sizes.first_key_value().map_or(active, |(number, _)| *number);
    if first > oldest {
        return Err(JournalError::Missing(segment::path(dir, oldest)));
    }
    for number in first..oldest.min(active) {
        segment::remove(dir, number).map_err(|error| JournalError::system("remove from", dir, error))?;
        sizes.remove(&number);
    }
    Ok(())
}

impl Scan<'_> {
    /// Reads one segment and returns its whole length; none if a crash kept it from beginning.
    fn segment(&mut self, number: u64, is_last: bool) -> Result<Option<u64>, JournalError> {
        let path = segment::path(self.dir, number);
        let bytes = std::fs::read(&path).map_err(|source| JournalError::system("read", &path, source))?;
        let damaged = |offset: usize| JournalError::Damaged { path: path.clone(), offset: offset as u64 };
        let header = Header::decode(&bytes);
        let Some(header) = header.filter(|header| header.number == number) else {
            // A segment's beginning is durable before anything relies on it.
            if is_last && !frame::was_durable(&bytes, 0) {
                std::fs::remove_file(&path)
                    .map_err(|source| JournalError::system("remove", &path, source))?;
                self.cut_bytes += bytes.len() as u64;
                return Ok(None);
            }
            return Err(damaged(0));
        };
        let follows = self.next_sequence.is_none_or(|next| next == header.first_sequence);
        if header.journal != self.sealing.journal || !follows {
            return Err(damaged(0));
        }
        let mut sequence = header.first_sequence;
        let mut at = segment::HEADER_LENGTH;
        loop {
            match frame::read(&bytes, at) {
                Read::Frame(frame) => {
                    if !frame.sealed.is_empty() {
                        let place = Place {
                            segment: number,
                            offset: u32::try_from(at).map_err(|_| damaged(at))?,
                            length: u32::try_from(frame.sealed.len()).map_err(|_| damaged(at))?,
                            sequence,
                        };
                        self.record(place, frame.sealed).ok_or_else(|| damaged(at))?;
                        sequence += 1;
                    }
                    at = frame.next;
                }
                Read::End => break,
                Read::Broken if is_last && !frame::was_durable(&bytes, at) => {
                    self.cut_bytes += (bytes.len() - at) as u64;
                    break;
                }
                Read::Broken => return Err(damaged(at)),
            }
        }
        if sequence == header.first_sequence {
            // Each segment begins with what those before it add up to.
            return Err(damaged(segment::HEADER_LENGTH));
        }
        self.next_sequence = Some(sequence);
        Ok(Some(at as u64))
    }

    fn record(&mut self, place: Place, sealed: &[u8]) -> Option<()> {
        let opened =
            self.sealing.key.open(&place_context(self.sealing, &row(self.sealing, place.sequence)), sealed);
        let head = Record::decode_head(&opened.ok()?).ok()?;
        if let Head::Accepted(accepted) | Head::Kept(accepted, ..) = &head {
            self.tickets.push(accepted.ticket());
        }
        if let Head::Moved(moved) = &head
            && let Head::Accepted(accepted) = moved.as_ref()
        {
            self.tickets.push(accepted.ticket());
            // The segment that let it through may be gone.
            if self.index.entry(accepted.execution_id).is_none() {
                self.index.restore(accepted);
            }
        }
        self.index.apply(&head, place);
        Some(())
    }
}

/// What binds a record to its journal and its number.
pub(super) fn row(sealing: &Sealing, sequence: u64) -> [u8; 24] {
    let mut row = [0; 24];
    let parts = sealing.journal.iter().chain(&sequence.to_le_bytes()).copied().collect::<Vec<u8>>();
    row.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
    row
}
