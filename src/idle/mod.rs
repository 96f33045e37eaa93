//! What the executor does when no task is ready.
//!
//! | policy | what it does |
//! | --- | --- |
//! | `Halt` | halts the vCPU until the next interrupt |
//! | [`Adaptive`] | spins while a wake is likely to come soon, then waits by another policy |
//! | [`Spin`] | never halts |
//! | [`Metered`] | counts what another policy does |

mod adaptive;
#[cfg(all(target_arch = "x86_64", target_os = "none", feature = "bare"))]
mod halt;
mod metered;
mod spin;
mod spin_bound;
#[cfg(test)]
mod test_clock;

pub use adaptive::Adaptive;
#[cfg(all(target_arch = "x86_64", target_os = "none", feature = "bare"))]
pub use halt::Halt;
pub use metered::Metered;
pub use spin::Spin;
pub use spin_bound::SpinBound;

use crate::time::Instant;

/// A way to wait until there may be something to do.
///
/// # The race that an implementation must not lose
///
/// A wake may come at any moment, also after the executor's last look and before the wait. So the
/// order is: mask interrupts, ask `idle`, and only if it answers `true` wait in a way that a masked,
/// pending interrupt ends at once (`Halt` does it with `sti; hlt`). What masking does not hold off
/// (NMIs) needs care of its own, see `arch::x86_64::halt`. An implementation that asks
/// before it masks, or that leaves an instruction between unmasking and waiting, can sleep on a wake
/// that has already been.
///
/// # Examples
///
/// A policy around another one, which shares its care for the race:
///
/// ```
/// use dormir::{idle::Idle, time::Instant};
///
/// /// Prints a line before each wait.
/// struct Loud<I>(I);
///
/// impl<I: Idle> Idle for Loud<I> {
///     fn wait(&mut self, until: Option<Instant>, idle: &dyn Fn() -> bool) {
///         println!("nothing to do");
///         self.0.wait(until, idle);
///     }
/// }
/// ```
pub trait Idle {
    /// Waits until an interrupt came or `until` has passed, or not at all if `idle` answers `false`.
    ///
    /// `until` is the next deadline; the alarm is already set to it, or up to the queue's
    /// [slack](crate::time::TimerQueue::set_slack) later. It is there for policies that wait by other means than an interrupt: one that finds that `until` has passed calls
    /// [`TimerQueue::on_interrupt`](crate::time::TimerQueue::on_interrupt), or nobody looks at the
    /// clock. Returning early, for any reason, is always allowed.
    /// `idle` answers whether there is still nothing to do; it may be called with interrupts masked,
    /// and more than once.
    ///
    /// Interrupts are masked or not afterwards as they were before.
    ///
    /// A wake from another vCPU does not end the wait, unless
    /// [`Executor::on_wake`](crate::executor::Executor::on_wake) has it send an interrupt.
    ///
    /// # Examples
    ///
    /// A loop of one's own, without an executor:
    ///
    /// ```
    /// use core::cell::Cell;
    /// use dormir::idle::{Idle, Spin};
    ///
    /// let work = Cell::new(3_u32);
    /// // Nothing to do, for the first two looks.
    /// let nothing_to_do = || work.replace(work.get().saturating_sub(1)) > 1;
    /// Spin::new().wait(None, &nothing_to_do);
    /// assert_eq!(work.get(), 0);
    /// ```
    fn wait(&mut self, until: Option<Instant>, idle: &dyn Fn() -> bool);
}

impl<I: Idle + ?Sized> Idle for &mut I {
    fn wait(&mut self, until: Option<Instant>, idle: &dyn Fn() -> bool) {
        (**self).wait(until, idle);
    }
}
