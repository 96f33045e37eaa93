//! The driver of `embassy-time`: its timers on the [global queue](TimerQueue::global).
//!
//! With the feature `embassy-time`, `embassy_time::Timer`, `Ticker`, `with_timeout` and whatever is built
//! on them work unchanged in tasks and in [`block_on`](crate::block_on). A program has one such driver: no
//! other crate may bring one, and embassy's executors are not needed.
//!
//! # Examples
//!
//! ```
//! use dormir::executor::{Executor, Shared, Up64};
//! use embassy_time::{Duration, Instant, Ticker, Timer, with_timeout};
//!
//! dormir::task! {
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
//! # dormir::platform::host::init();
//! # let idle = dormir::platform::host::Skip;
//! # // In a guest: `let idle = dormir::idle::Halt;`
//! let mut runner = EXECUTOR.enter()?;
//! runner.spawner().spawn_detached(limited())?;
//! runner.run(idle);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Ticks
//!
//! The final program chooses embassy's tick rate by a feature of `embassy-time`, `tick-hz-…`; without one
//! it is 1 MHz. Ticks are converted exactly: the clock's nanoseconds are rounded down to ticks, and a
//! deadline's ticks up to nanoseconds, so nothing ends early. Deadlines that [`Instant`] cannot hold (584
//! years) are never reached. Before a clock is installed embassy's time is 0.
//!
//! # Where deadlines are kept
//!
//! An embassy timer has no place in a queue: at each poll it asks to be woken at its deadline, by the waker
//! that it is polled with. Every executor has a node of the queue beside each of its places, for the task
//! that is there. It holds the earliest deadline that the task asked for since it was last woken by it. When
//! that has passed, the task is polled, and its timers ask again; where the timer was dropped meanwhile, the
//! task is polled for nothing, once. So there is no limit to the timers of tasks, nor to the tasks that have
//! some. When a task ends, its node is taken out of the queue. The same goes for the futures of `block_on`.
//!
//! *Other wakers* (those of `FuturesUnordered` and of what uses it, `join_all` of many futures; those of
//! other executors; a task's outside of its poll, or while a poll that another vCPU began
//! later goes on) share a table, with an entry for each waker. It has [`OTHER_WAKERS`] entries, and
//! a program that knows that it needs more adds them: [`MoreWakers`]. embassy's timers do not say
//! when they are dropped, so an entry is taken until its deadline has passed. What is done when the
//! table is full:
//!
//! - With the feature `alloc`, every waker in the table is woken, *early*, by the loop that runs
//!   the tasks, after its pass. Whoever still waits asks again, and what nobody waits for any more
//!   is gone. A table that is full again within the next 32 passes is too small: it grows to twice
//!   its size. So it never has more than twice as many entries as there were wakers that asked
//!   within so few passes. Each takes some 160 bytes of the heap, for good; none is allocated in an
//!   interrupt handler or a critical section.
//! - Without `alloc`, where the memory does not suffice, or until that loop looks, the entries give
//!   way in turn: the one whose turn it is wakes its waker early. Whoever waits there asks again,
//!   and drives out another one, for as long as there are more wakers than entries. So that the
//!   processor rests all the same, the loop then makes a pause after each pass, though something is
//!   ready: until the next deadline or interrupt, 1 ms at most. Each of these wakers costs up to
//!   one poll a pause, and whatever else is ready without an interrupt waits for the end of the
//!   pause. Nobody is woken late by more than that.
//!
//! [`early_wakes`] counts both, and [`most_wakers`] says how many entries would have been enough: a
//! program that sees early wakes again and again adds as many, or has fewer wakers (a task for each
//! of those futures in place of one task for all). Timers of [dormir's own](crate::time::Timer)
//! have no such limit.
//!
//! # embassy-sync
//!
//! `embassy_sync` works as it is, but for one thing: several receivers (or senders) of one
//! `Channel`, or several users of one `Mutex`, have one waker's place between them. The second
//! one's waker drives out the first one's, which is woken for that, asks again, and drives out the
//! second one's. As long as two wait the vCPU does not halt. Where more than one task waits for the
//! same thing, take `async-channel`, `async-lock` or `maitake-sync`, which keep a waker for each.
//!
//! # Contexts
//!
//! Embassy timers may be polled in any context but NMI and machine check. A [`Runner`] that was given
//! [another queue](crate::executor::Runner::with_timers) does not serve them.
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

use core::{ptr, task::Waker};

use embassy_time_driver::{Driver, TICK_HZ};

pub use more::{AlreadyAdded, MoreWakers};
pub(crate) use slot::DeadlineSlot;

