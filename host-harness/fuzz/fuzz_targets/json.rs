//! A file of figures, or QEMU's monitor.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dormir_harness::fuzz::json(bytes));
