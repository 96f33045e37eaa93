//! An instruction that a guest is about to execute.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dormir_harness::fuzz::decode(bytes));