use super::{Instant, TimerQueue};
use crate::executor::{block_on, slot_of};
use pace::Pace;
use table::{TableEntry, WakerTable};
use ticks::Ticks;

/// How many wakers that are not of tasks can wait for embassy timers at a time without being woken
/// early, if no [more room](MoreWakers) was added.
pub const OTHER_WAKERS: usize = 64;

type DriverTicks = Ticks<TICK_HZ>;

static ENTRIES: [TableEntry; OTHER_WAKERS] = [const { TableEntry::new() }; OTHER_WAKERS];
static OTHERS: WakerTable = WakerTable::new(&ENTRIES);

#[cfg(feature = "alloc")]
static GROWTH: growth::Growth = growth::Growth::new();
static PACE: Pace = Pace::new();

struct GlobalDriver;

embassy_time_driver::time_driver_impl!(static DRIVER: GlobalDriver = GlobalDriver);

impl Driver for GlobalDriver {
    fn now(&self) -> u64 {
        let queue = TimerQueue::global();
        if queue.has_clock() {
            DriverTicks::at(queue.now())
        } else {
            0
        }
    }

    fn schedule_wake(&self, at: u64, waker: &Waker) {
        let (queue, deadline) = (TimerQueue::global(), DriverTicks::deadline(at));
        if deadline == Instant::NEVER {
            return;
        }
        if queue.has_clock() && queue.now() >= deadline {
            return waker.wake_by_ref();
        }
        match slot_of(waker).or_else(|| block_on::slot_of(waker)) {
            // SAFETY: these slots are used with the global queue only, and their wakers are cloned and
            // dropped without any effect.
            Some(slot) => unsafe { slot.schedule(queue, deadline, waker) },
            // SAFETY: that table is used with the global queue only.
            None => unsafe { OTHERS.schedule(queue, deadline, waker) },
        }
    }
}

/// The task, or the future of `block_on`, to which `slot` belongs is over: its deadline is taken out of the queue.
pub(crate) fn forget(slot: &DeadlineSlot) {
    // SAFETY: such slots are used with the global queue only.
    unsafe { slot.clear(TimerQueue::global()) };
}

/// Whether it is the queue that embassy's timers are on.
fn serves(queue: &TimerQueue) -> bool {
    ptr::eq(queue, TimerQueue::global())
}

/// To be called by the loop that serves `queue` after each of its passes, before it turns the
/// queue: makes room if the table was found full. Where it cannot, a [rest](rests) begins. In the
/// usual case it is two loads.
///
/// It may allocate, and wakes foreign wakers: it is called in no critical section, and with
/// interrupts as in a poll.
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
        // SAFETY: it is used with the global queue only.
        unsafe { PACE.begin(queue) };
    }
}

/// Whether the loop that serves `queue` is to rest although something is ready: until the next
/// deadline, which is at most 1 ms away. It begins no pass meanwhile, and asks
/// [`TimerQueue::is_settled`] alone whether it may wait. A turn of the queue ends the rest when its
/// time has passed.
///
/// It may be called with interrupts masked, and is one load where there is no rest.
#[inline(always)]
pub(crate) fn rests(queue: &TimerQueue) -> bool {
    PACE.rests() && serves(queue)
}

/// The rest is over, since something has interrupted it; or the loop ends that rested.
#[inline(always)]
pub(crate) fn end_rest(queue: &TimerQueue) {
    if rests(queue) {
        // SAFETY: it is used with the global queue only, which this is.
        unsafe { PACE.end(queue) };
    }
}

/// How often a waker was woken before its deadline because the table [was
/// full](self#where-deadlines-are-kept). If it rises for as long as the program runs, the table is
/// too small; [`most_wakers`] says by how much.
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

/// How much room would have been enough, roughly: the most wakers that there was an entry for at a
/// time, and with them those that gave way until the loop's next look.
///
/// May be called in any context.
///
/// # Examples
///
/// ```
/// use dormir::{block_on, time::embassy::most_wakers};
/// use embassy_time::Timer;
/// use futures_util::future::join_all;
///
/// # dormir::platform::host::init();
/// # let idle = dormir::platform::host::Skip;
/// // In a guest: `let idle = dormir::idle::Halt;`
/// block_on(join_all((0..50).map(|_| Timer::after_millis(20))), idle);
/// assert_eq!(most_wakers(), 50);
/// ```
#[must_use]
pub fn most_wakers() -> usize {
    OTHERS.most()
}

#[cfg(all(test, not(loom)))]
mod tests;
