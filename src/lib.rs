//! An async executor for x86-64 micro-VM guests: no operating system, no heap, no threads.
//!
//! A waker sets an atomic ready bit. When none is set the vCPU executes `hlt`, and there is no
//! moment between the last look and the `hlt` in which a wake could be lost. Timer futures are
//! driven by the PIT or the local APIC.
//!
//! ```
//! use core::time::Duration;
//! use dormir::{executor::{Executor, Shared, Up64}, time::Timer};
//!
//! // Two of these tasks can be there at a time, without a heap.
//! dormir::task! {
//!     async fn nap(length: Duration) -> Duration, pool = 2 {
//!         Timer::after(length).await;
//!         length
//!     }
//! }
//!
//! static EXECUTOR: Executor<Up64> = Executor::new(Shared);
//!
//! # // On the host a virtual clock stands in for the machine; a guest calls `platform::bare::init`.
//! # dormir::platform::host::init();
//! # let idle = dormir::platform::host::Skip;
//! # // In a guest: `let idle = dormir::idle::Halt;`
//! let mut runner = EXECUTOR.enter()?;
//! let long = runner.spawner().spawn(nap(Duration::from_secs(2)))?;
//! let short = runner.spawner().spawn(nap(Duration::from_secs(1)))?;
//! runner.run(idle);
//! assert!(long.is_finished() && short.is_finished());
//!
//! // For one future no executor is needed.
//! let naps = async { (long.await, short.await) };
//! assert_eq!(dormir::block_on(naps, idle).0, Ok(Duration::from_secs(2)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Where to find what
//!
//! Tasks, spawning and joining: [`executor`] and [`task!`]. Timers: [`time`]. Interrupt handlers
//! that tasks wait for: [`Event`]. What is done when nothing is ready: [`idle`]. The machine:
//! `platform::bare`. Joins, selects and streams are those of the crate `futures-util`.
//!
//! # The way of a wake
//!
//! The timer's interrupt enters through `interrupt_entry!` (`arch::x86_64::interrupt`) and comes to
//! the handler in `platform::bare`, which acknowledges it and calls [`TimerQueue::on_interrupt`]: a
//! flag is set. The loop in [`Runner::run`] (or [`block_on`]) sees the flag and calls
//! [`TimerQueue::turn`], which wakes the tasks whose deadlines have passed and writes the next
//! alarm. The loop polls what was woken, and when nothing is left to do it asks its [`Idle`] policy
//! to wait: `idle::Halt` takes a last look with interrupts masked and executes `sti; hlt`
//! (`arch::x86_64::halt`).
//!
//! [`Idle`]: idle::Idle
//! [`Runner::run`]: executor::Runner::run
//! [`TimerQueue::on_interrupt`]: time::TimerQueue::on_interrupt
//! [`TimerQueue::turn`]: time::TimerQueue::turn
//!
//! # Features
//!
//! | feature | default | what it adds |
//! | --- | --- | --- |
//! | `bare` | yes | `platform::bare`: interrupt table, PIC, PIT, local APIC, TSC clock, `hlt`. Only on `x86_64-unknown-none` |
//! | `hyperlight` | no | [`hyperlight`](platform): `block_on` in the guest functions of Hyperlight sandboxes. Only on `x86_64-unknown-none` and its like |
//! | `embedded-hal` | yes | `time::Delay`, a busy wait behind `embedded_hal::delay::DelayNs` |
//! | `embedded-hal-async` | no | `time::Delay`, a timer behind `embedded_hal_async::delay::DelayNs` |
//! | `embassy-time` | no | `time::embassy`: `embassy_time`'s timers run on the global queue |
//! | `alloc` | no | tasks on the heap: `Task::boxed`; room for more of `embassy_time`'s wakers |
//! | `metrics` | no | `Executor::metrics`: polls, wakes, waits, the longest poll |
//! | `trace` | no | `executor::trace`: hooks that are told what executors do |
//! | `critical-section-impl` | no | an implementation of `critical-section` that masks interrupts, for guests with one vCPU |
#![no_std]
// An example with `dormir_guest::entry!` is a guest, and runs in a VM.
#![doc(test(attr(cfg_attr(target_os = "none", no_std, no_main))))]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "alloc")]
extern crate alloc as std_alloc;
#[cfg(test)]
extern crate std;

#[cfg(all(test, not(loom)))]
mod alone;
#[cfg(all(
    target_arch = "x86_64",
    target_os = "none",
    any(
        feature = "bare",
        feature = "hyperlight",
        feature = "critical-section-impl"
    )
))]
pub mod arch;
pub mod event;
pub mod executor;
mod hook;
pub mod idle;
#[cfg(test)]
mod leak;
pub mod platform;
mod progress;
mod sync;
pub mod time;
mod vcpu;

pub use event::Event;
pub use executor::block_on::block_on;
#[cfg(all(target_arch = "x86_64", target_os = "none", feature = "hyperlight"))]
pub use platform::hyperlight;
