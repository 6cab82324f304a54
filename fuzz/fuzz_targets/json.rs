//! Explores `fuzz::strict_json`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::strict_json(bytes));
