//! A record, and a command line with a nonce.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dormir_harness::fuzz::records(bytes));
