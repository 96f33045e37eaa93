//! Launches `dormir` guests under KVM and QEMU, for tests, demos and benchmarks.

pub mod cli;
mod doctor;
pub mod guest;
mod process;
pub mod setup;
mod stop;
pub mod toolchain;
pub mod vmm;
pub mod workspace;

pub use process::ProcessError;
