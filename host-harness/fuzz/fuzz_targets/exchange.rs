//! What a Hyperlight guest and its host tell each other.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dormir_harness::fuzz::exchange(bytes));
