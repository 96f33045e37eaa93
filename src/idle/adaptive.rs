//! Spinning before a halt.

use core::fmt;

use super::{Idle, SpinBound, spin::spin};
use crate::time::{Instant, TimerQueue};

/// Spins while a wake is likely to come soon, then waits by another policy, usually `Halt`.
///
/// A wake that comes while it spins costs no halt and no exit from the VM. How long it spins it learns
/// from how long the last waits were, see [`SpinBound`]: where they are all short it spins up to
/// 200 µs, where they are long not at all.
///
/// The spin delays no timer: interrupts come in meanwhile, and a deadline that has passed ends it, by
/// its interrupt or by the clock, whichever is first.
///
/// It reads the clock at the beginning of a wait, once for each look while it spins, and at the end of
/// a wait that the other policy has ended. Where there is no clock, it is the other policy.
///
/// # Contexts
///
/// Interrupts are let in while it spins, also where they were masked before, as `Halt` does: it never
/// spins blind to what it waits for. (That needs the feature `bare`; without it, the flag stays as it
/// is.) The last look before a halt is that of the other policy, with interrupts masked or not as they
/// were.
///
/// # Examples
///
/// ```
/// # #[cfg(target_os = "none")] dormir_guest::entry!(main);
/// # #[cfg(not(target_os = "none"))] use dormir::platform::host::Skip as Halt;
/// # #[cfg(not(target_os = "none"))] dormir::platform::host::init();
/// use core::time::Duration;
/// # #[cfg(target_os = "none")]
/// use dormir::idle::Halt;
/// use dormir::{block_on, idle::Adaptive, time::Timer};
///
/// block_on(
///     async { Timer::after(Duration::from_micros(100)).await },
///     Adaptive::new(Halt),
/// );
/// ```
#[derive(Clone, Copy)]
pub struct Adaptive<I> {
    idle: I,
    bound: SpinBound,
    timers: &'static TimerQueue,
    /// When the wait began that an interrupt for nobody has cut short.
    since: Option<Instant>,
}

impl<I> Adaptive<I> {
    /// Spins as a default [`SpinBound`] says, then waits by `idle`. The clock is that of the
    /// [global queue](TimerQueue::global).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(target_os = "none")] dormir_guest::entry!(main);
    /// # #[cfg(not(target_os = "none"))] use dormir::platform::host::Skip as Halt;
    /// # #[cfg(target_os = "none")]
    /// use dormir::idle::Halt;
    /// use dormir::idle::Adaptive;
    ///
    /// # #[cfg(not(target_os = "none"))] dormir::platform::host::init();
    /// let idle = Adaptive::new(Halt);
    /// assert_eq!(dormir::block_on(async { 6 * 7 }, idle), 42);
    /// ```
    pub fn new(idle: I) -> Self {
        Self {
            idle,
            bound: SpinBound::default(),
            timers: TimerQueue::global(),
            since: None,
        }
    }

    /// Spins as `bound` says.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(target_os = "none")] dormir_guest::entry!(main);
    /// # #[cfg(not(target_os = "none"))] use dormir::platform::host::Skip as Halt;
    /// use core::time::Duration;
    /// # #[cfg(target_os = "none")]
    /// use dormir::idle::Halt;
    /// use dormir::idle::{Adaptive, SpinBound};
    ///
    /// let idle = Adaptive::new(Halt).with_bound(SpinBound::new(Duration::from_micros(20)));
    /// ```
    #[must_use]
    pub fn with_bound(mut self, bound: SpinBound) -> Self {
        self.bound = bound;
        self
    }

    /// Takes the clock of `timers`: the queue that the executor serves, if it is not the global one.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(target_os = "none")] dormir_guest::entry!(main);
    /// # #[cfg(not(target_os = "none"))] use dormir::platform::host::Skip as Halt;
    /// # #[cfg(target_os = "none")]
    /// use dormir::idle::Halt;
    /// use dormir::{executor::{Executor, Shared, Up64}, idle::Adaptive, time::TimerQueue};
    ///
    /// static TIMERS: TimerQueue = TimerQueue::new();
    /// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
    ///
    /// let mut runner = EXECUTOR.enter()?.with_timers(&TIMERS);
    /// runner.run(Adaptive::new(Halt).with_timers(&TIMERS));
    /// # Ok::<(), dormir::executor::AlreadyEntered>(())
    /// ```
    #[must_use]
    pub fn with_timers(mut self, timers: &'static TimerQueue) -> Self {
        self.timers = timers;
        self
    }

