//! Ticks at regular instants.

use core::{fmt, time::Duration};

use super::{Instant, TimerQueue, instant::nanos};

/// Ticks at `start`, `start + period`, `start + 2 * period` and so on, without drift: however late a tick
/// is taken, those after it stay where they were.
///
/// Ticks that nobody took in time are not given later, one after the other: the next call gives the latest
/// one, and [`next`](Self::next) says how many it left out.
///
/// # What others do
///
/// embassy's `Ticker`, and Tokio's `Interval` unless it is told otherwise, give late ticks one by one, at
/// once, until they have caught up. Who wants that, repeats the work `missed + 1` times. This one does what
/// Tokio calls `MissedTickBehavior::Skip`, and counts. Tokio's first tick is at once; here, as with embassy,
/// it is one period after the making: `Ticker::starting_at(Instant::now(), period)` has the other.
///
/// # The ends of the range
///
/// A period of zero counts as one nanosecond, the unit of the clock. One beyond the range of [`Instant`]
/// never passes, and so does the tick that would be there: it saturates at [`Instant::NEVER`].
///
/// A period that is shorter than the work between two ticks leaves `next` always ready. As with any future
/// that is, the task is to let others have their turn: [`yield_now`](crate::executor::yield_now).
///
/// # Contexts
///
/// As with [`Timer`](super::Timer): any but an NMI or machine-check handler.
///
/// # Examples
///
/// ```
/// use core::time::Duration;
/// use dormir::{block_on, time::{Instant, Ticker}};
///
/// # dormir::platform::host::init();
/// # let idle = dormir::platform::host::Skip;
/// # // In a guest: `let idle = dormir::idle::Halt;`
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
/// block_on(sample(3), idle);
/// # assert_eq!(Instant::now(), Instant::from_nanos(30_000_000));
/// ```
///
/// As a stream, for what takes one: `futures_util::stream::unfold(ticker, |mut ticker| async { let missed =
/// ticker.next().await; Some((missed, ticker)) })`.
#[must_use = "a ticker does nothing until `next` is awaited"]
pub struct Ticker {
    queue: &'static TimerQueue,
    next: Instant,
    /// In nanoseconds; not zero, or the ticks up to an instant could not be counted.
    period: u64,
}

impl Ticker {
    /// A ticker whose first tick is one period after this call, on the global queue.
    ///
    /// # Panics
    ///
    /// If no clock is installed.
    ///
    /// # Examples
    ///
    /// ```
    /// use core::time::Duration;
    /// use dormir::{block_on, time::{Instant, Ticker}};
    ///
    /// # dormir::platform::host::init();
    /// # let idle = dormir::platform::host::Skip;
    /// # // In a guest: `let idle = dormir::idle::Halt;`
    /// let start = Instant::now();
    /// let mut ticker = Ticker::every(Duration::from_secs(1));
    /// block_on(ticker.next(), idle);
    /// assert!(start.elapsed() >= Duration::from_secs(1));
    /// ```
    pub fn every(period: Duration) -> Self {
        Self::starting_at(Instant::now().saturating_add(period), period)
    }

    /// A ticker whose first tick is at `first`, on the global queue: at once where that has passed.
    ///
    /// Where `first` lies more than a period back, the ticks since then count as missed.
    ///
    /// # Examples
    ///
    /// Two tickers of one period, half a period apart:
    ///
    /// ```
    /// use core::time::Duration;
    /// use dormir::time::{Instant, Ticker};
    ///
    /// # dormir::platform::host::init();
    /// let period = Duration::from_millis(10);
    /// let start = Instant::now();
    /// let one = Ticker::starting_at(start, period);
    /// let other = Ticker::starting_at(start.saturating_add(period / 2), period);
    /// assert!(one.deadline() < other.deadline());
    /// ```
    pub fn starting_at(first: Instant, period: Duration) -> Self {
        TimerQueue::global().ticker(first, period)
    }

