//! A virtual clock, so that the loop that guests run can be run, and tested, in a host process.
//!
//! Time stands still but for [`Skip`], which does not wait: it advances the clock to the next
//! deadline. A minute of sleep takes no time, and each run is the same.

use core::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::{
    idle::Idle,
    time::{Alarm, Clock, Instant, TimerQueue},
};

/// A clock that shows what it is told, with an alarm that goes off when it is told so.
#[derive(Debug, Default)]
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

    /// Advances the clock to `to` (it never goes back), and has `queue` interrupted if its alarm was
    /// set to a time that has come.
    pub fn advance_to(&self, to: Instant, queue: &TimerQueue) {
        self.now.fetch_max(to.as_nanos(), Ordering::SeqCst);
        if self.alarm.load(Ordering::SeqCst) <= self.now.load(Ordering::SeqCst) {
            self.off();
            queue.on_interrupt();
        }
    }

    /// Advances the clock by so many nanoseconds, past its alarm if need be, which stays silent.
    pub fn pass(&self, nanos: u64) {
        self.now.fetch_add(nanos, Ordering::SeqCst);
    }

    /// What the alarm is set to, if it is.
    #[must_use]
    pub fn alarm(&self) -> Option<Instant> {
        let at = Instant::from_nanos(self.alarm.load(Ordering::SeqCst));
        (at != Instant::NEVER).then_some(at)
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
#[derive(Clone, Copy, Debug, Default)]
pub struct Skip;

impl Idle for Skip {
    fn wait(&mut self, until: Option<Instant>, idle: &dyn Fn() -> bool) {
        if !idle() {
            return;
        }
        let until = until.expect("nothing is ready and no timer is set: this would sleep for good");
        // One nanosecond at least, so that a clock that a test set ahead still moves.
        let next = until.max(CLOCK.now().saturating_add(Duration::from_nanos(1)));
        CLOCK.advance_to(next, TimerQueue::global());
    }
}
