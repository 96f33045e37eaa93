//! The host's side of [dormir](https://docs.rs/dormir) in Hyperlight sandboxes.
//!
//! A guest that runs async tasks with `dormir::hyperlight` calls two functions of its host: `dormir_entry`
//! says at the beginning of each call in which mode the sandbox is, and what time it is; `dormir_wait` waits
//! while no task is ready. A [`Host`] registers both.
//!
//! ```no_run
//! use dormir_hyperlight_host::Host;
//! use hyperlight_host::SandboxBuilder;
//!
//! let mut sandbox = SandboxBuilder::from_file("guest").build()?;
//! let host = Host::new();
//! host.register(&mut sandbox)?;
//!
//! // Ends a call from another thread, also while it waits.
//! let canceller = host.canceller(&sandbox);
//! std::thread::spawn(move || {
//!     std::thread::sleep(std::time::Duration::from_secs(5));
//!     canceller.cancel();
//! });
//! let answer: i32 = sandbox.call("answer", ())?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Modes
//!
//! With the feature `hw-interrupts`, which is also hyperlight-host's, guests halt between the ticks of a
//! timer, and `dormir_wait` is not called. Without, they wait in `dormir_wait`. The feature is for the whole
//! program. [`Host::with_mode`] has a guest wait in `dormir_wait` all the same.
//!
//! # Snapshots
//!
//! Nothing is to be done. The guest says at each entry what it was told at the last one, so a restored
//! snapshot is noticed, and the guest's clock goes on from what it last showed: what was left of a sleep is
//! still left. A sandbox that is made from a snapshot has a `Host` of its own.

#[cfg(not(target_arch = "x86_64"))]
compile_error!("dormir's guests are for x86-64: leave dormir-hyperlight-host out elsewhere");

mod error;
mod host;
mod reply;
mod state;
mod tsc;

pub use error::{NoInterrupts, RegisterError};
pub use host::{Canceller, Host, Mode};
