//! Runs `dormir` guests under KVM, under QEMU and in Hyperlight sandboxes, for tests, demos and
//! benchmarks.
//!
//! A host's test can run a guest and look at what it did. [`vmm::run`] takes the guest's ELF file:
//! here that of this project's program `sends`, else the one that `cargo build` makes in the
//! guest's folder.
//!
//! ```
//! use std::{error::Error, path::Path};
//!
//! use dormir_harness::vmm::{self, RunConfig, Vmm};
//! # use dormir_harness::{guest, toolchain::GuestToolchain, vmm::StopToken, workspace::Workspace};
//!
//! // With `#[test]`:
//! fn the_guest_sends_squares() -> Result<(), Box<dyn Error>> {
//!     # let workspace = Workspace::locate()?;
//!     # let toolchain = GuestToolchain::detect(&workspace)?;
//!     # let images = guest::build(&toolchain, &workspace, &["sends"], &StopToken::default())?;
//!     # let elf = images.get("sends")?;
//!     # /*
//!     let elf = Path::new("guest/target/x86_64-unknown-none/release/guest");
//!     # */
//!     let config = RunConfig {
//!         arguments: "last=2".into(),
//!         ..RunConfig::new(Vmm::Kvm)
//!     };
//!     let mut console = Vec::new();
//!     let report = vmm::run(elf, &config, &mut console)?;
//!
//!     assert!(report.outcome.is_success(), "{}", report.outcome);
//!     assert_eq!(console, b"sent\n");
//!     // What the guest passed to `dormir_guest::send`.
//!     assert_eq!(report.sent("squares.csv"), Some(&b"1,1\n2,4\n"[..]));
//!     Ok(())
//! }
//! # the_guest_sends_squares().unwrap();
//! ```
//!
//! The [`RunConfig`](vmm::RunConfig) limits time, memory and output; a guest that panics, faults or
//! hangs is reported by its [`Outcome`](vmm::Outcome). To ignore machines without `/dev/kvm`, ask
//! [`vmm::kvm::probe`] first.

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
#[doc(hidden)]
pub mod process;
pub mod setup;
pub mod soak;
mod stop;
pub mod toolchain;
pub mod vmm;
pub mod workspace;

pub use process::ProcessError;
