//! Code that the sweeps share: the interrupt that is aimed at an instruction, and the timers that
//! send it.
//!
//! They run under QEMU's `-icount shift=0,sleep=off`, where the TSC and the local APIC's timer
//! advance by one per instruction. So a timer that starts with a count of K interrupts K
//! instructions later.
#![no_std]

pub mod hit;
pub mod machine;
