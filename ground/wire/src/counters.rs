//! What the runtime tells its sidecar over the Unix socket: one JSON line per request.

use crate::heartbeat::Totals;
use crate::json::{self, Bounds, JsonError};
use serde::{Deserialize, Serialize};

/// Bounds of one line.
pub const BOUNDS: Bounds = Bounds { bytes: 4 * 1024, depth: 3, nodes: 32 };

/// The request: one byte and a newline, so that a stray connection gets nothing.
pub const REQUEST: &[u8] = b"?\n";

/// The runtime's counters since `epoch` began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// The runtime's counter epoch: new when its journal, and so its counters, began anew.
    pub epoch: u64,
    /// Counters since then; they survive restarts of the runtime with its journal.
    pub totals: Totals,
}

impl Sample {
    /// Reads one line.
    ///
    /// # Errors
    /// [`JsonError`] for anything but a sample.
    pub fn read(line: &[u8]) -> Result<Self, JsonError> {
        json::read(line, &BOUNDS)
    }
}
