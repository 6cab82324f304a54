//! What one evaluation may still spend: steps, the size of a value, nesting, native stack.
//!
//! The evaluator's value operators (`+`, `==`, collecting an array) carry no context, so the meter is a
//! thread-local that is set at the start of an evaluation and read at its end. Nothing of it survives an
//! evaluation, so evaluating stays a pure function of its arguments.

use std::cell::Cell;

/// The deepest value that an expression may build. JSON readers stop at 128 levels, and the envelopes around
/// a value take some of them.
pub(crate) const VALUE_DEPTH_MAX: u16 = 96;
/// How much native stack one evaluation may use before it is stopped, in bytes. Worker threads have 2 MiB.
const STACK_BYTES: usize = 512 * 1024;
/// How many bytes of work cost one step.
const BYTES_PER_STEP: u64 = 64;
/// What a call of a recursive function costs in steps: each may keep an iterator of some 400 bytes alive, which no
/// value's size shows.
pub(crate) const CALL_STEPS: u64 = 8;

/// What one evaluation may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Steps of evaluation; each costs well below a microsecond.
    pub ticks: u64,
    /// The size of the largest value that may exist, in bytes.
    pub memory_bytes: u64,
}

/// Which bound an evaluation ran into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trip {
    Steps,
    Memory,
    Nesting,
}

thread_local! {
    static ACTIVE: Cell<bool> = const { Cell::new(false) };
    static TICKS_LEFT: Cell<u64> = const { Cell::new(0) };
    static MEMORY_BYTES: Cell<u64> = const { Cell::new(0) };
    static STACK_BASE: Cell<usize> = const { Cell::new(0) };
    static TRIP: Cell<Option<Trip>> = const { Cell::new(None) };
}

/// Starts an evaluation with `budget`.
#[inline(never)]
pub(crate) fn start(budget: Budget) {
    TICKS_LEFT.set(budget.ticks);
    MEMORY_BYTES.set(budget.memory_bytes);
    STACK_BASE.set(stack_position());
    TRIP.set(None);
    ACTIVE.set(true);
}

/// Ends an evaluation: the ticks that are left, and the bound that was hit.
pub(crate) fn finish() -> (u64, Option<Trip>) {
    ACTIVE.set(false);
    (TICKS_LEFT.get(), TRIP.get())
}

/// Whether the evaluation was stopped; operators then do as little as they can.
pub(crate) fn tripped() -> bool {
    ACTIVE.get() && TRIP.get().is_some()
}

/// Stops the evaluation for `reason`. Values made outside of one are nobody's to stop.
fn trip(reason: Trip) -> bool {
    if !ACTIVE.get() {
        return true;
    }
    if TRIP.get().is_none() {
        TRIP.set(Some(reason));
        TICKS_LEFT.set(0);
    }
    false
}

/// Spends `steps`; false once the evaluation must stop.
pub(crate) fn spend(steps: u64) -> bool {
    if !ACTIVE.get() {
        return true;
    }
    if tripped() {
        return false;
    }
    match TICKS_LEFT.get().checked_sub(steps) {
        Some(left) => {
            TICKS_LEFT.set(left);
            true
        }
        None => trip(Trip::Steps),
    }
}

/// Spends the steps of reading or copying `bytes`; false once the evaluation must stop.
pub(crate) fn spend_bytes(bytes: u64) -> bool {
    spend(bytes / BYTES_PER_STEP)
}

/// Spends `steps` for a call and looks at the native stack; false once the evaluation must stop.
pub(crate) fn spend_call(steps: u64) -> bool {
    let used = STACK_BASE.get().abs_diff(stack_position());
    if used > STACK_BYTES {
        return trip(Trip::Nesting);
    }
    // Deep evaluations copy their surroundings at every step, so depth makes steps dearer.
    spend(steps.saturating_add(u64::try_from(used / 8192).unwrap_or(0)))
}

/// Checks a value that is about to exist; false once the evaluation must stop.
pub(crate) fn admit(weight: u64, depth: u16) -> bool {
    if !ACTIVE.get() {
        return true;
    }
    if weight > MEMORY_BYTES.get() {
        return trip(Trip::Memory);
    }
    if depth > VALUE_DEPTH_MAX {
        return trip(Trip::Nesting);
    }
    !tripped()
}

/// Notes that something nests deeper than allowed.
pub(crate) fn nested_too_deeply() {
    trip(Trip::Nesting);
}

/// Where the native stack is now: the address of a local, compared only with another such address.
#[inline(never)]
fn stack_position() -> usize {
    let here = 0_u8;
    std::ptr::from_ref(std::hint::black_box(&here)).addr()
}
