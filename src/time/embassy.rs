//! A driver for `embassy-time`, which puts its timers on the [global queue](TimerQueue::global).
//!
//! With the feature `embassy-time`, `embassy_time::Timer`, `Ticker`, `with_timeout` and all that is
//! built on them work unchanged in tasks and in [`block_on`](crate::block_on). A program has one
//! such driver, so no other crate may provide one. embassy's executors are not needed.
//!
//! # Examples
//!
//! ```
//! use dormir::executor::{Executor, Shared, Up64};
//! use dormir::platform::host::{self, Skip};
//! use embassy_time::{Duration, Instant, Ticker, Timer, with_timeout};
//!
//! dormir::tasks! {
//!     async fn limited(), pool = 1 {
//!         let start = Instant::now();
//!         let never = core::future::pending::<()>();
//!         assert!(with_timeout(Duration::from_millis(5), never).await.is_err());
//!         let mut ticker = Ticker::every(Duration::from_millis(3));
//!         ticker.next().await;
//!         Timer::after_millis(2).await;
//!         assert!(start.elapsed() >= Duration::from_millis(10));
//!     }
//! }
//!
//! static EXECUTOR: Executor<Up64> = Executor::new(Shared);
//!
//! host::init(); // A virtual clock, for the host. A guest waits by `idle::Halt`.
//! let mut runner = EXECUTOR.enter()?;
//! runner.spawner().spawn_detached(limited())?;
//! runner.run(Skip);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Ticks
//!
//! The final program chooses embassy's tick rate by a feature of `embassy-time`, `tick-hz-…`; the
//! default is 1 MHz. The clock's nanoseconds are rounded down to ticks, and a deadline's ticks up
//! to nanoseconds, so nothing ends early. Deadlines beyond the range of [`Instant`] (584 years) are
//! never reached. Before a clock is installed, embassy's time is 0.
//!
//! # Where deadlines are kept
//!
//! An embassy timer has no node of its own: at each poll it asks the driver to wake the waker of
//! that poll at its deadline. Each executor has a queue node for each of its task slots. The node
//! holds the earliest deadline that the task asked for since the node last woke it. When that has
//! passed, the task is polled, and its timers ask again; if the timer was dropped meanwhile, the
//! task is polled once in vain. So neither the timers of a task nor the tasks with timers are
//! limited. When a task ends, its node is taken out of the queue. Futures of `block_on` have such a
//! node too.
//!
//! *Other wakers* share a table, with an entry for each waker: the wakers of `FuturesUnordered`,
//! which `join_all` uses for many futures; those of other executors; and a task's waker outside of
//! its poll, or during a poll that another vCPU began later. The table has [`OTHER_WAKERS`]
//! entries, and a program can add more, by [`MoreWakers`]. embassy's timers do not report when they
//! are dropped, so an entry is taken until its deadline has passed. When the table is full:
//!
//! - With the feature `alloc`, the run loop wakes every waker in the table *early*, after its pass.
//!   Timers that still wait ask again; the entries of dropped ones are free. If the table is full
//!   again within the next 32 passes, it is too small, and grows to twice its size. So it never has
//!   more than twice as many entries as there were wakers that asked within 32 passes. Each entry
//!   takes some 160 bytes of the heap, permanently. None is allocated in an interrupt handler or a
//!   critical section.
//! - Without `alloc`, without enough memory, or until the loop has made room, the entries are
//!   evicted in turn: the evicted waker is woken early. Its timer asks again, and evicts another
//!   one, for as long as there are more wakers than entries. So that the vCPU halts all the same,
//!   the loop then pauses after each pass, although something is ready: until the next deadline or
//!   interrupt, 1 ms at most. Each of these wakers costs up to one poll per pause, and everything
//!   else that is ready without an interrupt waits for the end of the pause. No wake is later than
//!   that.
//!
//! [`early_wakes`] counts both, and [`most_wakers`] reports how many entries would have been
//! enough. A program that sees early wakes again and again should add as many, or use fewer wakers
//! (a task for each of those futures, in place of one task for all). dormir's own
//! [`Timer`](crate::time::Timer) has no such limit.
//!
//! # embassy-sync
//!
//! `embassy_sync` works unchanged, with one restriction: several receivers (or senders) of one
//! `Channel`, or several users of one `Mutex`, share room for one waker. The second waker replaces
//! the first, whose task is woken for that, asks again, and replaces the second. While two wait,
//! the vCPU does not halt. If more than one task waits for the same thing, use `async-channel`,
//! `async-lock` or `maitake-sync`, which keep a waker for each.
//!
//! # Contexts
//!
//! Embassy timers may be polled in any context but NMI and machine-check handlers. A [`Runner`]
//! with [another queue](crate::executor::Runner::with_timers) does not serve them.
//!
//! [`Runner`]: crate::executor::Runner

#[cfg(feature = "alloc")]
mod growth;
mod kept;
mod more;
mod pace;
mod slot;
mod table;
mod ticks;

#[cfg(feature = "log")]
use core::sync::atomic::{AtomicBool, Ordering};
use core::{ptr, task::Waker};

use embassy_time_driver::TICK_HZ;

pub use more::{AlreadyAdded, MoreWakers};
pub(crate) use slot::DeadlineSlot;

use super::{Instant, TimerQueue};
use pace::Pace;
use table::{TableEntry, WakerTable};
use ticks::Ticks;

/// The number of wakers other than those of tasks that can wait for embassy timers at once without
/// an early wake, unless [more room](MoreWakers) is added.
pub const OTHER_WAKERS: usize = 64;

type DriverTicks = Ticks<TICK_HZ>;

