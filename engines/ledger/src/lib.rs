//! The tamper-evident log: append, checkpoint, prove.
