//! Frames that a guest sends, and those that come from its network.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dormir_harness::fuzz::frames(bytes));
