//! Drafts plans on the control side and admits each one once on the data side.
//!
//! ```text
//! control plane                              data plane
//! draft -> (notary signs) -> delivery ---->  (notary verifies) -> admission -> journal, run
//!                               ^------------------ accepted, refused, asked --'
//! ```
//! Neither side relies on the other to run an execution at most once: admission is keyed by the execution,
//! and delivery re-issues a plan only when the last one can run no more.

mod admit;
mod delivery;
mod draft;

pub use admit::{Admission, Admitted, Refusal, Ticket};
pub use delivery::{
    Accepted, Answer, Cancel, Delivery, End, Event, GiveUp, Misplaced, Next, Policy, Sent, Stage, Verdict,
};
pub use draft::{Draft, claims, write};

/// How far apart the clocks of two planes may be, in milliseconds. Synchronised hosts stay far below it.
pub const SKEW_MS: i64 = 5_000;
