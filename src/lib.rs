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
//! dormir::tasks! {
//!     async fn nap(length: Duration) -> Duration, pool = 2 {
//!         Timer::after(length).await;
//!         length
//!     }
//! }
//!
//! static EXECUTOR: Executor<Up64> = Executor::new(Shared);
//!
//! // On the host, a virtual clock stands in for the machine. In a guest, `platform::bare::init`
//! // finds the machine's timer, and the idle policy is `idle::Halt`.
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
//! | [`executor`], [`tasks!`] | executors, tasks, spawners, join handles |
//! | [`time`] | timers, the queue that holds them, clocks and alarms |
//! | [`event`] | events, which interrupt handlers signal and tasks await |
//! | [`idle`] | idle policies: what the vCPU does while no task is ready |
//! | [`platform`] | the machine: `bare`, `hyperlight`, and `host` for tests |
//! | `host_calls` | async functions of the host, of Hyperlight or at the other end of a connection |
//!
//! For joins, selects and streams, use the crate `futures-util`.
//!
//! # The path of a wake
//!
//! A task awaits a [`Timer`], and its deadline passes. The files are in `src`; the names of private
//! items link to them.
//!
//! 1. *Interrupt.* The timer's interrupt enters at one of the entries in [`tick`]
//!    (`platform/bare/tick.rs`). The entry acknowledges the interrupt, stores the TSC, and sets the
//!    queue's flag `due`, which is what [`TimerQueue::on_interrupt`] does. It sets no ready bit.
//! 2. *The halt ends.* The `hlt` returns to [`halt_if`] (`arch/x86_64/halt.rs`), and [`Halt`]
//!    (`idle/halt.rs`) to the run loop, [`drive`] (`executor/drive.rs`).
//! 3. *Wake.* The loop calls [`Served::look_after_wait`] (`time/queue/owner.rs`, and from there
//!    `serve.rs`). Since `due` is set, it clears `due`, reads the clock, takes each timer whose
//!    deadline has passed out of the queue, and calls its waker. The waker, [`Functions::wake`]
//!    (`executor/wakers.rs`), calls [`ReadySet::set`] (`executor/ready.rs`), which sets the task's
//!    ready bit, and then the summary bits above it. (In an executor of 64 tasks there is one word
//!    of ready bits, the root, and no summary.)
//! 4. *Poll.* The next pass, [`ReadySet::pass`] (`executor/ready.rs`), goes from the root down to
//!    the bit (`executor/ready/levels.rs`). It clears the bit in [`Node::take_lowest`]
//!    (`executor/ready/node.rs`), by one instruction (`executor/cpus.rs`), and then visits the task
//!    (`executor/runner/visits.rs`): [`TaskRef::visit`] (`executor/lifecycle.rs`) calls the
//!    function that the task's header names, here [`poll`] (`executor/task.rs`). A pass over many
//!    words also visits tasks out of turn whose deadlines have passed; their bits are cleared
//!    before the visit, too.
//! 5. *Alarm.* After the pass, [`TimerQueue::turn`] (`time/queue.rs`) does what step 3 does if
//!    `due` was set meanwhile. Else, if the next deadline is earlier than what the alarm is set to,
//!    it sets the alarm, and then reads the clock once more, since an alarm may ignore a deadline
//!    that has passed by the time it is written. (An alarm that has interrupted is set to none.)
//! 6. *Halt.* Nothing is ready, so the loop calls the idle policy. [`Halt`] calls [`halt_if`]
//!    (`arch/x86_64/halt.rs`). That masks interrupts and makes the idle check: the root is 0
//!    (`ReadySet::is_empty`), `due` is not set, and the alarm covers the earliest deadline
//!    (`TimerQueue::is_settled`). If so, it executes `sti; hlt`, in
//!    [`dormir_halt`].
//!
//! ## Why no wake is lost
//!
//! Each bit is set or cleared by one instruction that no interrupt can divide: `or` and `btr` with
//! [`SingleVcpu`](executor::SingleVcpu); `lock bts`, `lock or` and `lock btr` with
//! [`Shared`](executor::Shared), which no other vCPU can divide either.
//!
//! - *During a pass.* A task's bit is cleared before the task is polled. A wake before the clear is
//!   served by this poll; a wake after the clear sets the bit again. With summaries, a pass clears
//!   a summary bit before it reads the word below, and a wake sets the task's bit before the
//!   summary bit. So either the pass reads the task's bit, or the summary bit is set again behind
//!   it, up to the root, which the idle check reads. A wake by `Shared` that finds the task's bit
//!   set leaves the summaries and the hook alone: the wake that has set the bit sees to them, or
//!   the pass has cleared the summaries already and still has to clear the bit. The timer's
//!   interrupt sets `due`, which the turn after the pass clears before it reads the clock: an
//!   interrupt before the clear is covered by that reading, and one after it leaves `due` set.
//! - *Between the idle check and the `hlt`.* Interrupts are masked from before the check until the
//!   `sti`, which takes effect after the next instruction, the `hlt`. An interrupt before the
//!   masking has set its bit, or `due`, or has made a timer the earliest, and the check sees it. A
//!   later one is pending, and ends the `hlt`. A deadline that passes here has its alarm set, whose
//!   interrupt is such a later one.
//! - *By an NMI*, which cannot be masked. The NMI handler sets a flag, which is cleared before the
//!   idle check and tested after it, just before the `sti`. An NMI between that test and the halt
//!   has interrupted one of three instructions, of which the last is the `hlt`. For these
//!   [`on_nmi`] returns another address for the handler to return to, of code that unmasks
//!   interrupts and does not halt. An NMI during the halt ends it. (The handler of `platform::bare`
//!   does so. One of your own must call `on_nmi` and return to what it returns. The flag is one
//!   static, so only one vCPU may halt this way.)
//! - *By another vCPU.* The bit is set, but a vCPU that halts goes on halting. The hook of
//!   [`Executor::on_wake`](executor::Executor::on_wake) is called after the wake has set its bits,
//!   and is where a program sends that vCPU an interrupt; this is then the second case. Without a
//!   hook such a wake is delayed until the next interrupt, however late that is. So is a wake on
//!   the vCPU itself if it finds the bit set by another vCPU's wake that has not reached the root
//!   yet. A timer that another vCPU polls, and that becomes the earliest, calls the hook of
//!   [`TimerQueue::on_earlier`](time::TimerQueue::on_earlier).
//!
//! [`block_on`] has one flag in place of a ready set, and clears it before each poll. It has no hook,
//! so another vCPU that wakes its future must send the interrupt by itself. With the feature
//! `embassy-time`, a loop also halts with tasks ready, for a pause of a millisecond at most, while
//! more of `embassy-time`'s wakers wait than there is room for (`time::embassy`).
//!
//! [`Timer`]: time::Timer
//! [`TimerQueue::on_interrupt`]: time::TimerQueue::on_interrupt
//! [`TimerQueue::turn`]: time::TimerQueue::turn
#![cfg_attr(
    document_private,
    doc = "[`drive`]: executor::drive::drive",
    doc = "[`Served::look_after_wait`]: time::Served::look_after_wait",
    doc = "[`Functions::wake`]: executor::wakers::Functions::wake",
    doc = "[`ReadySet::set`]: executor::ready::ReadySet::set",
    doc = "[`ReadySet::pass`]: executor::ready::ReadySet::pass",
    doc = "[`Node::take_lowest`]: executor::ready::node::Node::take_lowest",
    doc = "[`TaskRef::visit`]: executor::task_ref::TaskRef::visit",
    doc = "[`poll`]: executor::task::poll",
    doc = "[`tick`]: platform::bare::tick",
    doc = "[`Halt`]: idle::Halt",
    doc = "[`halt_if`]: arch::x86_64::halt::halt_if",
    doc = "[`dormir_halt`]: arch::x86_64::halt::dormir_halt",
    doc = "[`on_nmi`]: arch::x86_64::halt::on_nmi"
)]
#![cfg_attr(
    not(document_private),
    doc = "[`drive`]: ../src/dormir/executor/drive.rs.html",
    doc = "[`Served::look_after_wait`]: ../src/dormir/time/queue/owner.rs.html",
    doc = "[`Functions::wake`]: ../src/dormir/executor/wakers.rs.html",
    doc = "[`ReadySet::set`]: ../src/dormir/executor/ready.rs.html",
    doc = "[`ReadySet::pass`]: ../src/dormir/executor/ready.rs.html",
    doc = "[`Node::take_lowest`]: ../src/dormir/executor/ready/node.rs.html",
    doc = "[`TaskRef::visit`]: ../src/dormir/executor/lifecycle.rs.html",
    doc = "[`poll`]: ../src/dormir/executor/task.rs.html"
)]
#![cfg_attr(
    all(not(document_private), target_os = "none"),
    doc = "[`tick`]: ../src/dormir/platform/bare/tick.rs.html",
    doc = "[`Halt`]: ../src/dormir/idle/halt.rs.html",
    doc = "[`halt_if`]: ../src/dormir/arch/x86_64/halt.rs.html",
    doc = "[`dormir_halt`]: ../src/dormir/arch/x86_64/halt.rs.html",
    doc = "[`on_nmi`]: ../src/dormir/arch/x86_64/halt.rs.html"
)]
#![cfg_attr(
    all(not(document_private), not(target_os = "none")),
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
//! | `hyperlight` | no | [`hyperlight`](platform): `block_on` in the guest functions of Hyperlight sandboxes, and async host calls. Only on `x86_64-unknown-none` and similar targets |
//! | `hyperlight-typed` | no | `host_functions!` in Hyperlight guests: async functions of the host, declared with their types, whose structure is compared |
//! | `host-calls` | no | `host_calls::run`: the same async host calls in other guests, over a connection. Only on `x86_64-unknown-none` and similar targets |
//! | `host-calls-typed` | no | `host_functions!` in these guests |
//! | `embedded-hal` | yes | `time::Delay`, a busy wait behind `embedded_hal::delay::DelayNs` |
//! | `embedded-hal-async` | no | `time::Delay`, a timer behind `embedded_hal_async::delay::DelayNs` |
//! | `embassy-time` | no | `time::embassy`: `embassy_time`'s timers run on the global queue |
//! | `alloc` | no | tasks on the heap: `Task::boxed`; a table of `embassy_time`'s wakers that grows |
//! | `metrics` | no | `Executor::metrics`: counts of polls, wakes and waits; the longest poll |
//! | `watchdog` | no | `watchdog`: reports polls that do not return within a limit |
//! | `macros` | no | the attribute `task`, by the crate `dormir-macros` |
//! | `trace` | no | `executor::trace`: hooks that executors call |
//! | `log` | no | messages by the crate `log`: what `bare::init` found; a full table of `embassy_time`'s wakers |
//! | `defmt` | no | `defmt::Format` on instants, errors and other data types |
//! | `critical-section-impl` | no | an implementation of `critical-section` that masks interrupts, for guests with one vCPU |
#![no_std]
// An example with `dormir_guest::entry!` is a guest, and runs in a VM.
#![doc(test(attr(cfg_attr(target_os = "none", no_std, no_main))))]
#![cfg_attr(docsrs, feature(doc_cfg))]
// With this cfg the path of a wake links the private items that it names, so that a stale name
// fails.
#![cfg_attr(
    document_private,
    allow(rustdoc::private_intra_doc_links, rustdoc::redundant_explicit_links)
)]

