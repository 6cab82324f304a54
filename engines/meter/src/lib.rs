//! Turns usage into heartbeats and heartbeats into usage.
