//! The README and the pages of `docs`: each Rust block there is a guest, and `cargo vm test` boots
//! it, as it does the library's own examples that need a machine.

#[doc = include_str!("../README.md")]
struct Readme;

#[doc = include_str!("../docs/guests.md")]
struct Guests;

#[doc = include_str!("../docs/debugging.md")]
struct Debugging;
