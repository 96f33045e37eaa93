//! A policy that counts the waits of another one.

use core::time::Duration;

use super::{Idle, IdleContext};

/// Wraps another policy, and counts its waits and the time spent in them.
///
/// It reads the clock of the loop's timer queue twice for each wait. If that has no clock, it only
/// counts the waits.
///
/// # Examples
///
/// ```
/// use core::time::Duration;
/// use dormir::{block_on, idle::Metered, time::Timer};
/// use dormir::platform::host::{self, Skip};
///
/// host::init(); // A virtual clock, for the host. A guest waits by `idle::Halt`.
/// let mut idle = Metered::new(Skip);
/// block_on(async { Timer::after(Duration::from_secs(1)).await }, &mut idle);
/// println!("{} waits took {:?}", idle.waits(), idle.waited());
/// # assert_eq!((idle.waits(), idle.waited()), (1, Duration::from_secs(1)));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Metered<I> {
    idle: I,
    waits: u64,
    waited: Duration,
}

impl<I> Metered<I> {
    /// Counts the waits of `idle`.
    pub const fn new(idle: I) -> Self {
        Self {
            idle,
            waits: 0,
            waited: Duration::ZERO,
        }
    }

    /// The number of waits, including those that ended at once.
    #[must_use]
    pub const fn waits(&self) -> u64 {
        self.waits
    }

    /// The time spent in all waits.
    #[must_use]
    pub const fn waited(&self) -> Duration {
        self.waited
    }
}

impl<I: Idle> Idle for Metered<I> {
    fn wait(&mut self, cx: &IdleContext<'_>) {
        let timers = cx.timers();
        let start = timers.has_clock().then(|| timers.now());
        self.idle.wait(cx);
        self.waits += 1;
        if let Some(start) = start {
            self.waited += timers.now().saturating_duration_since(start);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{platform::host::VirtualClock, test_support::leak, time::TimerQueue};

    /// Waits for five nanoseconds.
    struct Wait(&'static VirtualClock);

    impl Idle for Wait {
        fn wait(&mut self, _cx: &IdleContext<'_>) {
            self.0.pass(5);
        }
    }

    /// As a loop that is given a reference does.
    fn wait_by(mut idle: impl Idle, timers: &TimerQueue) {
        idle.wait(&IdleContext::new(timers, None, &|| true));
    }

    #[test]
    fn waits_are_counted_and_with_a_clock_measured() {
        let (timers, clock) = (leak(TimerQueue::new()), leak(VirtualClock::new()));
        let mut idle = Metered::new(Wait(clock));
        wait_by(&mut idle, timers);
        assert_eq!((idle.waits(), idle.waited()), (1, Duration::ZERO));
        timers.install(clock, clock).expect("the first clock");
        wait_by(&mut idle, timers);
        wait_by(&mut idle, timers);
        assert_eq!((idle.waits(), idle.waited()), (3, Duration::from_nanos(10)));
        assert_eq!(timers.now().as_nanos(), 15, "the other policy waited");
    }
}
