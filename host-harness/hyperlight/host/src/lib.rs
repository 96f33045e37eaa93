//! The host's side of [dormir](https://docs.rs/dormir): in Hyperlight sandboxes, and at the other
//! end of a connection to any other guest.
//!
//! A guest that runs async tasks with `dormir::hyperlight` calls one function of its host,
//! `dormir_wait`: for the time, and whenever no task is ready. It hands over the guest's calls of
//! async functions, waits, and returns what is done. A [`Host`] registers it.
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
//! # Async functions
//!
//! A plain host function stops the guest while it runs, with all its tasks. An [async
//! function](Host::async_function) does not: the guest's task awaits
//! `dormir::hyperlight::call(name, argument)`, other tasks go on, and many calls can be in flight.
//! A [`Runtime`] runs the functions: [`Threads`], unless another one is set.
//!
//! ```
//! use std::{convert::Infallible, thread, time::Duration};
//! use dormir_hyperlight_host::{Host, Limits};
//!
//! let host = Host::new()
//!     .with_limits(Limits::new().with_calls(100))
//!     .async_function("slow_echo", |bytes| async move {
//!         thread::sleep(Duration::from_millis(50));
//!         Ok::<_, Infallible>(bytes)
//!     });
//! let signaller = host.signaller();
//! thread::spawn(move || signaller.signal(3));
//! ```
//!
//! A [function with streams](Host::streaming_function) has an [`Input`] and an [`Output`] that go
//! in pieces.
//!
//! The guest is not trusted: [`Limits`] bounds what its calls hold here, whatever it sends.
//!
//! # Connections
//!
//! A guest of another VMM calls the same functions over a connection, such as a port of a virtio
//! console that is a Unix socket on the host: [`Host::serve`]. Without its default features this
//! crate does that alone, and does not depend on hyperlight-host.
//!
//! # Modes
//!
//! With the feature `hw-interrupts`, which enables hyperlight-host's feature of this name, guests
//! halt between the ticks of a timer while they wait for timers alone. Without it, and while calls
//! are in flight or events are awaited, they wait in `dormir_wait`. The feature applies to the
//! whole program. [`Host::with_mode`] can still make a guest wait in `dormir_wait`.
//!
//! # Snapshots
//!
//! Snapshots need no extra code. The guest numbers what it sends, so the host detects a restored
//! snapshot: it ends the calls that were in flight, which the guest sees as `Lost`, and the guest's
//! clock continues from its last value: the same time remains of a sleep. A sandbox that is built
//! from a snapshot needs a `Host` of its own.

#[cfg(not(target_arch = "x86_64"))]
compile_error!("dormir's guests run on x86-64 only: build dormir-hyperlight-host for that alone");

mod call_streams;
mod connection;
#[cfg(feature = "hyperlight")]
mod drive;
#[cfg(feature = "hyperlight")]
mod error;
mod exchange;
mod functions;
mod host;
mod inbox;
mod limits;
mod runtime;
#[cfg(feature = "hyperlight")]
mod sandbox;
mod stall;
mod state;
mod streaming;
mod streams;
mod table;
mod task;
mod threads;
#[cfg(feature = "hyperlight")]
mod timer;
mod tsc;
#[cfg(feature = "typed")]
mod typed;
mod waiting;

pub use connection::{Connection, ServeError};
#[cfg(feature = "hyperlight")]
pub use error::{NoInterruptsError, RegisterError};
pub use host::{Host, Signaller};
pub use limits::{Limits, Usage};
pub use runtime::{HostTask, Runtime};
#[cfg(feature = "hyperlight")]
pub use sandbox::{Canceller, Mode};
pub use streams::{CallEndedError, Input, Output};
pub use threads::Threads;
#[cfg(feature = "typed")]
pub use typed::{DeclarationError, TypedFunction};
