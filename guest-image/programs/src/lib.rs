//! What the sweeps have in common: the interrupt that is aimed at an instruction, and the machine that
//! sends it.
//!
//! They run under QEMU's `-icount shift=0,sleep=off`, where the TSC and the local APIC's timer count one
//! for each instruction. So a timer that is started with a count of K interrupts K instructions later.
#![no_std]

pub mod hit;
pub mod machine;
