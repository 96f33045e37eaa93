//! A policy that never halts.

use super::{Idle, IdleContext};
use crate::time::Instant;

/// Never halts: checks again and again until there is something to do.
///
/// For measurements without the cost of a halt, and for machines without interrupts: the clock ends
/// the wait when the deadline has passed, whether its interrupt comes or not. It uses all of the
/// vCPU's time.
///
/// # Contexts
///
/// Interrupts are unmasked while it waits, also if they were masked before, as with `Halt`. (That
/// needs the feature `bare`; without it, the flag stays as it is.)
///
/// # Examples
///
/// ```
/// # // A host's virtual clock would stand still meanwhile.
/// # #[cfg(target_os = "none")] {
/// # dormir_guest::entry!(main);
/// use core::time::Duration;
/// use dormir::{block_on, idle::Spin, time::Timer};
///
/// block_on(async { Timer::after(Duration::from_micros(5)).await }, Spin);
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Spin;

impl Idle for Spin {
    fn wait(&mut self, cx: &IdleContext<'_>) {
        spin(cx, Instant::NEVER);
    }
}

/// Checks until there is something to do or `end` has passed. Returns whether there is something to
/// do: also when the deadline has passed.
///
/// Interrupts are unmasked meanwhile.
pub(super) fn spin(cx: &IdleContext<'_>, end: Instant) -> bool {
    let timers = cx.timers();
    let deadline = cx.deadline().unwrap_or(Instant::NEVER);
    let limit = deadline.min(end);
    with_interrupts(|| {
        while cx.is_idle() {
            // Without a limit, there may be no clock.
            if limit != Instant::NEVER && timers.now() >= limit {
                let deadline_passed = limit == deadline;
                if deadline_passed {
                    // The timer's interrupt is late, or never comes.
                    timers.on_deadline();
                }
                return deadline_passed;
            }
            core::hint::spin_loop();
        }
        true
    })
}

/// Runs `wait` with interrupts unmasked, and masks them again if they were masked.
#[cfg(all(target_arch = "x86_64", target_os = "none", feature = "bare"))]
fn with_interrupts<R>(wait: impl FnOnce() -> R) -> R {
    use x86_64::instructions::interrupts;

    let were_masked = !interrupts::are_enabled();
    if were_masked {
        interrupts::enable();
    }
    let result = wait();
    if were_masked {
        interrupts::disable();
    }
    result
}

#[cfg(not(all(target_arch = "x86_64", target_os = "none", feature = "bare")))]
fn with_interrupts<R>(wait: impl FnOnce() -> R) -> R {
    wait()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        idle::test_clock::{TICK, ticking},
        time::TimerQueue,
    };
    use std::cell::Cell;

    fn at(ticks: u64) -> Instant {
        Instant::from_nanos(ticks * TICK)
    }

    #[test]
    fn a_wake_ends_the_wait() {
        let (timers, clock) = ticking();
        let looks = Cell::new(0);
        let idle = || looks.replace(looks.get() + 1) < 5;
        Spin.wait(&IdleContext::new(timers, Some(at(1000)), &idle));
        assert_eq!(looks.get(), 6, "it does not check again once there is work");
        assert_eq!(clock.reads(), 5, "it reads the clock between two checks");
        assert!(timers.is_settled(), "no deadline has passed");
    }

    /// Without an interrupt, nothing else makes the queue look at its clock.
    #[test]
    fn a_passed_deadline_ends_the_wait_and_is_reported_to_the_queue() {
        let (timers, clock) = ticking();
        let is_idle = || timers.is_settled();
        Spin.wait(&IdleContext::new(timers, Some(at(7)), &is_idle));
        assert!(!timers.is_settled());
        assert_eq!(clock.reads(), 7, "it ends with the first read that sees it");
    }

    #[test]
    fn the_end_of_a_spin_is_not_a_deadline() {
        let (timers, clock) = ticking();
        let wait = |deadline| IdleContext::new(timers, deadline, &|| true);
        assert!(!spin(&wait(None), at(3)));
        assert!(!spin(&wait(Some(at(100))), at(5)));
        assert_eq!(clock.reads(), 5);
        assert!(timers.is_settled());
        assert!(
            spin(&wait(Some(at(9))), at(9)),
            "a deadline counts before an end"
        );
        assert!(!timers.is_settled());
    }

    /// This queue has no clock.
    #[test]
    fn a_wait_without_a_deadline_needs_no_clock() {
        static TIMERS: TimerQueue = TimerQueue::new();
        let looks = Cell::new(0);
        let idle = || looks.replace(looks.get() + 1) < 5;
        Spin.wait(&IdleContext::new(&TIMERS, None, &idle));
        assert_eq!(looks.get(), 6);
    }
}
