//! A policy that spins before it waits by another one.

use super::{Idle, IdleContext, SpinBound, spin::spin};
use crate::time::Instant;

/// Spins while a wake is likely to come soon, then waits by another policy, usually `Halt`.
///
/// A wake that comes while it spins costs no halt and no exit from the VM. It learns how long to
/// spin from the length of the last waits, see [`SpinBound`]: up to 200 µs if they are all short,
/// not at all if they are long.
///
/// The spin delays no timer: interrupts are unmasked meanwhile, and the deadline ends it, by the
/// alarm's interrupt or by the clock, whichever comes first.
///
/// It reads the clock at the beginning of a wait, once for each check while it spins, and at the
/// end of a wait by the other policy. If the loop's timer queue has no clock, it waits by the other
/// policy only.
///
/// # Contexts
///
/// Interrupts are unmasked while it spins, also if they were masked before, as with `Halt`: it
/// could not see what it waits for otherwise. (That needs the feature `bare`; without it, the flag
/// stays as it is.) The other policy takes the last look before a halt, and is called with the
/// interrupt flag as it was.
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
#[derive(Clone, Copy, Debug, Default)]
pub struct Adaptive<I> {
    idle: I,
    bound: SpinBound,
    /// The beginning of a wait that an interrupt ended without a wake: the wait goes on.
    since: Option<Instant>,
}

impl<I> Adaptive<I> {
    /// Spins by a default [`SpinBound`], then waits by `idle`.
    pub fn new(idle: I) -> Self {
        Self {
            idle,
            bound: SpinBound::default(),
            since: None,
        }
    }

    /// Sets the bound of the spin.
    #[must_use]
    pub fn with_bound(mut self, bound: SpinBound) -> Self {
        self.bound = bound;
        self
    }

    /// The bound, as learnt so far.
    #[must_use]
    pub const fn bound(&self) -> &SpinBound {
        &self.bound
    }
}

impl<I: Idle> Idle for Adaptive<I> {
    fn wait(&mut self, cx: &IdleContext<'_>) {
        let timers = cx.timers();
        if !timers.has_clock() {
            return self.idle.wait(cx);
        }
        let start = self.since.take().unwrap_or_else(|| timers.now());
        let bound = self.bound.get();
        // A wait that ends within the spin is not longer than the bound: there is nothing to learn.
        if !bound.is_zero() && spin(cx, start.saturating_add(bound)) {
            return;
        }
        self.idle.wait(cx);
        if cx.is_idle() {
            // The wait goes on, without another spin. (If a wake comes before the run loop's next
            // check, the next wait counts as longer than it is: the bound shrinks once too often.)
            self.since = Some(start);
        } else {
            let wait = timers.now().saturating_duration_since(start);
            self.bound.wait_was(wait);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        idle::test_clock::{TICK, TickingClock, ticking},
        time::TimerQueue,
    };
    use core::time::Duration;
    use std::cell::Cell;

    /// A wait in a test: there is work once the clock has reached `ready`.
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
            Adaptive::new(halt).with_bound(bound)
        }

        /// A policy that has learnt to spin for 400 ticks, which is its maximum.
        fn adaptive_that_spins(&self) -> Adaptive<HaltUntil<'_>> {
            let mut idle = self.adaptive(400);
            for _ in 0..3 {
                self.wait(&mut idle, 399);
            }
            assert_eq!(ticks(idle.bound()), 400);
            idle
        }

        /// Does one wait that is woken `ticks` after it has begun. Returns how often it halted.
        fn wait(&self, idle: &mut Adaptive<HaltUntil<'_>>, ticks: u64) -> u32 {
            self.ready.set(self.after(ticks));
            let before = self.halts.get();
            self.wait_until(idle, None);
            self.halts.get() - before
        }

        fn wait_until(&self, idle: &mut impl Idle, deadline: Option<Instant>) {
            let is_idle = || self.is_idle();
            idle.wait(&IdleContext::new(self.timers, deadline, &is_idle));
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
        fn wait(&mut self, cx: &IdleContext<'_>) {
            if cx.is_idle() {
                let until = cx.deadline().unwrap_or(Instant::NEVER);
                let end = self.scene.ready.get().min(until).min(self.interrupt);
                assert_ne!(end, Instant::NEVER, "nothing ends this sleep");
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
    fn after_long_waits_it_halts_at_once() {
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
    fn work_that_is_already_there_needs_no_wait_and_no_halt() {
        let scene = Scene::new();
        assert_eq!(scene.wait(&mut scene.adaptive(400), 0), 0, "halted");
        let mut idle = scene.adaptive_that_spins();
        let reads = scene.clock.reads();
        assert_eq!(scene.wait(&mut idle, 0), 0);
        assert_eq!(scene.clock.reads() - reads, 1, "the start of the wait");
    }

    /// A deadline that passes during the spin ends it, without a halt and without an interrupt.
    #[test]
    fn a_deadline_ends_the_spin() {
        let scene = Scene::new();
        let mut idle = scene.adaptive_that_spins();
        let halts = scene.halts.get();
        scene.ready.set(Instant::NEVER);
        let deadline = scene.after(20);
        scene.wait_until(&mut idle, Some(deadline));
        assert_eq!(scene.halts.get(), halts);
        assert_eq!(scene.clock.shown(), deadline, "neither early nor late");
        assert!(
            !scene.timers.is_settled(),
            "the queue will look at its clock"
        );
    }

    /// Interrupts that wake no task do not start another spin, and do not split a long wait into
    /// short ones.
    #[test]
    fn interrupts_without_a_wake_are_part_of_one_wait() {
        let scene = Scene::new();
        let mut idle = scene.adaptive_that_spins();
        let (reads, halts) = (scene.clock.reads(), scene.halts.get());
        scene.ready.set(scene.after(1000));
        for interrupt in [500, 100, 100] {
            idle.idle.interrupt = scene.after(interrupt);
            scene.wait_until(&mut idle, None);
            assert!(scene.is_idle());
        }
        scene.wait_until(&mut idle, None);
        assert!(!scene.is_idle());
        assert_eq!(scene.halts.get() - halts, 4);
        // 400 in the spin, one for each wait's check, one for the start, one for the end.
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

    /// This queue has no clock.
    #[test]
    fn without_a_clock_it_waits_by_the_other_policy() {
        struct Count(u32);
        impl Idle for Count {
            fn wait(&mut self, cx: &IdleContext<'_>) {
                assert_eq!(cx.deadline(), None);
                self.0 += 1;
            }
        }
        static TIMERS: TimerQueue = TimerQueue::new();
        let mut idle = Adaptive::new(Count(0));
        idle.wait(&IdleContext::new(&TIMERS, None, &|| true));
        idle.wait(&IdleContext::new(&TIMERS, None, &|| false));
        assert_eq!(idle.idle.0, 2);
    }
}
