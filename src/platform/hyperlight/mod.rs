//! Hyperlight guests: tasks and timers inside a guest function.
//!
//! ```no_run
//! # use dormir_guest as _;
//! use core::time::Duration;
//! use dormir::{hyperlight, time::Timer};
//! use hyperlight_guest::error::HyperlightGuestError;
//!
//! dormir::task! {
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
//!             total += nap.expect("there is room").await.expect("nobody aborts it");
//!         }
//!         total
//!     })?;
//!     Ok(total)
//! }
//! ```
//!
//! The host registers two functions with the crate dormir-hyperlight-host: `dormir_entry`, which each call
//! asks for the mode and the time, and `dormir_wait`.
//!
//! # The two modes
//!
//! *Without `hw-interrupts`*, Hyperlight's default, an idle guest asks the host to wait until the next
//! deadline. It never halts and writes to no interrupt controller: either would end the call and poison the
//! sandbox. So the mode is the host's to say; a guest could not find it out.
//!
//! *With `hw-interrupts`*, an idle guest halts. A timer ticks at one fixed [period](set_tick_period), from
//! the call's first wait to its end, and after each tick the clock is looked at. So a sleep ends up to one
//! period late, and the call up to one period after that, since the host waits for the timer's thread. The
//! timer, the interrupt controllers, vector 0x20 and the second entry of the interrupt stack table are
//! dormir's in such a guest.
//!
//! # Restored snapshots
//!
//! The clock goes on from what it last showed, as if the guest had been suspended: of a sleep that was
//! pending, what was left is still left, on this host or on another.
//!
//! # Contexts
//!
//! Everything here is for guest functions and the tasks that they run, not for interrupt handlers.

mod clock;
#[cfg(all(target_arch = "x86_64", target_os = "none"))]
mod error;
#[cfg(all(target_arch = "x86_64", target_os = "none"))]
mod host;
mod reply;
#[cfg(all(target_arch = "x86_64", target_os = "none"))]
mod running;
#[cfg(all(target_arch = "x86_64", target_os = "none"))]
mod tasks;
#[cfg(all(target_arch = "x86_64", target_os = "none"))]
mod tick;

#[cfg(all(target_arch = "x86_64", target_os = "none"))]
pub use error::Error;
#[cfg(all(target_arch = "x86_64", target_os = "none"))]
pub use tasks::{Polled, block_on, poll_once, set_tick_period, spawn, tick_period, ticks};