    /// The bound that it has learnt.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(target_os = "none")] dormir_guest::entry!(main);
    /// # #[cfg(not(target_os = "none"))] use dormir::platform::host::Skip as Halt;
    /// use core::time::Duration;
    /// # #[cfg(target_os = "none")]
    /// use dormir::idle::Halt;
    /// use dormir::idle::Adaptive;
    ///
    /// assert_eq!(Adaptive::new(Halt).bound().get(), Duration::ZERO);
    /// ```
    #[must_use]
    pub const fn bound(&self) -> &SpinBound {
        &self.bound
    }
}

impl<I: Default> Default for Adaptive<I> {
    fn default() -> Self {
        Self::new(I::default())
    }
}

impl<I: fmt::Debug> fmt::Debug for Adaptive<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Adaptive")
            .field("idle", &self.idle)
            .field("bound", &self.bound)
            .finish_non_exhaustive()
    }
}

impl<I: Idle> Idle for Adaptive<I> {
    fn wait(&mut self, until: Option<Instant>, idle: &dyn Fn() -> bool) {
        if !self.timers.has_clock() {
            return self.idle.wait(until, idle);
        }
        let start = self.since.take().unwrap_or_else(|| self.timers.now());
        let bound = self.bound.get();
        // What the spin has seen to its end was not longer than the bound: there is nothing to learn.
        if !bound.is_zero() && spin(self.timers, until, start.saturating_add(bound), idle) {
            return;
        }
        self.idle.wait(until, idle);
        if idle() {
            // The wait goes on, without another spin. (If a wake comes before the executor looks, the
            // next wait is taken for a longer one than it is: the bound shrinks once too often.)
            self.since = Some(start);
        } else {
            let wait = self.timers.now().saturating_since(start);
            self.bound.wait_was(wait);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::idle::test_clock::{TICK, TickingClock, ticking};
    use core::time::Duration;
    use std::cell::Cell;

    /// A wait in the tests: there is work once the clock has reached `ready`.
    struct Scene {
        timers: &'static TimerQueue,
        clock: &'static TickingClock,
        /// How often the other policy waited.
        halts: Cell<u32>,
        ready: Cell<Instant>,
    }

    impl Scene {
        fn new() -> Self {
            let (timers, clock) = ticking();
            Self {
                timers,
                clock,
                halts: Cell::new(0),
                ready: Cell::new(Instant::NEVER),
            }
        }

        fn adaptive(&self, ticks: u64) -> Adaptive<HaltUntil<'_>> {
            let max = Duration::from_nanos(ticks * TICK);
            let bound = SpinBound::new(max).with_growth(max / 4, 2);
            let halt = HaltUntil {
                scene: self,
                interrupt: Instant::NEVER,
            };
            Adaptive::new(halt)
                .with_timers(self.timers)
                .with_bound(bound)
        }

        /// One that has learnt to spin for 400 ticks, which is its maximum.
        fn adaptive_that_spins(&self) -> Adaptive<HaltUntil<'_>> {
            let mut idle = self.adaptive(400);
            for _ in 0..3 {
                self.wait(&mut idle, 399);
            }
            assert_eq!(ticks(idle.bound()), 400);
            idle
        }

        /// One wait that is woken so many ticks after it has begun; how often it halted.
        fn wait(&self, idle: &mut Adaptive<HaltUntil<'_>>, ticks: u64) -> u32 {
            self.ready.set(self.after(ticks));
            let before = self.halts.get();
            idle.wait(None, &|| self.is_idle());
            self.halts.get() - before
        }

        fn after(&self, ticks: u64) -> Instant {
            Instant::from_nanos(self.clock.shown().as_nanos() + ticks * TICK)
        }

        fn is_idle(&self) -> bool {
            self.clock.shown() < self.ready.get() && self.timers.is_settled()
        }
    }

