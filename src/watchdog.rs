//! The watchdog: reports a poll that does not return within a limit, from the timer's interrupt.
//! This module needs the feature `watchdog`.
//!
//! In a guest that [`platform::bare`](crate::platform) has set up, `bare::start_watchdog` does all
//! of it. With an interrupt table of your own, [`start`] the watchdog, and let the timer's handler
//! call [`on_interrupt`] in place of [`TimerQueue::on_interrupt`].
//!
//! # What counts
//!
//! The watchdog reports code that has not yielded to a run loop for longer than the limit. Code
//! yields when it returns from a poll, of a task or of [`block_on`](crate::block_on)'s future, and
//! when it calls a run loop of its own that polls or waits. So a task that halts within `block_on`
//! is not reported, and neither is a guest that waits. What runs outside of polls is not watched.
//!
//! While the vCPU is busy, the watchdog looks every eighth of the limit, but at most once in a
//! millisecond. It counts from the first look after the yield. So a report comes between the limit
//! and nine eighths of it after the yield, and the length that it names is up to an eighth of the
//! limit too short. (With the feature `metrics` the executor times each poll of a task. Then the
//! length is exact.) Each poll is reported at most once.
//!
//! # What it does not see
//!
//! The timer's interrupt does not come while interrupts are masked. A critical section that is held
//! too long is reported when it ends, if the watchdog has looked at its poll before (or if the poll
//! is timed, by the feature `metrics`). What never unmasks interrupts is reported by the NMI that
//! the harness sends at the time limit. The watchdog is one for all run loops, and is meant for
//! guests with one vCPU: the polls of another vCPU count as yields.
//!
//! # What it costs
//!
//! Without the feature, nothing. With it, three to five instructions in each poll in an executor of
//! 64 tasks, and up to ten in larger ones. While the watchdog runs, the timer's interrupt calls a
//! function, and sets the timer once more. An idle guest is woken once after it became idle, and
//! then no more.
//!
//! # How it works
//!
//! The watchdog is an [alarm](crate::time::Alarm) between the queue and the queue's own, which it
//! sets to the queue's deadline or to its next look, whichever is earlier. So it needs no timer of
//! its own, and the queue does not see it: [`on_interrupt`] passes on only the interrupts that the
//! queue asked for.

mod alarm;

use core::{fmt, time::Duration};

use crate::{executor::current_task, time::TimerQueue};
use alarm::Overdue;

/// The shortest limit, and the shortest time between two looks: long compared to the time that it
/// takes to set an alarm.
const SHORTEST: Duration = Duration::from_millis(1);

/// Code that has not yielded for longer than the limit.
///
/// Its `Display` is a sentence, such as "task main::work has not yielded for 1.1s".
///
/// # Examples
///
/// ```
/// use dormir::watchdog::Stall;
///
/// fn on_stall(stall: &Stall) {
///     println!("{stall}, more than {:?}", stall.limit);
/// }
/// # let _: fn(&Stall) = on_stall;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Stall {
    /// The task's name, as in [`current_task`]; `None` in the future of a
    /// [`block_on`](crate::block_on) outside of tasks.
    pub task: Option<&'static str>,
    /// For how long it has not yielded, at least.
    pub length: Duration,
    /// The limit.
    pub limit: Duration,
}

impl fmt::Display for Stall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.task {
            Some(task) => write!(f, "task {task}")?,
            None => f.write_str("a future outside of tasks")?,
        }
        write!(f, " has not yielded for {:.1?}", self.length)
    }
}

/// Starts the watchdog of `queue`, or changes its limit: at least a millisecond. With
/// [`Duration::MAX`] it reports nothing.
///
/// # Contexts
///
/// Any but NMI, on the vCPU that serves the queue.
///
/// # Panics
///
/// If the limit is shorter than a millisecond, the queue has no clock, or the watchdog was started
/// with another queue.
///
/// # Examples
///
/// On the host, a virtual clock stands in for the machine:
///
/// ```
/// use core::time::Duration;
/// use dormir::{block_on, platform::host::{Skip, VirtualClock}, time::TimerQueue, watchdog};
///
/// static CLOCK: VirtualClock = VirtualClock::new();
/// static TIMERS: TimerQueue = TimerQueue::new();
///
/// TIMERS.install(&CLOCK, &CLOCK)?;
/// watchdog::start(&TIMERS, Duration::from_secs(1));
/// block_on(
///     async {
///         // Two seconds of work, in which the timer interrupts.
///         let stall = (0..20).find_map(|_| {
///             CLOCK.pass(100_000_000);
///             watchdog::on_interrupt()
///         });
///         let stall = stall.expect("the future does not yield");
///         assert_eq!(stall.to_string(), "a future outside of tasks has not yielded for 1.0s");
///     },
///     Skip,
/// );
/// # Ok::<(), dormir::time::AlreadyInstalled>(())
/// ```
pub fn start(queue: &'static TimerQueue, limit: Duration) {
    assert!(
        limit >= SHORTEST,
        "a watchdog's limit is at least a millisecond"
    );
    alarm::start(queue, limit);
}

/// To be called by the timer's interrupt handler, in place of [`TimerQueue::on_interrupt`] of the
/// watchdog's queue. Returns what is to be reported, if anything is.
///
/// # Contexts
///
/// The handler of the timer's interrupt, with interrupts masked. Until [`start`] was called it does
/// nothing.
///
/// # Examples
///
/// ```
/// use dormir::watchdog;
///
/// /// Called by the guest's own entry for the timer's interrupt.
/// fn on_timer_interrupt() {
///     // Acknowledge the interrupt, then:
///     if let Some(stall) = watchdog::on_interrupt() {
///         println!("{stall}");
///     }
/// }
/// # on_timer_interrupt();
/// ```
#[must_use = "it is to be reported"]
pub fn on_interrupt() -> Option<Stall> {
    let Overdue { length, limit } = alarm::interrupted()?;
    Some(Stall {
        task: current_task(),
        length,
        limit,
    })
}

#[cfg(all(test, not(loom)))]
mod tests;
