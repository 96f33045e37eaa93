//! Hyperlight guests: tasks and timers inside a guest function.
//!
//! ```no_run
//! # use dormir_guest as _;
//! use core::time::Duration;
//! use dormir::{hyperlight, time::Timer};
//! use hyperlight_guest::error::HyperlightGuestError;
//!
//! dormir::tasks! {
//!     async fn nap(millis: u64) -> u64, pool = 10 {
//!         Timer::after(Duration::from_millis(millis)).await;
//!         millis
//!     }
//! }
//!
//! // With `#[guest_function]`.
//! fn naps() -> Result<u64, HyperlightGuestError> {
//!     let total = hyperlight::block_on(async {
//!         let naps = [30, 10, 20].map(|millis| hyperlight::spawn(nap(millis)));
//!         let mut total = 0;
//!         for nap in naps {
//!             total += nap.expect("there is room").await.expect("it is not aborted");
//!         }
//!         total
//!     })?;
//!     Ok(total)
//! }
//! ```
//!
//! The host registers one function, `dormir_wait`, with the crate dormir-hyperlight-host. A call of
//! a guest function that uses neither time nor host calls does not call it.
//!
//! # Host calls
//!
//! A plain host function stops all tasks while it runs. [`call`] does not: it calls an async
//! function of the host, and many such calls can be in flight. One exit from the guest hands over
//! what is queued, waits, and brings what is done. A [`streaming_call`] has an input and an output
//! that go in pieces. [`event`] waits for a signal from the host.
//!
//! # The two modes
//!
//! *Without `hw-interrupts`*, Hyperlight's default, an idle guest asks the host to wait until the
//! next deadline. It does not halt or write to an interrupt controller: either would end the call
//! and poison the sandbox. So the guest cannot find out the mode itself: the host tells it.
//!
//! *With `hw-interrupts`*, an idle guest that waits for timers alone halts. A timer ticks with a
//! fixed [period](set_tick_period), from the call's first wait to its end, and after each tick the
//! guest looks at the clock. So a sleep ends up to one period late, and the call up to one period
//! after that, since the host waits for the timer's thread. In such a guest dormir uses the timer,
//! the interrupt controllers, vector 0x20 and the second entry of the interrupt stack table.
//!
//! # Restored snapshots
//!
//! The clock continues from its last reading, as if the guest had been suspended: the rest of a
//! pending sleep still has to pass, on this host or on another. Host calls that were in flight end
//! as [`CallError::Lost`]; those that were only queued are sent.
//!
//! # Contexts
//!
//! Everything here is for guest functions and the tasks that they run, not for interrupt handlers.

mod clock;
#[cfg(all(target_arch = "x86_64", target_os = "none"))]
mod error;
#[cfg(all(target_arch = "x86_64", target_os = "none"))]
mod host;
#[cfg(all(target_arch = "x86_64", target_os = "none"))]
mod running;
#[cfg(all(target_arch = "x86_64", target_os = "none"))]
mod tasks;
#[cfg(all(target_arch = "x86_64", target_os = "none"))]
mod tick;

#[cfg(all(target_arch = "x86_64", target_os = "none"))]
pub use crate::host_calls::{
    CallError, CallInput, CallOutput, EventWait, HostCall, StreamingCall, call, event,
    set_result_budget, streaming_call,
};
#[cfg(all(target_arch = "x86_64", target_os = "none"))]
pub use error::Error;
#[cfg(all(target_arch = "x86_64", target_os = "none"))]
pub use tasks::{Polled, block_on, poll_once, set_tick_period, spawn, tick_period, ticks};
