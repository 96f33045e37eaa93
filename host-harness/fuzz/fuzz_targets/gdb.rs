//! A debugger of a guest under our own VMM.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dormir_harness::fuzz::gdb(bytes));