    /// Waits for the next tick, and gives how many were missed.
    ///
    /// That is the number of ticks that passed after the one that was given last (or, at the first call,
    /// from the first one on) and before the one that is given now, by the clock at the end of the wait. 0
    /// means that none was missed. As many ticks as `missed + 1`, summed over all calls, have passed.
    ///
    /// # Cancel safety
    ///
    /// A tick that was awaited and dropped is not lost: the ticker moves on when a tick is given, not
    /// before. So it may be one branch of a `select` in a loop. Dropping the future leaves nothing behind.
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
    ///
    /// # dormir::platform::host::init();
    /// # let idle = dormir::platform::host::Skip;
    /// # // In a guest: `let idle = dormir::idle::Halt;`
    /// let mut ticker = Ticker::every(Duration::from_millis(10));
    /// block_on(async {
    ///     assert_eq!(ticker.next().await, 0);
    ///     // Work that lasts from the first tick until after the fourth.
    ///     Timer::after(Duration::from_millis(35)).await;
    ///     assert_eq!(ticker.next().await, 2, "the fourth is given; the second and third were missed");
    ///     assert_eq!(ticker.next().await, 0, "the fifth comes when it is due");
    /// }, idle);
    /// ```
    ///
    /// No tick is lost where another branch ends first:
    ///
    /// ```
    /// use core::time::Duration;
    /// use dormir::{block_on, time::{Instant, Ticker, with_timeout}};
    ///
    /// # dormir::platform::host::init();
    /// # let idle = dormir::platform::host::Skip;
    /// # // In a guest: `let idle = dormir::idle::Halt;`
    /// let start = Instant::now();
    /// let mut ticker = Ticker::every(Duration::from_millis(10));
    /// block_on(async {
    ///     assert!(with_timeout(Duration::from_millis(7), ticker.next()).await.is_err());
    ///     assert_eq!(ticker.next().await, 0);
    /// }, idle);
    /// # assert_eq!(start.elapsed(), Duration::from_millis(10));
    /// ```
    pub async fn next(&mut self) -> u64 {
        self.queue.timer(self.next).await;
        self.take(self.queue.now())
    }

    /// Goes on to the first tick after `now`, and gives how many lie between the one that was due and the
    /// last that has passed.
    fn take(&mut self, now: Instant) -> u64 {
        let due = self.next.as_nanos();
        let missed = now.as_nanos().saturating_sub(due) / self.period;
        // The last tick that has passed is not later than `now`, so this does not overflow. The next may.
        let last = due + missed * self.period;
        self.next = Instant::from_nanos(last.saturating_add(self.period));
        missed
    }

    /// Starts anew: the next tick is one period after this call, and none before it counts as missed.
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
    ///
    /// # dormir::platform::host::init();
    /// # let idle = dormir::platform::host::Skip;
    /// # // In a guest: `let idle = dormir::idle::Halt;`
    /// let mut ticker = Ticker::every(Duration::from_millis(10));
    /// block_on(async {
    ///     Timer::after(Duration::from_secs(1)).await;
    ///     ticker.reset();
    ///     assert_eq!(ticker.next().await, 0);
    /// }, idle);
    /// ```
    pub fn reset(&mut self) {
        self.next = Instant::from_nanos(self.queue.now().as_nanos().saturating_add(self.period));
    }

    /// Starts anew: the next tick is at `first`, at once where that has passed.
    ///
    /// (embassy's function of this name has the next tick one period after that.)
    ///
    /// # Examples
    ///
    /// ```
    /// use core::time::Duration;
    /// use dormir::time::{Instant, Ticker};
    ///
    /// # dormir::platform::host::init();
    /// let mut ticker = Ticker::every(Duration::from_millis(10));
    /// // Paused, until it is reset again.
    /// ticker.reset_at(Instant::NEVER);
    /// assert_eq!(ticker.deadline(), Instant::NEVER);
    /// ```
    pub const fn reset_at(&mut self, first: Instant) {
        self.next = first;
    }

    /// When the next tick is; [`Instant::NEVER`] if there is none.
    ///
    /// # Examples
    ///
    /// ```
    /// use core::time::Duration;
    /// use dormir::time::{Instant, Ticker};
    ///
    /// # dormir::platform::host::init();
    /// let ticker = Ticker::starting_at(Instant::from_nanos(7), Duration::from_secs(1));
    /// assert_eq!(ticker.deadline(), Instant::from_nanos(7));
    /// ```
    #[must_use]
    pub const fn deadline(&self) -> Instant {
        self.next
    }

    /// The time from tick to tick: what it was made with, but one nanosecond at least, and 2⁶⁴ - 1 at most.
    ///
    /// # Examples
    ///
    /// ```
    /// use core::time::Duration;
    /// use dormir::time::{Instant, Ticker};
    ///
    /// let ticker = Ticker::starting_at(Instant::START, Duration::from_secs(1));
    /// assert_eq!(ticker.period(), Duration::from_secs(1));
    /// let ticker = Ticker::starting_at(Instant::START, Duration::ZERO);
    /// assert_eq!(ticker.period(), Duration::from_nanos(1));
    /// ```
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
    ///
    /// # Examples
    ///
    /// ```
    /// use core::time::Duration;
    /// use dormir::{platform::host::VirtualClock, time::{Instant, TimerQueue}};
    ///
    /// static CLOCK: VirtualClock = VirtualClock::new();
    /// static TIMERS: TimerQueue = TimerQueue::new();
    ///
    /// TIMERS.install(&CLOCK, &CLOCK)?;
    /// let ticker = TIMERS.ticker(TIMERS.now(), Duration::from_secs(1));
    /// assert_eq!(ticker.deadline(), Instant::START);
    /// # Ok::<(), dormir::time::AlreadyInstalled>(())
    /// ```
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
