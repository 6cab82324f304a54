//! The data plane's rooms together: gate, journal, runtime, and the process as a whole.

#[cfg(test)]
mod counters;
#[cfg(test)]
mod flow;
#[cfg(test)]
mod gate;
#[cfg(test)]
mod journal;
#[cfg(test)]
mod names;
#[cfg(test)]
mod process;
#[cfg(test)]
mod resume;
#[cfg(test)]
mod rig;
