//! The host's side of [dormir](https://docs.rs/dormir) in Hyperlight sandboxes.
//!
//! A guest that runs async tasks with `dormir::hyperlight` calls two functions of its host:
//! `dormir_entry`, at the beginning of each call, returns the sandbox's mode and the time;
//! `dormir_wait` waits while no task is ready. A [`Host`] registers both.
//!
//! ```no_run
//! use dormir_hyperlight_host::Host;
//! use hyperlight_host::SandboxBuilder;
//!
//! let mut sandbox = SandboxBuilder::from_file("guest").build()?;
//! let host = Host::new();
//! host.register(&mut sandbox)?;
//!
//! // Ends a call from another thread, even while it waits.
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
//! With the feature `hw-interrupts`, which enables hyperlight-host's feature of this name, guests
//! halt between the ticks of a timer, and do not call `dormir_wait`. Without it, they wait in
//! `dormir_wait`. The feature applies to the whole program. [`Host::with_mode`] can still make a
//! guest wait in `dormir_wait`.
//!
//! # Snapshots
//!
//! Snapshots need no extra code. At each entry the guest passes the stamp that it got at the last
//! one, so the host detects a restored snapshot, and the guest's clock continues from its last
//! value: the same time remains of a sleep. A sandbox that is built from a snapshot needs a `Host`
//! of its own.

#[cfg(not(target_arch = "x86_64"))]
compile_error!("dormir's guests run on x86-64 only: build dormir-hyperlight-host for that alone");

mod error;
mod host;
mod reply;
mod state;
mod tsc;

pub use error::{NoInterruptsError, RegisterError};
pub use host::{Canceller, Host, Mode};
