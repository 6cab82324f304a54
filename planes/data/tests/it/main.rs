//! The data plane's rooms together: gate, journal, runtime, and the process as a whole.

mod counters;
mod flow;
mod gate;
mod journal;
mod process;
mod resume;
mod rig;
