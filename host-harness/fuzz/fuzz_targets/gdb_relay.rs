//! A debugger of a guest under QEMU.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dormir_harness::fuzz::gdb_relay(bytes));
