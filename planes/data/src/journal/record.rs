//! What the journal records, and its bytes.
//!
//! ```text
//! head length 4 | head (JSON) | body (raw: a plan, an answer's body, an output)
//! ```

use bytes::Bytes;
use plan::Ticket;
use serde::{Deserialize, Serialize};
use terms::{Digest, ExecutionId, PlanId, Timestamp};
use wire::heartbeat::Totals;
use wire::outcome::Outcome;

/// One record.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// What it says.
    pub head: Head,
    /// What goes with it, as raw bytes.
    pub body: Bytes,
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Head {
    /// Begins each segment: what all segments before it add up to.
    Began(Began),
    /// A plan was let through; the body is the plan.
    Accepted(Accepted),
    /// An effect outside is about to be had.
    Intent(Step),
    /// An effect came to its end; the body is what came of it.
    Done(Step, Answered),
    /// An execution waits until a point in time.
    Waiting(Step, Timestamp),
    /// An execution shall be stopped.
    Cancelled(ExecutionId),
    /// An execution went on after a restart.
    Resumed(ExecutionId),
    /// An execution ended; the body is its output.
    Ended(Ended),
    /// The control plane has these outcomes.
    Acknowledged(Vec<ExecutionId>),
    /// An execution that ended, moved out of an old segment without its plan, and whether its outcome was
    /// acknowledged; the body is its output.
    Kept(Accepted, Ended, bool),
    /// A record of an execution that runs, moved out of an old segment. It counts once [`Head::MoveEnded`] is
    /// there too: a move that a crash cut short never was.
    Moved(Box<Head>),
    /// All records of a running execution were moved.
    MoveEnded(ExecutionId),
    /// Processor time of this and all earlier runs of the process, in microseconds.
    Processor(u64),
    /// Segments before this one are no longer needed.
    Trimmed(u64),
}

/// The state at the beginning of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Began {
    /// When the journal began.
    pub at: Timestamp,
    /// Plans issued before this are refused: another journal may have let them through.
    pub issued_from: Timestamp,
    /// The counters' epoch.
    pub epoch: u64,
    /// What all executions so far have used.
    pub totals: Totals,
    /// The oldest segment that is needed.
    pub oldest: u64,
}

/// A plan that was let through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accepted {
    /// The token's `iss`.
    pub issuer: String,
    /// The token's `jti`.
    pub plan_id: PlanId,
    /// The execution.
    pub execution_id: ExecutionId,
    /// The plan's hash.
    pub plan_hash: Digest,
    /// The token's `iat`.
    pub issued_at: Timestamp,
    /// The token's `exp`.
    pub expires_at: Timestamp,
    /// When it was let through: the execution's own start.
    pub at: Timestamp,
}

/// One step of an execution towards the outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The execution.
    pub execution_id: ExecutionId,
    /// Which of its effects, from 1.
    pub number: u64,
    /// When.
    pub at: Timestamp,
}

/// What came of an effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Answered {
    /// A wait is over.
    Woke,
    /// An HTTP answer; its body is the record's.
    Http {
        /// The status.
        status: u16,
        /// The headers, names in lowercase.
        headers: Vec<(String, String)>,
        /// What the call used.
        usage: CallUsage,
    },
    /// There is no HTTP answer.
    NoAnswer {
        /// Why: a stable code.
        why: crate::egress::Failure,
        /// What the call used.
        usage: CallUsage,
    },
}

/// What one call used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallUsage {
    /// Calls that were sent: 0 when none left this host.
    pub sent: u64,
    /// Bytes sent.
    pub out: u64,
    /// Bytes received.
    pub in_: u64,
}

/// How an execution ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ended {
    /// The outcome, as the control plane gets it.
    pub outcome: Outcome,
}

/// Says that a record's bytes cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("a journal record cannot be read: {0}")]
pub struct RecordError(String);

impl Record {
    /// A record without a body.
    #[must_use]
    pub const fn new(head: Head) -> Self {
        Self { head, body: Bytes::new() }
    }

    /// The record's bytes, to be sealed.
    ///
    /// # Errors
    /// Only if the head cannot be written as JSON.
    pub fn encode(&self) -> Result<Vec<u8>, RecordError> {
        let head = serde_json::to_vec(&self.head).map_err(|error| RecordError(error.to_string()))?;
        let length = u32::try_from(head.len()).map_err(|error| RecordError(error.to_string()))?;
        let mut out = Vec::with_capacity(4 + head.len() + self.body.len());
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&head);
        out.extend_from_slice(&self.body);
        Ok(out)
    }

    /// Reads a record from bytes that were opened.
    ///
    /// # Errors
    /// [`RecordError`] when they are of another release, or no record.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let (head, body) = split(bytes).ok_or_else(|| RecordError("it is cut short".to_owned()))?;
        let head = serde_json::from_slice(head).map_err(|error| RecordError(error.to_string()))?;
        Ok(Self { head, body: Bytes::copy_from_slice(body) })
    }

    /// Reads a record's head alone.
    ///
    /// # Errors
    /// As [`Record::decode`].
    pub fn decode_head(bytes: &[u8]) -> Result<Head, RecordError> {
        let (head, _) = split(bytes).ok_or_else(|| RecordError("it is cut short".to_owned()))?;
        serde_json::from_slice(head).map_err(|error| RecordError(error.to_string()))
    }
}

impl Head {
    /// The execution whose run the record belongs to, if it is part of one.
    #[must_use]
    pub fn run(&self) -> Option<ExecutionId> {
        match self {
            Self::Accepted(accepted) => Some(accepted.execution_id),
            Self::Intent(step) | Self::Done(step, _) | Self::Waiting(step, _) => Some(step.execution_id),
            Self::Cancelled(id) | Self::Resumed(id) => Some(*id),
            Self::Moved(head) => head.run(),
            Self::Began(_)
            | Self::Ended(_)
            | Self::Acknowledged(_)
            | Self::Kept(..)
            | Self::MoveEnded(_)
            | Self::Processor(_)
            | Self::Trimmed(_) => None,
        }
    }
}

impl Accepted {
    /// What admission remembers of it.
    #[must_use]
    pub fn ticket(&self) -> Ticket {
        Ticket {
            issuer: self.issuer.clone(),
            plan_id: self.plan_id,
            execution_id: self.execution_id,
            plan_hash: self.plan_hash,
            issued_at: self.issued_at,
            expires_at: self.expires_at,
        }
    }

    /// Records a ticket that was let through.
    #[must_use]
    pub fn new(ticket: Ticket, at: Timestamp) -> Self {
        let Ticket { issuer, plan_id, execution_id, plan_hash, issued_at, expires_at } = ticket;
        Self { issuer, plan_id, execution_id, plan_hash, issued_at, expires_at, at }
    }
}

fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_from_its_bytes() {
        let head = Head::Cancelled(ExecutionId::from_bytes([7; 16]));
        let record = Record { head: head.clone(), body: Bytes::from_static(b"{\"raw\":1}") };
        let bytes = record.encode().unwrap();
        assert_eq!(Record::decode(&bytes).unwrap(), record);
        assert_eq!(Record::decode_head(&bytes).unwrap(), head);
    }

    #[test]
    fn bytes_that_are_no_record_are_refused() {
        for bad in
            [b"".as_slice(), b"\x01", b"\xff\xff\xff\xff{}", b"\x02\x00\x00\x00{}", b"\x00\x00\x00\x00"]
        {
            assert!(Record::decode(bad).is_err(), "{bad:?}");
        }
    }
}
