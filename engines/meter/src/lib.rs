//! Turns usage into heartbeats and heartbeats into usage.
//!
//! The sidecar's side: [`Accumulator`] keeps totals over restarts of the runtime, [`Chain`] swears to them one
//! heartbeat after the other, [`Spool`] decides what is sent and when. The control plane's side: [`judge`] lets
//! each heartbeat count once, [`reconcile`] compares what was sworn with what the control plane knows itself, and
//! [`KernelCheck`] with what the kernels of hosts counted.
//!
//! # How a heartbeat is delivered
//!
//! 1. The sidecar makes a heartbeat, signs it, and syncs one record that holds the payload, the next [`Chain`] and
//!    the [`AccumulatorState`]. Only then may a byte of it leave. So what was sent is never forgotten, and a
//!    counter never gets a second content.
//! 2. `spooled` is decided when it is made: it is false only if nothing waits before it and the last delivery
//!    went well ([`Spool::next_is_spooled`]). It never changes afterwards.
//! 3. The spool is sent oldest first until each heartbeat has an answer. Any answer settles it.
//! 4. An outage thus leaves at most one undelivered heartbeat that claims to be live. If it arrives more than two
//!    intervals after its time, it is refused as stale ([`TimeFault::Stale`]); but it takes its place in the chain
//!    ([`Verdict::Untimely`]), so the next one is neither a gap nor a fork. Nothing is lost by that: totals
//!    are cumulative, and the next heartbeat, which is spooled, carries them.
//! 5. A sidecar whose clock is behind by more than two intervals has each live heartbeat refused as stale; the
//!    one after it is spooled and counts. Usage goes on, and the clock's fault is seen.

mod accumulate;
mod chain;
mod counter_rule;
mod kernel;
mod reconcile;
mod spool;
mod tally;
mod units;

pub use accumulate::{Accumulator, AccumulatorState, PAST_EPOCHS_MAX, SampleFault};
pub use chain::{Chain, ChainError, Link, Made};
pub use counter_rule::{
    AGE_MAX_MS, AHEAD_MAX_MS, BeatRefusal, Oddity, SidecarState, TimeFault, Verdict, judge, live_ms,
};
pub use kernel::{Claims, KernelCheck, Mark, OVER_BYTES, OVER_CPU_US, Pace, SETTLE_MS, WINDOW_MS, explained};
pub use reconcile::{Anomaly, Bounds, Known, UNITS_ON_TRUST, reconcile};
pub use spool::{BATCH_MAX, ENTRIES_MAX, KEEP_MS, Spool, Waiting};
pub use tally::{KernelCounts, Taken, Tally};
