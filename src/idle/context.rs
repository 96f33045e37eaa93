//! What an idle policy is given for one wait.

use core::fmt;

use crate::time::{Instant, TimerQueue};

/// One wait of a run loop: its deadline, the idle check, and the timer queue that the loop serves.
///
/// A run loop makes one for each wait. A policy that wraps another one passes it on.
///
/// # Examples
///
/// A loop of your own, without an executor:
///
/// ```
/// use core::cell::Cell;
/// use dormir::{idle::{Idle, IdleContext, Spin}, time::TimerQueue};
///
/// static TIMERS: TimerQueue = TimerQueue::new();
///
/// let work = Cell::new(3_u32);
/// // There is nothing to do the first two times that the policy asks.
/// let no_work = || work.replace(work.get().saturating_sub(1)) > 1;
/// let is_idle = || no_work() && TIMERS.is_settled();
/// let deadline = TIMERS.turn();
/// Spin.wait(&IdleContext::new(&TIMERS, deadline, &is_idle));
/// assert_eq!(work.get(), 0);
/// ```
#[derive(Clone, Copy)]
pub struct IdleContext<'a> {
    timers: &'a TimerQueue,
    deadline: Option<Instant>,
    is_idle: &'a dyn Fn() -> bool,
}

impl<'a> IdleContext<'a> {
    /// A wait until `deadline`, as returned by [`TimerQueue::turn`] of `timers`, while `is_idle`
    /// returns `true`.
    ///
    /// `is_idle` must include [`TimerQueue::is_settled`] if the loop serves timers. It may be
    /// called with interrupts masked, and any number of times.
    #[must_use]
    #[inline]
    pub const fn new(
        timers: &'a TimerQueue,
        deadline: Option<Instant>,
        is_idle: &'a dyn Fn() -> bool,
    ) -> Self {
        Self {
            timers,
            deadline,
            is_idle,
        }
    }

    /// The next deadline, if there is one. The alarm is set to it, or up to the queue's
    /// [slack](TimerQueue::set_slack) later.
    #[must_use]
    #[inline]
    pub const fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Whether there is still nothing to do. May be called with interrupts masked, and any number
    /// of times.
    #[must_use]
    #[inline]
    pub fn is_idle(&self) -> bool {
        (self.is_idle)()
    }

    /// The queue that the run loop serves, with the clock that the deadline is measured by.
    #[must_use]
    #[inline]
    pub const fn timers(&self) -> &'a TimerQueue {
        self.timers
    }
}

impl fmt::Debug for IdleContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdleContext")
            .field("timers", &self.timers)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}
