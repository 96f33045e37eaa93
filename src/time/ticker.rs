//! Tickers: ticks at regular instants.

use core::{fmt, time::Duration};

use super::{Instant, TimerQueue, instant::nanos};

/// Ticks at `start`, `start + period`, `start + 2 * period` and so on, without drift: a tick that
/// is taken late does not move the ticks after it.
///
/// Missed ticks are not made up for one by one: [`next`](Self::next) returns at the latest tick,
/// with the number of ticks that were missed.
///
/// # Other runtimes
///
/// embassy's `Ticker`, and Tokio's `Interval` by default, return late ticks one by one, at once,
/// until they have caught up: for the same effect here, do the work `missed + 1` times. This ticker
/// does what Tokio calls `MissedTickBehavior::Skip`, and counts. Tokio's first tick is immediate.
/// Here, as with embassy, it comes one period after the call: for an immediate one use
/// `Ticker::starting_at(Instant::now(), period)`.
///
/// # The ends of the range
///
/// A period of zero counts as one nanosecond, the unit of the clock. A tick beyond the range of
/// [`Instant`] never comes: it saturates at [`Instant::NEVER`].
///
/// If the period is shorter than the work between two ticks, `next` is always ready. Then the task
/// should let others run, by [`yield_now`](crate::executor::yield_now).
///
/// # Contexts
///
/// Any but NMI and machine-check handlers, as with [`Timer`](super::Timer).
///
/// # Examples
///
/// ```
/// use core::time::Duration;
/// use dormir::{block_on, time::{Instant, Ticker}};
/// use dormir::platform::host::{self, Skip};
///
/// async fn sample(times: u32) {
///     let mut ticker = Ticker::every(Duration::from_millis(10));
///     for _ in 0..times {
///         let missed = ticker.next().await;
///         if missed > 0 {
///             println!("{missed} samples were not taken");
///         }
///         // Take a sample.
///     }
/// }
///
/// host::init(); // A virtual clock, for the host. A guest waits by `idle::Halt`.
/// block_on(sample(3), Skip);
/// # assert_eq!(Instant::now(), Instant::from_nanos(30_000_000));
/// ```
///
/// As a stream:
///
/// ```
/// # use core::time::Duration;
/// # use dormir::time::{Instant, Ticker};
/// use futures_util::stream;
///
/// # let ticker = Ticker::starting_at(Instant::START, Duration::from_secs(1));
/// let ticks = stream::unfold(ticker, async |mut ticker| {
///     let missed = ticker.next().await;
///     Some((missed, ticker))
/// });
/// # drop(ticks);
/// ```
#[must_use = "a ticker does nothing until `next` is awaited"]
pub struct Ticker {
    queue: &'static TimerQueue,
    next: Instant,
    /// In nanoseconds; not zero, since `take` divides by it.
    period: u64,
}

impl Ticker {
    /// A ticker on the global queue whose first tick is one period after this call.
    ///
    /// # Panics
    ///
    /// If no clock is installed.
    pub fn every(period: Duration) -> Self {
        Self::starting_at(Instant::now().saturating_add(period), period)
    }

    /// A ticker on the global queue whose first tick is at `first`: at once if that has passed.
    ///
    /// If `first` is more than a period ago, the ticks since then count as missed.
    pub fn starting_at(first: Instant, period: Duration) -> Self {
        TimerQueue::global().ticker(first, period)
    }

