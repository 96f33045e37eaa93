//! What only a machine can show: the tests are in `tests/cases/`.
#![no_std]
