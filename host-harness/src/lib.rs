//! Runs `dormir` guests under KVM, under QEMU and in Hyperlight sandboxes, for tests, demos and
//! benchmarks.

pub mod browser;
pub mod cli;
mod doctor;
pub mod escape;
#[doc(hidden)]
pub mod fuzz;
pub mod guest;
pub mod guest_tests;
mod host_cargo;
pub mod hyperlight;
pub mod packages;
mod process;
pub mod setup;
mod stop;
pub mod toolchain;
pub mod vmm;
pub mod workspace;

pub use process::ProcessError;
