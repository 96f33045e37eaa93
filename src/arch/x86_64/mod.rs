//! x86-64: interrupt entries, interrupt controllers, timers, and the halt.
//!
//! Manual references are to the Intel 64 and IA-32 Architectures Software Developer's Manual (SDM), in
//! the numbering in which volume 3 treats interrupts in chapter 7 and the APIC in chapter 12 (older
//! editions: 6 and 10); to the 8254 and 8259A data sheets, and KVM's documentation of its CPUID leaves and MSRs.

pub mod alarm;
pub mod apic;
pub mod cpuid;
#[cfg(feature = "critical-section-impl")]
mod critical;
pub mod exceptions;
pub mod halt;
pub mod idt;
pub mod interrupt;
pub mod pic;
pub mod pit;
pub mod pvclock;
pub mod segments;
pub mod tsc;
pub mod vector;
