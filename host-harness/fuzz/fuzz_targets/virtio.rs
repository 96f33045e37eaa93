//! A virtio device of our own VMM, and what a guest does with it.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dormir_harness::fuzz::virtio(bytes));
