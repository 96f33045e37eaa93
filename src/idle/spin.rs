//! Waiting without a halt.

use super::{Idle, IdleContext};
use crate::time::Instant;

/// Never halts: looks again and again until there is something to do.
///
/// For measurements without the cost of a halt, and for machines where no interrupt comes: a deadline
/// that has passed ends the wait by the clock, whether its interrupt comes or not. It takes all of
/// the vCPU's time.
///
/// # Contexts
///
/// Interrupts are let in while it waits, also where they were masked before, as `Halt` does. (That
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

/// Looks until there is something to do, which is also when the deadline has passed, or until `end`.
/// Returns whether there is.
///
/// Interrupts are let in meanwhile.
pub(super) fn spin(cx: &IdleContext<'_>, end: Instant) -> bool {
    let timers = cx.timers();
    let deadline = cx.deadline().unwrap_or(Instant::NEVER);
    let limit = deadline.min(end);
    with_interrupts(|| {
        while cx.is_idle() {
            // Where there is no limit, there may be no clock.
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
    fn a_wake_ends_it() {
        let (timers, clock) = ticking();
        let looks = Cell::new(0);
        let idle = || looks.replace(looks.get() + 1) < 5;
        Spin.wait(&IdleContext::new(timers, Some(at(1000)), &idle));
        assert_eq!(looks.get(), 6, "it looks no more once there is work");
        assert_eq!(clock.reads(), 5, "it looks at the clock between two looks");
        assert!(timers.is_settled(), "no deadline has passed");
    }

    /// Without an interrupt nobody else would have the queue look at its clock.
    #[test]
    fn a_deadline_that_has_passed_ends_it_and_is_told_to_the_queue() {
        let (timers, clock) = ticking();
        let is_idle = || timers.is_settled();
        Spin.wait(&IdleContext::new(timers, Some(at(7)), &is_idle));
        assert!(!timers.is_settled());
        assert_eq!(clock.reads(), 7, "it ends with the first look that sees it");
    }

    #[test]
    fn the_end_of_a_spin_is_no_deadline() {
        let (timers, clock) = ticking();
        let wait = |deadline| IdleContext::new(timers, deadline, &|| true);
        assert!(!spin(&wait(None), at(3)));
        assert!(!spin(&wait(Some(at(100))), at(5)));
        assert_eq!(clock.reads(), 5);
        assert!(timers.is_settled());
        assert!(
            spin(&wait(Some(at(9))), at(9)),
            "a deadline goes before an end"
        );
        assert!(!timers.is_settled());
    }

    /// No clock is installed in this queue.
    #[test]
    fn without_a_deadline_it_needs_no_clock() {
        static TIMERS: TimerQueue = TimerQueue::new();
        let looks = Cell::new(0);
        let idle = || looks.replace(looks.get() + 1) < 5;
        Spin.wait(&IdleContext::new(&TIMERS, None, &idle));
        assert_eq!(looks.get(), 6);
    }
}
