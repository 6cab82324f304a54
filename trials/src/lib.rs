//! Whole-system trials: the real binaries, started as a newcomer starts them, on loopback, driven from outside.

mod api_client;
mod python;
mod site;

pub use api_client::{Api, Denied};
pub use python::Python;
pub use site::{DataPlane, Options, Site, program, signal, wait_until};
