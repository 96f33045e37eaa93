//! An async executor for x86-64 micro-VM guests: no operating system, no heap, no threads.
//!
//! A waker sets an atomic ready bit. When no bit is set, the vCPU executes `hlt`, and no wake can
//! be lost between the last look at the bits and the `hlt`. Timers are driven by the interrupts of
//! the PIT, the local APIC or Hyperlight.
//!
//! ```
//! use core::time::Duration;
//! use dormir::{block_on, executor::{Executor, Shared, Up64}, platform::host, time::Timer};
//!
//! // Two of these tasks can exist at once, without a heap.
//! dormir::task! {
//!     async fn nap(length: Duration) -> Duration, pool = 2 {
//!         Timer::after(length).await;
//!         length
//!     }
//! }
//!
//! static EXECUTOR: Executor<Up64> = Executor::new(Shared);
//!
//! // On the host, a virtual clock stands in for the machine. In a guest, `platform::bare::init` finds the
//! // machine's timer, and the idle policy is `idle::Halt`.
//! host::init();
//! let idle = host::Skip;
//!
//! let mut runner = EXECUTOR.enter()?;
//! let long = runner.spawner().spawn(nap(Duration::from_secs(2)))?;
//! let short = runner.spawner().spawn(nap(Duration::from_secs(1)))?;
//! runner.run(idle);
//! assert!(long.is_finished() && short.is_finished());
//!
//! // One future needs no executor.
//! let naps = async { (long.await, short.await) };
//! assert_eq!(block_on(naps, idle).0, Ok(Duration::from_secs(2)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Where to find what
//!
//! | module | what it has |
//! | --- | --- |
//! | [`executor`], [`task!`] | executors, tasks, spawners, join handles |
//! | [`time`] | timers, the queue that they are in, clocks and alarms |
//! | [`event`] | what an interrupt handler signals and a task awaits |
//! | [`idle`] | what is done when no task is ready |
//! | [`platform`] | the machine: `bare`, `hyperlight`, and `host` for tests |
//!
//! Joins, selects and streams are those of the crate `futures-util`.
//!
//! # The path of a wake
//!
//! A task awaits a [`Timer`], and its deadline passes. (`cargo doc --document-private-items` makes
//! each name a link to its source.)
//!
//! 1. *Interrupt.* The timer's interrupt enters at one of the entries in [`tick`]. It acknowledges
//!    the interrupt, stores the TSC, and sets the queue's flag `due`, which is what
//!    [`TimerQueue::on_interrupt`] does. It wakes nothing.
//! 2. *The halt ends.* The `hlt` returns to [`halt_if`], and [`Halt`] to the run loop, [`drive`].
//! 3. *Wake.* The loop calls [`Served::look_after_wait`]. Since `due` is set, it reads the clock,
//!    takes each timer whose deadline has passed out of the queue, and calls its waker. The waker,
//!    [`Functions::wake`], calls [`ReadySet::set`], which sets the task's ready bit, and the
//!    summary bits above it.
//! 4. *Poll.* The next pass, [`ReadySet::pass`], goes from the root down to the bit. It clears the
//!    bit, in [`Node::take_lowest`], and then visits the task: [`TaskRef::visit`] calls the
//!    function that the task's header names, here [`poll`].
//! 5. *Alarm.* After the pass, [`TimerQueue::turn`] sets the alarm if the next deadline is earlier
//!    than what the alarm is set to, and then looks at the clock again.
//! 6. *Halt.* Nothing is ready, so the loop calls the idle policy. [`Halt`] calls [`halt_if`]. That
//!    masks interrupts, looks a last time whether nothing is ready, no timer interrupt came and the
//!    alarm is set for the earliest deadline, and executes `sti; hlt`, in [`dormir_halt`].
//!
//! ## Why no wake is lost
//!
//! - *During a pass.* A bit is cleared before its task is polled. So a wake that comes before the
//!   clear is served by this poll, and a wake after it sets the bit again. A summary bit is cleared
//!   before the word below it is read, and set after it by a wake: so a bit that is set is always
//!   reachable from the root, or the pass is on its way to it. The loop halts only if the root's
//!   word is zero.
//! - *Between the last look and the `hlt`.* Interrupts are masked from before the look until the
//!   `sti`, and `sti` takes effect after the next instruction, which is the `hlt`. So an interrupt
//!   comes before the look, which then sees its wake, or it ends the `hlt`.
//! - *By an NMI*, which cannot be masked. Each NMI raises a flag, which is lowered before the look
//!   and tested just before the `sti`. An NMI that comes after that test returns to the instruction
//!   after the `hlt` ([`on_nmi`]).
//! - *By another vCPU.* Its wake is not lost, but does not end the `hlt`: the hook of
//!   [`Executor::on_wake`](executor::Executor::on_wake) is where a program sends an interrupt.
//!
//! [`Timer`]: time::Timer
//! [`TimerQueue::on_interrupt`]: time::TimerQueue::on_interrupt
//! [`TimerQueue::turn`]: time::TimerQueue::turn
//! [`drive`]: executor::drive::drive
//! [`Served::look_after_wait`]: time::Served::look_after_wait
//! [`Functions::wake`]: executor::wakers::Functions::wake
//! [`ReadySet::set`]: executor::ready::ReadySet::set
//! [`ReadySet::pass`]: executor::ready::ReadySet::pass
//! [`Node::take_lowest`]: executor::ready::node::Node::take_lowest
//! [`TaskRef::visit`]: executor::task_ref::TaskRef::visit
//! [`poll`]: executor::task::poll
#![cfg_attr(
    all(target_arch = "x86_64", target_os = "none", feature = "bare"),
    doc = "[`tick`]: platform::bare::tick",
    doc = "[`Halt`]: idle::Halt",
    doc = "[`halt_if`]: arch::x86_64::halt::halt_if",
    doc = "[`dormir_halt`]: arch::x86_64::halt::dormir_halt",
    doc = "[`on_nmi`]: arch::x86_64::halt::on_nmi"
)]
#![cfg_attr(
    not(all(target_arch = "x86_64", target_os = "none", feature = "bare")),
    doc = "[`tick`]: platform",
    doc = "[`Halt`]: idle",
    doc = "[`halt_if`]: platform",
    doc = "[`dormir_halt`]: platform",
    doc = "[`on_nmi`]: platform"
)]
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
//! | `alloc` | no | tasks on the heap: `Task::boxed`; a table of `embassy_time`'s wakers that grows |
//! | `metrics` | no | `Executor::metrics`: counts of polls, wakes and waits; the longest poll |
//! | `trace` | no | `executor::trace`: hooks that executors call |
//! | `critical-section-impl` | no | an implementation of `critical-section` that masks interrupts, for guests with one vCPU |
#![no_std]
// An example with `dormir_guest::entry!` is a guest, and runs in a VM.
#![doc(test(attr(cfg_attr(target_os = "none", no_std, no_main))))]
#![cfg_attr(docsrs, feature(doc_cfg))]
// The path of a wake goes through private items. Their links hold the text to the code.
#![allow(rustdoc::private_intra_doc_links)]

#[cfg(feature = "alloc")]
extern crate alloc as std_alloc;
#[cfg(test)]
extern crate std;

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
#[cfg(all(doctest, target_os = "none"))]
mod pages;
pub mod platform;
mod progress;
mod sync;
#[cfg(test)]
mod test_support;
pub mod time;
mod vcpu;

pub use event::Event;
pub use executor::block_on::block_on;
#[cfg(all(target_arch = "x86_64", target_os = "none", feature = "hyperlight"))]
pub use platform::hyperlight;
