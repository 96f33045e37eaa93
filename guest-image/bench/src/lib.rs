//! What the programs that count have in common: the stopwatch, and how figures are reported.
//!
//! They run under QEMU's `-icount shift=0,sleep=off`, where the TSC counts the guest's instructions.
#![no_std]

extern crate alloc;

pub mod figures;
pub mod random;
pub mod stopwatch;
