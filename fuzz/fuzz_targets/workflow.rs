//! Explores `fuzz::workflow`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::workflow(bytes));
