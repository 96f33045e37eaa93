//! A guest that calls async functions of its host over a connection.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dormir_harness::fuzz::host_calls(bytes));
