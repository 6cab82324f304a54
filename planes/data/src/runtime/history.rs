//! What an execution did before: replayed step by step, so that it goes on where it stopped.

use crate::journal::record::{Accepted, Answered, Head, Record};
use bytes::Bytes;
use std::collections::BTreeMap;
use terms::Timestamp;
use workflow::{HttpFailure, HttpReply, Reply};

/// An execution's records, in the order that the run needs them.
#[derive(Debug)]
pub(super) struct History {
    pub(super) accepted: Accepted,
    pub(super) plan: Bytes,
    steps: BTreeMap<u64, Past>,
    pub(super) resumes: u32,
    pub(super) cancelled: bool,
}

/// What is known of one step.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Past {
    /// A call was about to be made; whether it was is not known.
    Intended,
    /// A wait until then.
    Waiting(Timestamp),
    /// It came to its end.
    Done {
        /// When.
        at: Timestamp,
        /// What came of it.
        answered: Answered,
        /// The answer's body.
        body: Bytes,
    },
}

impl History {
    /// The history of an execution that was let through just now.
    pub(super) const fn begin(accepted: Accepted, plan: Bytes) -> Self {
        Self { accepted, plan, steps: BTreeMap::new(), resumes: 0, cancelled: false }
    }

    /// Reads an execution's records; none if they do not begin with its acceptance.
    pub(super) fn read(records: Vec<Record>) -> Option<Self> {
        let mut records = records.into_iter();
        let Record { head: Head::Accepted(accepted), body } = records.next()? else { return None };
        let mut history = Self::begin(accepted, body);
        for Record { head, body } in records {
            match head {
                Head::Intent(step) => {
                    history.steps.insert(step.number, Past::Intended);
                }
                Head::Waiting(step, until) => {
                    history.steps.insert(step.number, Past::Waiting(until));
                }
                Head::Done(step, answered) => {
                    history.steps.insert(step.number, Past::Done { at: step.at, answered, body });
                }
                Head::Resumed(_) => history.resumes = history.resumes.saturating_add(1),
                Head::Cancelled(_) => history.cancelled = true,
                Head::Began(_)
                | Head::Accepted(_)
                | Head::Ended(_)
                | Head::Acknowledged(_)
                | Head::Kept(..)
                | Head::Moved(_)
                | Head::MoveEnded(_)
                | Head::Processor(_)
                | Head::Trimmed(_) => return None,
            }
        }
        Some(history)
    }

    /// Takes what is known of step `number` out.
    pub(super) fn take(&mut self, number: u64) -> Option<Past> {
        self.steps.remove(&number)
    }
}

/// The reply that the machine gets for what came of a step.
pub(super) fn reply(answered: &Answered, body: &[u8]) -> Reply {
    match answered {
        Answered::Woke => Reply::Waited,
        Answered::Http { status, headers, .. } => {
            Reply::Http(Ok(HttpReply { status: *status, headers: headers.clone(), body: body.to_vec() }))
        }
        Answered::NoAnswer { why, .. } => Reply::Http(Err(HttpFailure { code: why.as_str() })),
    }
}
