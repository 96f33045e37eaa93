//! A guest's accesses to ports and to devices in memory.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dormir_harness::fuzz::bus(bytes));
