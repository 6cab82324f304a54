//! Explores `fuzz::signing_request`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::signing_request(bytes));
