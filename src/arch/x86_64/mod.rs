//! x86-64: interrupt entries, interrupt controllers, timers, and the halt.
//!
//! [`platform::bare`](crate::platform::bare) sets all of this up. A guest needs this module for its
//! own interrupt handlers ([`interrupt`], [`vector`], [`pic`]), and to set the machine up by
//! itself.
//!
//! Manual references are to the Intel 64 and IA-32 Architectures Software Developer's Manual (SDM).
//! They use the numbering in which volume 3 treats interrupts in chapter 7 and the APIC in chapter
//! 12 (6 and 10 in older editions). Others are to the 8254 and 8259A data sheets, and to KVM's
//! documentation of its CPUID leaves and MSRs.

#[cfg(feature = "bare")]
pub mod alarm;
#[cfg(feature = "bare")]
pub mod apic;
#[cfg(feature = "bare")]
pub(crate) mod cpuid;
#[cfg(feature = "critical-section-impl")]
mod critical;
#[cfg(feature = "bare")]
pub mod exceptions;
#[cfg(any(feature = "bare", feature = "hyperlight"))]
pub mod halt;
#[cfg(feature = "bare")]
pub(crate) mod idt;
#[cfg(feature = "bare")]
pub mod interrupt;
#[cfg(any(feature = "bare", feature = "hyperlight"))]
pub mod pic;
#[cfg(feature = "bare")]
pub mod pit;
#[cfg(feature = "bare")]
pub(crate) mod segments;
#[cfg(feature = "bare")]
pub mod tsc;
#[cfg(any(feature = "bare", feature = "hyperlight"))]
pub mod vector;