    /// Sleeps until there is work, or an interrupt comes.
    struct HaltUntil<'a> {
        scene: &'a Scene,
        interrupt: Instant,
    }

    impl Idle for HaltUntil<'_> {
        fn wait(&mut self, until: Option<Instant>, idle: &dyn Fn() -> bool) {
            if idle() {
                let until = until.unwrap_or(Instant::NEVER);
                let end = self.scene.ready.get().min(until).min(self.interrupt);
                assert_ne!(end, Instant::NEVER, "sleeps for good");
                self.interrupt = Instant::NEVER;
                self.scene.clock.show(end);
                if end == until {
                    self.scene.timers.on_interrupt();
                }
                self.scene.halts.set(self.scene.halts.get() + 1);
            }
        }
    }

    fn ticks(bound: &SpinBound) -> u64 {
        bound.get().as_nanos() as u64 / TICK
    }

    #[test]
    fn it_halts_first_and_then_spins_as_long_as_wakes_come_soon() {
        let scene = Scene::new();
        let mut idle = scene.adaptive(400);
        let halts: std::vec::Vec<u32> = (0..4).map(|_| scene.wait(&mut idle, 150)).collect();
        assert_eq!(halts, [1, 1, 0, 0], "with bounds of 0, 100, 200, 200");
        assert_eq!(ticks(idle.bound()), 200);
    }

    #[test]
    fn long_waits_have_it_halt_at_once() {
        let scene = Scene::new();
        let mut idle = scene.adaptive_that_spins();
        for expected in [200, 100, 50] {
            assert_eq!(scene.wait(&mut idle, 1000), 1);
            assert_eq!(ticks(idle.bound()), expected);
        }
        for _ in 0..30 {
            scene.wait(&mut idle, 1000);
        }
        let reads = scene.clock.reads();
        assert_eq!(scene.wait(&mut idle, 1000), 1);
        assert_eq!(scene.clock.reads() - reads, 2, "it did not spin");
    }

    #[test]
    fn work_that_is_there_already_is_neither_waited_for_nor_halted_over() {
        let scene = Scene::new();
        assert_eq!(scene.wait(&mut scene.adaptive(400), 0), 0, "halted");
        let mut idle = scene.adaptive_that_spins();
        let reads = scene.clock.reads();
        assert_eq!(scene.wait(&mut idle, 0), 0);
        assert_eq!(scene.clock.reads() - reads, 1, "the start of the wait");
    }

    /// A deadline within the spin ends it when it has passed, without a halt and without an interrupt.
    #[test]
    fn a_deadline_ends_the_spin() {
        let scene = Scene::new();
        let mut idle = scene.adaptive_that_spins();
        let halts = scene.halts.get();
        scene.ready.set(Instant::NEVER);
        let deadline = scene.after(20);
        idle.wait(Some(deadline), &|| scene.is_idle());
        assert_eq!(scene.halts.get(), halts);
        assert_eq!(scene.clock.shown(), deadline, "neither early nor late");
        assert!(
            !scene.timers.is_settled(),
            "the queue will look at its clock"
        );
    }

    /// Interrupts that wake nobody neither begin a spin anew nor make a long wait look like short ones.
    #[test]
    fn interrupts_for_nobody_are_part_of_one_wait() {
        let scene = Scene::new();
        let mut idle = scene.adaptive_that_spins();
        let (reads, halts) = (scene.clock.reads(), scene.halts.get());
        scene.ready.set(scene.after(1000));
        for interrupt in [500, 100, 100] {
            idle.idle.interrupt = scene.after(interrupt);
            idle.wait(None, &|| scene.is_idle());
            assert!(scene.is_idle());
        }
        idle.wait(None, &|| scene.is_idle());
        assert!(!scene.is_idle());
        assert_eq!(scene.halts.get() - halts, 4);
        // 400 in the spin, one for each wait's look whether it is over, the start, the end.
        assert!(
            (401..=406).contains(&(scene.clock.reads() - reads)),
            "it spun once, for the bound"
        );
        assert_eq!(
            ticks(idle.bound()),
            200,
            "one wait of more than the maximum"
        );
    }

    /// No clock is installed in this queue.
    #[test]
    fn without_a_clock_it_is_the_other_policy() {
        struct Count(u32);
        impl Idle for Count {
            fn wait(&mut self, until: Option<Instant>, _idle: &dyn Fn() -> bool) {
                assert_eq!(until, None);
                self.0 += 1;
            }
        }
        static TIMERS: TimerQueue = TimerQueue::new();
        let mut idle = Adaptive::new(Count(0)).with_timers(&TIMERS);
        idle.wait(None, &|| true);
        idle.wait(None, &|| false);
        assert_eq!(idle.idle.0, 2);
    }
}