#[cfg(feature = "alloc")]
extern crate alloc as std_alloc;
// `random_programs` is also compiled in guests.
#[cfg(all(test, not(loom), feature = "alloc"))]
extern crate self as dormir;
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
#[cfg(all(
    target_arch = "x86_64",
    target_os = "none",
    any(feature = "host-calls", feature = "hyperlight")
))]
pub mod host_calls;
pub mod idle;
mod last_yield;
#[cfg(all(doctest, target_os = "none"))]
mod pages;
pub mod platform;
mod progress;
#[cfg(all(test, not(loom), feature = "alloc"))]
mod random_programs;
mod sync;
#[cfg(test)]
mod test_support;
pub mod time;
mod vcpu;
#[cfg(feature = "watchdog")]
pub mod watchdog;

/// # Examples
///
/// ```
/// use dormir::executor::{Executor, Shared, Up64};
///
/// #[dormir::task(pool_size = 2)]
/// async fn sum(mut a: u32, (b, c): (u32, u32)) -> u32 {
///     a += b + c;
///     a
/// }
///
/// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
/// let mut runner = EXECUTOR.enter()?;
/// let handle = runner.spawner().spawn(sum(1, (2, 3)))?;
/// runner.run_until_idle();
/// assert_eq!(dormir::block_on(handle, dormir::platform::host::Skip), Ok(6));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// What a static pool cannot hold is refused:
///
/// ```compile_fail
/// #[dormir::task]
/// async fn call(function: impl Fn()) { function() }
/// ```
///
/// ```compile_fail
/// #[dormir::task]
/// async fn show<T: core::fmt::Debug>(value: T) { println!("{value:?}") }
/// ```
#[cfg(feature = "macros")]
pub use dormir_macros::task;
pub use event::Event;
pub use executor::block_on::block_on;
#[cfg(all(target_arch = "x86_64", target_os = "none", feature = "hyperlight"))]
pub use platform::hyperlight;
