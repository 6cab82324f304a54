//! Whole-system trials on loopback.
