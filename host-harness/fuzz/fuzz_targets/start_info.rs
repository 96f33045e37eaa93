//! What a VMM tells a guest when it starts.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dormir_harness::fuzz::start_info(bytes));
