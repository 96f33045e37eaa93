//! Embassy's crates on dormir's executor: the tests are in `tests/embassy/`.
#![no_std]
