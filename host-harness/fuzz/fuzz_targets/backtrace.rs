//! The reader of debug information.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| dormir_harness::fuzz::backtrace(bytes));
