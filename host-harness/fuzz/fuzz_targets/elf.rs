//! The reader of guests' ELF files.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| dormir_harness::fuzz::elf(bytes));
