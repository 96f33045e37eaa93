//! QEMU's monitor, or a file of figures.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    dormir_harness::fuzz::json(bytes);
    dormir_measure::fuzz(bytes);
});
