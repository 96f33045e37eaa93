//! A virtual clock, so that the loop that guests run can be run, and tested, in a host process.
//!
//! Time stands still but for [`Skip`], which does not wait: it advances the clock to the next
//! deadline. A minute of sleep takes no time, and each run is the same.
//!
//! The clock of [`init`] is that of the [global queue](TimerQueue::global), which has one owner at a time, here
//! a thread. `cargo test` runs tests side by side, so one that waits panics while another thread has timers in that
//! queue. Run them one after another (`cargo test -- --test-threads=1`, or `cargo nextest run`, which has a
//! process for each), or give each a [`VirtualClock`] and a [`TimerQueue`] of its own. Tests whose tasks and futures
//! are always ready need neither.

use core::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::{
    idle::{Idle, IdleContext},
    time::{Alarm, Clock, Instant, TimerQueue},
};

/// A clock that shows what it is told, with an alarm that goes off when it is told so.
///
/// # Examples
///
/// ```
/// use dormir::{platform::host::VirtualClock, time::{Clock, Instant, TimerQueue}};
///
/// static CLOCK: VirtualClock = VirtualClock::new();
/// static TIMERS: TimerQueue = TimerQueue::new();
///
/// TIMERS.install(&CLOCK, &CLOCK)?;
/// CLOCK.advance_to(Instant::from_nanos(7), &TIMERS);
/// assert_eq!(TIMERS.now(), Instant::from_nanos(7));
/// # Ok::<(), dormir::time::AlreadyInstalled>(())
/// ```
#[derive(Debug)]
pub struct VirtualClock {
    now: AtomicU64,
    alarm: AtomicU64,
}

impl VirtualClock {
    /// A clock at [`Instant::START`].
    ///
    /// # Examples
    ///
    /// ```
    /// use dormir::{platform::host::VirtualClock, time::{Clock, Instant}};
    ///
    /// let clock = VirtualClock::new();
    /// assert_eq!(clock.now(), Instant::START);
    /// assert_eq!(clock.alarm(), None);
    /// ```
    #[must_use]
    pub const fn new() -> Self {
        Self {
            now: AtomicU64::new(0),
            alarm: AtomicU64::new(Instant::NEVER.as_nanos()),
        }
    }

    /// Advances the clock to `to` (it never goes back), and has `queue` interrupted if its alarm was
    /// set to a time that has come.
    ///
    /// # Examples
    ///
    /// ```
    /// use dormir::{platform::host::VirtualClock, time::{Alarm, Instant, TimerQueue}};
    ///
    /// let (clock, timers) = (VirtualClock::new(), TimerQueue::new());
    /// clock.set(Instant::from_nanos(5));
    /// clock.advance_to(Instant::from_nanos(4), &timers);
    /// assert!(timers.is_settled());
    /// clock.advance_to(Instant::from_nanos(6), &timers);
    /// assert!(!timers.is_settled(), "the alarm went off");
    /// ```
    pub fn advance_to(&self, to: Instant, queue: &TimerQueue) {
        self.now.fetch_max(to.as_nanos(), Ordering::SeqCst);
        if self.alarm.load(Ordering::SeqCst) <= self.now.load(Ordering::SeqCst) {
            self.off();
            queue.on_interrupt();
        }
    }

    /// Advances the clock by so many nanoseconds, past its alarm if need be, which stays silent.
    ///
    /// # Examples
    ///
    /// A test in which time passes between two looks at the clock:
    ///
    /// ```
    /// use dormir::{platform::host::VirtualClock, time::{Alarm, Clock, Instant}};
    ///
    /// let clock = VirtualClock::new();
    /// clock.set(Instant::from_nanos(5));
    /// clock.pass(8);
    /// assert_eq!(clock.now(), Instant::from_nanos(8));
    /// assert!(clock.alarm().is_some(), "nobody heard it");
    /// ```
    pub fn pass(&self, nanos: u64) {
        self.now.fetch_add(nanos, Ordering::SeqCst);
    }

