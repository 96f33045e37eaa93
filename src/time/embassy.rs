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
//! later goes on) share a table of [`OTHER_WAKERS`] entries, one for each waker. embassy's
//! timers do not say when they are dropped, so an entry is taken until its deadline has passed. When
//! the table is full, the entries give way in turn: the one whose turn it is wakes its waker *early*, and
//! [`early_wakes`] counts it. Whoever waits there asks again, at the cost of a poll, and so for as long as
//! there are more wakers than entries; nobody is woken late, and what is not waited for any more is gone for
//! good. Timers of [dormir's own](crate::time::Timer) have no such limit.
//!
//! # Contexts
//!
//! Embassy timers may be polled in any context but NMI and machine check. A [`Runner`] that was given
//! [another queue](crate::executor::Runner::with_timers) does not serve them.
//!
//! [`Runner`]: crate::executor::Runner

mod slot;
mod table;
mod ticks;

use core::task::Waker;

use embassy_time_driver::{Driver, TICK_HZ};

pub(crate) use slot::Slot;

use super::{Instant, TimerQueue};
use crate::executor::{block_on, slot_of};
use table::Table;
use ticks::Ticks;

/// How many wakers that are not of tasks can wait for embassy timers at a time without being woken early.
pub const OTHER_WAKERS: usize = 64;

type Rate = Ticks<TICK_HZ>;

static OTHERS: Table<OTHER_WAKERS> = Table::new();

struct GlobalDriver;

embassy_time_driver::time_driver_impl!(static DRIVER: GlobalDriver = GlobalDriver);

impl Driver for GlobalDriver {
    fn now(&self) -> u64 {
        let queue = TimerQueue::global();
        if queue.has_clock() {
            Rate::at(queue.now())
        } else {
            0
        }
    }

    fn schedule_wake(&self, at: u64, waker: &Waker) {
        let (queue, deadline) = (TimerQueue::global(), Rate::deadline(at));
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
pub(crate) fn forget(slot: &Slot) {
    // SAFETY: such slots are used with the global queue only.
    unsafe { slot.clear(TimerQueue::global()) };
}

/// How often a waker was woken before its deadline because there were more than [`OTHER_WAKERS`].
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

#[cfg(all(test, not(loom)))]
mod tests;