static ENTRIES: [TableEntry; OTHER_WAKERS] = [const { TableEntry::new() }; OTHER_WAKERS];
static OTHERS: WakerTable = WakerTable::new(&ENTRIES);

#[cfg(feature = "alloc")]
static GROWTH: growth::Growth = growth::Growth::new();
static PACE: Pace = Pace::new();

/// The time in ticks; 0 before a clock is installed.
pub(crate) fn now() -> u64 {
    let queue = TimerQueue::global();
    if queue.has_clock() {
        DriverTicks::at(queue.now())
    } else {
        0
    }
}

/// Wakes `waker` when the time is `at`: by its slot, which `slot_of` finds, or else by the table.
///
/// # Safety
///
/// A waker for which `slot_of` returns a slot is cloned and dropped without foreign code, and the
/// slot is used by this module only.
#[inline(always)]
pub(crate) unsafe fn schedule_wake(
    at: u64,
    waker: &Waker,
    slot_of: impl FnOnce(&Waker) -> Option<&'static DeadlineSlot>,
) {
    let (queue, deadline) = (TimerQueue::global(), DriverTicks::deadline(at));
    if deadline == Instant::NEVER {
        return;
    }
    if queue.has_clock() && queue.now() >= deadline {
        return waker.wake_by_ref();
    }
    match slot_of(waker) {
        // SAFETY: this module uses the global queue only. The rest is as the caller promises.
        Some(slot) => unsafe { slot.schedule(queue, deadline, waker) },
        // SAFETY: this table is used with the global queue only.
        None => unsafe { OTHERS.schedule(queue, deadline, waker) },
    }
}

/// Takes the deadline of `slot` out of the queue: its task, or its future of `block_on`, has ended.
pub(crate) fn forget(slot: &DeadlineSlot) {
    // SAFETY: such slots are used with the global queue only.
    unsafe { slot.clear(TimerQueue::global()) };
}

/// Whether embassy's timers are on `queue`.
fn serves(queue: &TimerQueue) -> bool {
    ptr::eq(queue, TimerQueue::global())
}

/// To be called by the loop that serves `queue` after each of its passes, before the queue's turn:
/// makes room if the table was full. If it cannot, a [pause](pauses) begins. The usual case is two
/// loads.
///
/// It may allocate, and wakes foreign wakers: it must not be called in a critical section, and the
/// interrupt flag must be as in a poll.
#[inline(always)]
pub(crate) fn between_passes(queue: &TimerQueue) {
    let is_overfull = OTHERS.is_overfull();
    #[cfg(feature = "alloc")]
    let is_overfull = is_overfull || GROWTH.counts_looks();
    if is_overfull {
        look(queue);
    }
}

#[cold]
#[inline(never)]
fn look(queue: &TimerQueue) {
    if !serves(queue) || queue.is_served_elsewhere() {
        return;
    }
    let is_overfull = OTHERS.look();
    #[cfg(feature = "alloc")]
    // SAFETY: that table is used with the global queue only, which this is.
    let is_overfull = unsafe { !GROWTH.look(is_overfull, &OTHERS, queue, growth::allocate) };
    if is_overfull {
        #[cfg(feature = "log")]
        log_first_pause();
        // SAFETY: the pace is used with the global queue only.
        unsafe { PACE.begin(queue) };
    }
}

/// Logs the first pause. [`early_wakes`] shows whether there are more.
#[cfg(feature = "log")]
fn log_first_pause() {
    static IS_LOGGED: AtomicBool = AtomicBool::new(false);
    if !IS_LOGGED.swap(true, Ordering::Relaxed) {
        log::warn!(
            "embassy timers: there are more wakers than entries, so some are woken early, and the \
             loop pauses; add entries by `MoreWakers`"
        );
    }
}

/// Whether the loop that serves `queue` must pause although something is ready: until the next
/// deadline, which is at most 1 ms away. It begins no pass meanwhile, and may wait if
/// [`TimerQueue::is_settled`]. The queue's turn ends the pause when its time has passed.
///
/// May be called with interrupts masked. One load if there is no pause.
#[inline(always)]
pub(crate) fn pauses(queue: &TimerQueue) -> bool {
    PACE.is_on() && serves(queue)
}

/// Ends the pause: an interrupt came, or the loop ends.
#[inline(always)]
pub(crate) fn end_pause(queue: &TimerQueue) {
    if pauses(queue) {
        // SAFETY: the pace is used with the global queue only, which this is.
        unsafe { PACE.end(queue) };
    }
}

/// How often a waker was woken before its deadline because the table [was
/// full](self#where-deadlines-are-kept). If it keeps rising, the table is too small;
/// [`most_wakers`] reports by how much.
///
/// May be called in any context.
///
/// # Examples
///
/// ```
/// assert_eq!(dormir::time::embassy::early_wakes(), 0);
/// ```
#[must_use]
pub fn early_wakes() -> u64 {
    OTHERS.early_wakes()
}

/// Roughly, the number of entries that would have been enough: the most entries taken at once, plus
/// those evicted until the run loop looked at the table.
///
/// May be called in any context.
///
/// # Examples
///
/// ```
/// use dormir::{block_on, time::embassy::most_wakers};
/// use dormir::platform::host::{self, Skip};
/// use embassy_time::Timer;
/// use futures_util::future::join_all;
///
/// host::init(); // A virtual clock, for the host. A guest waits by `idle::Halt`.
/// block_on(join_all((0..50).map(|_| Timer::after_millis(20))), Skip);
/// assert_eq!(most_wakers(), 50);
/// ```
#[must_use]
pub fn most_wakers() -> usize {
    OTHERS.most()
}

#[cfg(all(test, not(loom)))]
mod tests;