    /// What the alarm is set to, if it is.
    ///
    /// # Examples
    ///
    /// ```
    /// use dormir::{platform::host::VirtualClock, time::{Alarm, Instant}};
    ///
    /// let clock = VirtualClock::new();
    /// clock.set(Instant::from_nanos(5));
    /// assert_eq!(clock.alarm(), Some(Instant::from_nanos(5)));
    /// clock.off();
    /// assert_eq!(clock.alarm(), None);
    /// ```
    #[must_use]
    pub fn alarm(&self) -> Option<Instant> {
        let at = Instant::from_nanos(self.alarm.load(Ordering::SeqCst));
        (at != Instant::NEVER).then_some(at)
    }
}

impl Default for VirtualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Instant {
        Instant::from_nanos(self.now.load(Ordering::SeqCst))
    }
}

impl Alarm for VirtualClock {
    fn set(&self, at: Instant) {
        self.alarm.store(at.as_nanos(), Ordering::SeqCst);
    }

    fn off(&self) {
        self.alarm
            .store(Instant::NEVER.as_nanos(), Ordering::SeqCst);
    }
}

static CLOCK: VirtualClock = VirtualClock::new();

/// Gives the global queue a virtual clock. May be called more than once.
///
/// # Panics
///
/// If another clock is installed already.
///
/// # Examples
///
/// ```
/// use core::time::Duration;
/// use dormir::{block_on, platform::host, time::{Instant, Timer}};
///
/// host::init();
/// let start = Instant::now();
/// // No time passes meanwhile but on the virtual clock.
/// block_on(async { Timer::after(Duration::from_secs(3600)).await }, host::Skip);
/// assert_eq!(Instant::now().saturating_duration_since(start), Duration::from_secs(3600));
/// ```
pub fn init() {
    static INSTALLED: spin::Once = spin::Once::new();
    INSTALLED.call_once(|| {
        TimerQueue::global()
            .install(&CLOCK, &CLOCK)
            .expect("platform::host::init goes before any other clock");
    });
}

/// An idle policy that advances the virtual clock of [`init`] to the next deadline.
///
/// # Panics
///
/// `wait` panics when there is nothing to wait for: no deadline, and nothing ready. In a guest that
/// would be a `hlt` which nothing ends.
///
/// # Examples
///
/// ```
/// use core::time::Duration;
/// use dormir::{executor::{Executor, Shared, Up64}, platform::host::{self, Skip}, time::Timer};
///
/// dormir::task! { async fn nap(), pool = 1 { Timer::after(Duration::from_secs(60)).await } }
///
/// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
///
/// host::init();
/// let mut runner = EXECUTOR.enter()?;
/// runner.spawner().spawn_detached(nap())?;
/// runner.run(Skip);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Skip;

impl Idle for Skip {
    fn wait(&mut self, cx: &IdleContext<'_>) {
        if !cx.is_idle() {
            return;
        }
        let until = cx
            .deadline()
            .expect("nothing is ready and no timer is set: this would sleep for good");
        // One nanosecond at least, so that a clock that a test set ahead still moves.
        let next = until.max(CLOCK.now().saturating_add(Duration::from_nanos(1)));
        let timers = TimerQueue::global();
        CLOCK.advance_to(next, timers);
        // With slack the alarm is later than the deadline.
        timers.on_interrupt();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::{block_on, test_support::alone, time::Timer};

    /// Waits as `Skip` does, and counts.
    struct Counted<'a>(&'a mut u32);

    impl Idle for Counted<'_> {
        fn wait(&mut self, cx: &IdleContext<'_>) {
            *self.0 += 1;
            Skip.wait(cx);
        }
    }

    #[test]
    fn a_clock_by_default_is_a_new_one() {
        let (default, timers) = (VirtualClock::default(), TimerQueue::new());
        assert_eq!(default.alarm(), None);
        default.advance_to(Instant::from_nanos(1), &timers);
        assert!(timers.is_settled(), "no alarm was set, so none goes off");
    }

    /// The alarm is later than the deadline then.
    #[test]
    fn a_sleep_with_slack_is_one_wait() {
        alone(|| {
            init();
            TimerQueue::global().set_slack(Duration::from_secs(1));
            let mut waits = 0;
            block_on(Timer::after(Duration::from_millis(5)), Counted(&mut waits));
            assert_eq!(waits, 1);
            assert_eq!(Instant::now(), Instant::from_nanos(5_000_000));
        });
    }
}
