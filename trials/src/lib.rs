//! Whole-system trials: the real binaries, started as a newcomer starts them, on loopback, driven from outside.

mod alone;
mod api_client;
mod clock;
mod guard;
mod machine;
mod preload;
mod processes;
mod python;
mod raw;
mod site;
mod talk;

pub use alone::alone;
pub use api_client::{Api, Denied};
pub use machine::{Internet, Machine};
pub use processes::{Process, running_in, signal, wait_until};
pub use python::Python;
pub use raw::{Answer, Raw};
pub use site::{DataPlane, Options, READY, Site, program};
pub use talk::{echoes, flow};

/// Whether the slow trials are wanted, which `./check --full` runs. Says loudly that `what` was skipped if not.
#[must_use]
pub fn is_full(what: &str) -> bool {
    let full = std::env::var_os("PALISADE_TEST_FULL").is_some();
    if !full {
        skipped(what, "PALISADE_TEST_FULL is not set");
    }
    full
}

/// Says loudly that a trial, or a part of one, did not run: past the capture of the test harness.
pub fn skipped(what: &str, why: &str) {
    use std::io::Write as _;
    let _nobody_listens = writeln!(std::io::stderr().lock(), "\nSKIPPED: {what}: {why}");
}
