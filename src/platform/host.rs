//! A virtual clock, so that tests in a host process can run the same loop as guests.
//!
//! Time stands still, except that [`Skip`] advances the clock to the next deadline in place of a
//! wait. A minute of sleep takes no time, and each run is the same.
//!
//! [`init`] installs the clock of the [global queue](TimerQueue::global), which has one owner at a
//! time, here a thread. `cargo test` runs tests in parallel, and a test that waits panics while
//! another thread serves that queue. So run tests one after another
//! (`cargo test -- --test-threads=1`, or `cargo nextest run`, which runs each in a process), or
//! give each test a [`VirtualClock`] and a [`TimerQueue`] of its own. Tests whose tasks and futures
//! are always ready need neither.

use core::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::{
    idle::{Idle, IdleContext},
    time::{Alarm, Clock, Instant, TimerQueue},
};

/// A clock and an alarm that move only when they are told to.
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
    #[must_use]
    pub const fn new() -> Self {
        Self {
            now: AtomicU64::new(0),
            alarm: AtomicU64::new(Instant::NEVER.as_nanos()),
        }
    }

    /// Advances the clock to `to` (it never goes back). If the alarm's time has come, it interrupts
    /// `queue`.
    pub fn advance_to(&self, to: Instant, queue: &TimerQueue) {
        self.now.fetch_max(to.as_nanos(), Ordering::SeqCst);
        if self.alarm.load(Ordering::SeqCst) <= self.now.load(Ordering::SeqCst) {
            self.off();
            queue.on_interrupt();
        }
    }

    /// Advances the clock by `nanos` nanoseconds without an interrupt, even past its alarm: for
    /// tests in which time passes between two reads of the clock.
    pub fn pass(&self, nanos: u64) {
        self.now.fetch_add(nanos, Ordering::SeqCst);
    }

    /// The instant that the alarm is set to, if it is on.
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

/// Installs a virtual clock in the global queue. May be called more than once.
///
/// # Panics
///
/// If another clock is already installed.
///
/// # Examples
///
/// ```
/// use core::time::Duration;
/// use dormir::{block_on, platform::host, time::{Instant, Timer}};
///
/// host::init();
/// let start = Instant::now();
/// // Takes no real time.
/// block_on(async { Timer::after(Duration::from_secs(3600)).await }, host::Skip);
/// assert_eq!(Instant::now().saturating_duration_since(start), Duration::from_secs(3600));
/// ```
pub fn init() {
    static INSTALLED: spin::Once = spin::Once::new();
    INSTALLED.call_once(|| {
        TimerQueue::global()
            .install(&CLOCK, &CLOCK)
            .expect("`platform::host::init` must install the first clock");
    });
}

/// An idle policy that advances the virtual clock of [`init`] to the next deadline.
///
/// # Panics
///
/// `wait` panics if there is nothing to wait for: nothing is ready, and there is no deadline. In a
/// guest, that would be a `hlt` that nothing ends.
///
/// # Examples
///
/// ```
/// use core::time::Duration;
/// use dormir::{executor::{Executor, Shared, Up64}, platform::host::{self, Skip}, time::Timer};
///
/// dormir::tasks! { async fn nap(), pool = 1 { Timer::after(Duration::from_secs(60)).await } }
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
            .expect("nothing is ready and no timer is set: this wait would never end");
        // At least one nanosecond, so that the clock moves also if the deadline has passed.
        let next = until.max(CLOCK.now().saturating_add(Duration::from_nanos(1)));
        let timers = TimerQueue::global();
        CLOCK.advance_to(next, timers);
        // With slack, the alarm is later than the deadline.
        timers.on_interrupt();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::{block_on, test_support::alone, time::Timer};

    /// Waits by `Skip`, and counts.
    struct Counted<'a>(&'a mut u32);

    impl Idle for Counted<'_> {
        fn wait(&mut self, cx: &IdleContext<'_>) {
            *self.0 += 1;
            Skip.wait(cx);
        }
    }

    #[test]
    fn a_default_clock_is_a_new_one() {
        let (default, timers) = (VirtualClock::default(), TimerQueue::new());
        assert_eq!(default.alarm(), None);
        default.advance_to(Instant::from_nanos(1), &timers);
        assert!(timers.is_settled(), "no alarm was set, so none goes off");
    }

    /// Though the alarm is later than the deadline.
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
