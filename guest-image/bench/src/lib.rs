//! Code that the benchmarks share.
//!
//! The programs that count run under QEMU's `-icount shift=0,sleep=off`, where the TSC counts the
//! guest's instructions.
#![no_std]

extern crate alloc;

pub mod alarm;
pub mod embassy_driver;
pub mod figures;
pub mod gates;
pub mod random;
pub mod stopwatch;
