//! Controls and their evidence: what passes, what fails, what was not run.
//!
//! The [`Catalogue`] holds every control by its stable id. A probe looks at the running system and hands in an
//! [`Observation`]; [`judge`] alone decides what it means, so that every verdict can be repeated from the facts.
//! Only [`CheckOutcome::Pass`] is green: what was not looked at, not enforced or not built never is.

mod catalogue;
mod evidence;
mod judge;
mod observation;
mod outcome;

pub use catalogue::{Catalogue, Control, ControlId, Group, Release, UnknownControl};
pub use evidence::{Evidence, Finding};
pub use judge::{
    COUNTER_ROWS, INPUT_ROWS, PLAN_ROWS, REPLAY_ROWS, RequiredRow, SUITES, WATCH_ROWS, WINDOW_ROWS, judge,
};
pub use observation::{
    CertificateWatch, Counting, Database, DatabaseFile, DatabaseServer, DriftWatch, HeartbeatSignature,
    Inputs, Listener, Networks, Observation, PlanKeys, PlanToken, ProbedHost, Probes, Replay, Row,
    SecretSearch, Seen, SidecarKey, WatchedCertificate, WatchedHost,
};
pub use outcome::{CheckOutcome, Summary, UnknownOutcome};
