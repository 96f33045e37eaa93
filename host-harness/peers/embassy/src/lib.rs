//! The tests of embassy-executor, which `cargo vm peers` finds.
