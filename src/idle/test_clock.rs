//! A clock for tests of spins: each read advances it.

use std::{
    boxed::Box,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::time::{Alarm, Clock, Instant, TimerQueue};

/// The nanoseconds by which each read advances the clock.
pub(super) const TICK: u64 = 1000;

#[derive(Default)]
pub(super) struct TickingClock {
    now: AtomicU64,
    reads: AtomicU64,
}

impl TickingClock {
    /// The result of the next read, less the tick.
    pub(super) fn shown(&self) -> Instant {
        Instant::from_nanos(self.now.load(Ordering::Relaxed))
    }

    pub(super) fn show(&self, now: Instant) {
        self.now.fetch_max(now.as_nanos(), Ordering::Relaxed);
    }

    pub(super) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }
}

impl Clock for TickingClock {
    fn now(&self) -> Instant {
        self.reads.fetch_add(1, Ordering::Relaxed);
        Instant::from_nanos(self.now.fetch_add(TICK, Ordering::Relaxed) + TICK)
    }
}

/// An alarm that never interrupts.
impl Alarm for TickingClock {
    fn set(&self, _at: Instant) {}

    fn off(&self) {}
}

/// A new queue with such a clock.
pub(super) fn ticking() -> (&'static TimerQueue, &'static TickingClock) {
    let clock: &TickingClock = Box::leak(Box::default());
    let timers: &TimerQueue = Box::leak(Box::default());
    timers.install(clock, clock).expect("the first clock");
    (timers, clock)
}
