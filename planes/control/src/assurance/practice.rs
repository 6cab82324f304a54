//! OPS-2 and OPS-3: secrets where they must not be, and bad input over the API.

mod input;
mod secrets;

pub(in crate::assurance) use input::ops_3;
pub(in crate::assurance) use secrets::ops_2;
