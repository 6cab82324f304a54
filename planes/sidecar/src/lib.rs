//! The metering sidecar.
