//! What the journal adds up to: where each execution's records are, and what all have used.

use super::record::{Accepted, Answered, Began, Ended, Head};
use std::collections::{BTreeMap, HashMap, VecDeque};
use terms::{ExecutionId, Timestamp};
use wire::heartbeat::{TOTAL_MAX, Totals};

/// Where a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) segment: u64,
    pub(super) offset: u32,
    pub(super) length: u32,
    /// The record's number over all segments: part of its seal.
    pub(super) sequence: u64,
}

/// One execution.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) expires_at: Timestamp,
    pub(super) stage: Stage,
}

#[derive(Debug, Clone)]
pub(super) enum Stage {
    /// It runs, from its acceptance on; the acceptance is the first.
    /// `moving` are records that were moved, until all of them were.
    Live { records: Vec<Place>, moving: Vec<Place>, cancelled: bool },
    /// It ended.
    Ended { accepted: Place, ended: Place, acknowledged: bool },
}

/// Everything that is known from the records, up to the last durable one.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) began: Began,
    entries: HashMap<ExecutionId, Entry>,
    /// In the order of acceptance.
    order: VecDeque<ExecutionId>,
    /// How many places each segment holds that are still needed.
    needed: BTreeMap<u64, u64>,
}

impl Index {
    pub(super) fn new(began: Began) -> Self {
        Self { began, entries: HashMap::new(), order: VecDeque::new(), needed: BTreeMap::new() }
    }

    pub(super) fn entry(&self, id: ExecutionId) -> Option<&Entry> {
        self.entries.get(&id)
    }

    /// Executions that have not ended, in the order of their acceptance.
    pub(super) fn live(&self) -> Vec<ExecutionId> {
        let is_live = |id: &&ExecutionId| {
            self.entries.get(*id).is_some_and(|entry| matches!(entry.stage, Stage::Live { .. }))
        };
        self.order.iter().filter(is_live).copied().collect()
    }

    /// Ended executions whose outcome the control plane may not have, in the order of their acceptance.
    pub(super) fn unacknowledged(&self) -> Vec<(ExecutionId, Place)> {
        let place = |id: &ExecutionId| match self.entries.get(id)?.stage {
            Stage::Ended { ended, acknowledged: false, .. } => Some((*id, ended)),
            Stage::Ended { .. } | Stage::Live { .. } => None,
        };
        self.order.iter().filter_map(place).collect()
    }

    /// Makes room for an execution whose acceptance was in a segment that is gone; its records follow.
    pub(super) fn restore(&mut self, accepted: &Accepted) {
        let stage = Stage::Live { records: Vec::new(), moving: Vec::new(), cancelled: false };
        self.put(accepted, stage);
    }

    /// Takes in a durable record.
    pub(super) fn apply(&mut self, head: &Head, place: Place) {
        match head {
            Head::Began(began) => self.began = *began,
            Head::Accepted(accepted) => self.accept(accepted, place),
            Head::Intent(step) | Head::Waiting(step, _) => self.extend(step.execution_id, place),
            Head::Done(step, answered) => {
                self.count(answered);
                self.extend(step.execution_id, place);
            }
            Head::Resumed(id) => self.extend(*id, place),
            Head::Cancelled(id) => {
                self.extend(*id, place);
                if let Some(Entry { stage: Stage::Live { cancelled, .. }, .. }) = self.entries.get_mut(id) {
                    *cancelled = true;
                }
            }
            Head::Ended(ended) => self.end(ended, place),
            Head::Kept(accepted, _, acknowledged) => self.keep(accepted, *acknowledged, place),
            Head::Moved(head) => self.shadow(head, place),
            Head::MoveEnded(id) => self.end_move(*id),
            Head::Acknowledged(ids) => ids.iter().for_each(|id| self.acknowledge(*id)),
            Head::Processor(us) => self.began.totals.cpu_time_us = (*us).min(TOTAL_MAX),
            Head::Trimmed(oldest) => self.began.oldest = *oldest,
        }
    }

    /// Forgets executions that ended and were acknowledged, oldest first, for as long as `is_old` says so of
    /// their token's expiry and of how many are known. Returns the latest expiry among them.
    pub(super) fn forget(&mut self, is_old: impl Fn(Timestamp, usize) -> bool) -> Option<Timestamp> {
        let mut latest = None;
        let mut passed_over = Vec::new();
        while let Some(id) = self.order.front().copied() {
            let entry = self.entries.get(&id);
            if entry.is_some_and(|entry| !is_old(entry.expires_at, self.entries.len())) {
                break;
            }
            self.order.pop_front();
            match entry {
                Some(Entry { stage: Stage::Ended { acknowledged: true, .. }, expires_at }) => {
                    latest = latest.max(Some(*expires_at));
                    self.drop_entry(id);
                }
                Some(_) => passed_over.push(id),
                None => {}
            }
        }
        passed_over.into_iter().rev().for_each(|id| self.order.push_front(id));
        latest
    }

    /// How many executions are known.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether any known execution needs `segment`.
    pub(super) fn needs(&self, segment: u64) -> bool {
        self.needed.contains_key(&segment)
    }

