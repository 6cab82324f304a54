//! A host's agent: data planes and sidecars as processes.
