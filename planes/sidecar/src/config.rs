//! What a sidecar is told by its configuration file.

use serde::Deserialize;
use std::net::SocketAddr;
use std::path::PathBuf;
use terms::TenantId;

/// The bounds of [`MeterConfig::interval_ms`]: from what tests need to what a bill can bear to lose sight of.
const INTERVAL_BOUNDS_MS: core::ops::RangeInclusive<u64> = 100..=3_600_000;

/// A sidecar's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeterConfig {
    /// The sidecar's own folder (0700).
    pub state_dir: PathBuf,
    /// The tenant that it meters.
    pub tenant: TenantId,
    /// Where the control plane is.
    pub control_plane_url: String,
    /// Where the control plane is reached, if its URL's host is not to be resolved.
    #[serde(default)]
    pub control_plane_addr: Option<SocketAddr>,
    /// The roots that the control plane's certificate comes from.
    pub control_plane_ca_file: PathBuf,
    /// The one-time token's file.
    pub enrol_token_file: PathBuf,
    /// The Unix socket on which the data plane tells its counters.
    pub metering_socket: PathBuf,
    /// The user that the data plane runs as; nobody else is believed.
    pub data_plane_uid: u32,
    /// Milliseconds between heartbeats.
    #[serde(default = "interval_ms")]
    pub interval_ms: u64,
}

/// Says why a configuration cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`interval_ms` must be from {min} to {max}", min = INTERVAL_BOUNDS_MS.start(), max = INTERVAL_BOUNDS_MS.end())]
pub struct IntervalOutOfBounds;

impl MeterConfig {
    /// Checks what the types do not.
    ///
    /// # Errors
    /// When the interval is out of bounds.
    pub fn check(&self) -> Result<(), IntervalOutOfBounds> {
        if INTERVAL_BOUNDS_MS.contains(&self.interval_ms) { Ok(()) } else { Err(IntervalOutOfBounds) }
    }
}

const fn interval_ms() -> u64 {
    wire::heartbeat::INTERVAL_MS
}