    /// The executions that need `segment`, in the order of their acceptance.
    pub(super) fn needing(&self, segment: u64) -> Vec<ExecutionId> {
        let is_there = |id: &&ExecutionId| {
            self.entries.get(*id).is_some_and(|entry| entry.stage.places().any(|p| p.segment == segment))
        };
        self.order.iter().filter(is_there).copied().collect()
    }

    fn accept(&mut self, accepted: &Accepted, place: Place) {
        add(&mut self.began.totals.executions, 1);
        let stage = Stage::Live { records: vec![place], moving: Vec::new(), cancelled: false };
        self.put(accepted, stage);
    }

    fn keep(&mut self, accepted: &Accepted, acknowledged: bool, place: Place) {
        self.put(accepted, Stage::Ended { accepted: place, ended: place, acknowledged });
    }

    fn put(&mut self, accepted: &Accepted, stage: Stage) {
        let id = accepted.execution_id;
        for place in stage.places() {
            *self.needed.entry(place.segment).or_default() += 1;
        }
        match self.entries.insert(id, Entry { expires_at: accepted.expires_at, stage }) {
            Some(former) => self.release(&former.stage),
            None => self.order.push_back(id),
        }
    }

    fn extend(&mut self, id: ExecutionId, place: Place) {
        if let Some(Entry { stage: Stage::Live { records, .. }, .. }) = self.entries.get_mut(&id) {
            records.push(place);
            *self.needed.entry(place.segment).or_default() += 1;
        }
    }

    fn shadow(&mut self, head: &Head, place: Place) {
        let entry = head.run().and_then(|id| self.entries.get_mut(&id));
        if let Some(Entry { stage: Stage::Live { moving, cancelled, .. }, .. }) = entry {
            // An acceptance begins a move; what an earlier one left is void.
            if matches!(head, Head::Accepted(_)) {
                moving.clear();
            }
            *cancelled |= matches!(head, Head::Cancelled(_));
            moving.push(place);
        }
    }

    fn end_move(&mut self, id: ExecutionId) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let Stage::Live { moving, cancelled, .. } = &mut entry.stage else { return };
        let next =
            Stage::Live { records: core::mem::take(moving), moving: Vec::new(), cancelled: *cancelled };
        for place in next.places() {
            *self.needed.entry(place.segment).or_default() += 1;
        }
        let former = core::mem::replace(&mut entry.stage, next);
        self.release(&former);
    }

    fn end(&mut self, ended: &Ended, place: Place) {
        let outcome = &ended.outcome;
        let totals = &mut self.began.totals;
        add(&mut totals.outcomes, 1);
        add(&mut totals.steps, outcome.steps);
        add(&mut totals.wall_time_ms, outcome.wall_time_ms);
        add(&mut totals.output_bytes, outcome.output_bytes);
        // Unknown, if it was moved out of a segment that is gone: its later record stands for it.
        let Some(entry) = self.entries.get_mut(&outcome.execution_id) else { return };
        let Stage::Live { records, .. } = &entry.stage else { return };
        let Some(accepted) = records.first().copied() else { return };
        let next = Stage::Ended { accepted, ended: place, acknowledged: false };
        for place in next.places() {
            *self.needed.entry(place.segment).or_default() += 1;
        }
        let former = core::mem::replace(&mut entry.stage, next);
        self.release(&former);
    }

    fn acknowledge(&mut self, id: ExecutionId) {
        if let Some(Entry { stage: Stage::Ended { acknowledged, .. }, .. }) = self.entries.get_mut(&id) {
            *acknowledged = true;
        }
    }

    fn count(&mut self, answered: &Answered) {
        let usage = match answered {
            Answered::Woke => return,
            Answered::Http { usage, .. } | Answered::NoAnswer { usage, .. } => usage,
        };
        let totals = &mut self.began.totals;
        add(&mut totals.http_calls, usage.sent);
        add(&mut totals.egress_bytes, usage.out);
        add(&mut totals.ingress_bytes, usage.in_);
    }

    fn drop_entry(&mut self, id: ExecutionId) {
        if let Some(entry) = self.entries.remove(&id) {
            self.release(&entry.stage);
        }
    }

    fn release(&mut self, stage: &Stage) {
        for place in stage.places() {
            if let Some(count) = self.needed.get_mut(&place.segment) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.needed.remove(&place.segment);
                }
            }
        }
    }

    /// The totals.
    pub(super) const fn totals(&self) -> Totals {
        self.began.totals
    }
}

impl Stage {
    pub(super) fn places(&self) -> impl Iterator<Item = &Place> {
        let (live, ended): (&[Place], [Option<&Place>; 2]) = match self {
            Self::Live { records, .. } => (records, [None, None]),
            Self::Ended { accepted, ended, .. } => (&[], [Some(accepted), Some(ended)]),
        };
        live.iter().chain(ended.into_iter().flatten())
    }
}

fn add(total: &mut u64, more: u64) {
    *total = total.saturating_add(more).min(TOTAL_MAX);
}
