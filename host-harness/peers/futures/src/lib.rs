//! The tests of futures-rs, which `cargo vm peers` finds.
