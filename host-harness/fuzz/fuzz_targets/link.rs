//! A host that answers a guest's calls over a connection.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dormir_harness::fuzz::link(bytes));
