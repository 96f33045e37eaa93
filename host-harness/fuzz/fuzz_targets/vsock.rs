//! The sockets of our own VMM, and what a guest and programs of the host do with them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dormir_harness::fuzz::vsock(bytes));
