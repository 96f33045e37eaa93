//! The process of a VM, into which its guest has broken out.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dormir_harness::fuzz::worker(bytes));