    /// Waits for the next tick, and returns the number of ticks that were missed.
    ///
    /// These are the ticks after the last one that was returned (for the first call: from the first
    /// tick on) and before the one that is returned now, by the clock at the end of the wait. The
    /// sum of `missed + 1` over all calls is the number of ticks that have passed.
    ///
    /// # Cancel safety
    ///
    /// No tick is lost if the future is dropped: the ticker moves on when the future ends, not
    /// before. So it may be one branch of a `select` in a loop. Dropping the future leaves nothing
    /// behind.
    ///
    /// # Panics
    ///
    /// If the queue has no clock.
    ///
    /// # Examples
    ///
    /// ```
    /// use core::time::Duration;
    /// use dormir::{block_on, time::{Ticker, Timer}};
    /// use dormir::platform::host::{self, Skip};
    ///
    /// host::init(); // A virtual clock, for the host. A guest waits by `idle::Halt`.
    /// let mut ticker = Ticker::every(Duration::from_millis(10));
    /// block_on(async {
    ///     assert_eq!(ticker.next().await, 0);
    ///     // Work that lasts from the first tick until after the fourth.
    ///     Timer::after(Duration::from_millis(35)).await;
    ///     // This is the fourth tick; the second and the third were missed.
    ///     assert_eq!(ticker.next().await, 2);
    ///     // The fifth comes when it is due.
    ///     assert_eq!(ticker.next().await, 0);
    /// }, Skip);
    /// ```
    ///
    /// No tick is lost if another branch ends first:
    ///
    /// ```
    /// use core::time::Duration;
    /// use dormir::{block_on, time::{Instant, Ticker, with_timeout}};
    /// use dormir::platform::host::{self, Skip};
    ///
    /// host::init(); // A virtual clock, for the host. A guest waits by `idle::Halt`.
    /// let start = Instant::now();
    /// let mut ticker = Ticker::every(Duration::from_millis(10));
    /// block_on(async {
    ///     assert!(with_timeout(Duration::from_millis(7), ticker.next()).await.is_err());
    ///     assert_eq!(ticker.next().await, 0);
    /// }, Skip);
    /// # assert_eq!(start.elapsed(), Duration::from_millis(10));
    /// ```
    pub async fn next(&mut self) -> u64 {
        self.queue.timer(self.next).await;
        self.take(self.queue.now())
    }

    /// Moves on to the first tick after `now`. Returns the number of ticks between the one that was
    /// due and the last that has passed, including one of these.
    fn take(&mut self, now: Instant) -> u64 {
        let due = self.next.as_nanos();
        let missed = now.as_nanos().saturating_sub(due) / self.period;
        // The last tick that has passed is not later than `now`, so this does not overflow. The
        // next tick may.
        let last = due + missed * self.period;
        self.next = Instant::from_nanos(last.saturating_add(self.period));
        missed
    }

    /// Restarts the ticker: the next tick is one period after this call, and none before it counts
    /// as missed.
    ///
    /// # Panics
    ///
    /// If the queue has no clock.
    pub fn reset(&mut self) {
        self.next = Instant::from_nanos(self.queue.now().as_nanos().saturating_add(self.period));
    }

    /// Restarts the ticker: the next tick is at `first`, at once if that has passed. With
    /// [`Instant::NEVER`] it pauses.
    ///
    /// (With embassy's method of this name, the next tick is one period after that.)
    pub const fn reset_at(&mut self, first: Instant) {
        self.next = first;
    }

    /// The instant of the next tick; [`Instant::NEVER`] if there is none.
    #[must_use]
    pub const fn deadline(&self) -> Instant {
        self.next
    }

    /// The time from tick to tick: the period that it was made with, but at least one nanosecond,
    /// and at most 2⁶⁴ - 1.
    #[must_use]
    pub const fn period(&self) -> Duration {
        Duration::from_nanos(self.period)
    }
}

impl fmt::Debug for Ticker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticker")
            .field("deadline", &self.deadline())
            .field("period", &self.period())
            .finish_non_exhaustive()
    }
}

impl TimerQueue {
    /// A ticker on this queue, whose first tick is at `first`: see [`Ticker::starting_at`].
    pub const fn ticker(&'static self, first: Instant, period: Duration) -> Ticker {
        let period = nanos(period);
        Ticker {
            queue: self,
            next: first,
            period: if period == 0 { 1 } else { period },
        }
    }
}

#[cfg(test)]
mod tests;
