//! Explores `fuzz::plan_token`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::plan_token(bytes));
