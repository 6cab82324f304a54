//! This machine: configuration, clock, entropy, logs, signals, files, processes.
