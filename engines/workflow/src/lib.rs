//! The workflow language: parse, check, step.
