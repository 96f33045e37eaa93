//! What the executor does when no task is ready.
//!
//! | policy | what it does |
//! | --- | --- |
//! | `Halt` | halts the vCPU until the next interrupt |
//! | [`Adaptive`] | spins while a wake is likely to come soon, then waits by another policy |
//! | [`Spin`] | never halts |
//! | [`Metered`] | counts what another policy does |

mod adaptive;
mod context;
#[cfg(all(target_arch = "x86_64", target_os = "none", feature = "bare"))]
mod halt;
mod metered;
mod spin;
mod spin_bound;
#[cfg(test)]
mod test_clock;

pub use adaptive::Adaptive;
pub use context::IdleContext;
#[cfg(all(target_arch = "x86_64", target_os = "none", feature = "bare"))]
pub use halt::Halt;
pub use metered::Metered;
pub use spin::Spin;
pub use spin_bound::SpinBound;

/// A way to wait until there may be something to do.
///
/// # The race that an implementation must not lose
///
/// A wake may come at any moment, also after the executor's last look and before the wait. So the
/// order is: mask interrupts, ask [`IdleContext::is_idle`], and only if it answers `true` wait in a way that a
/// masked, pending interrupt ends at once (`Halt` does it with `sti; hlt`). What masking does not hold off
/// (NMIs) needs care of its own, see `arch::x86_64::halt`. An implementation that asks
/// before it masks, or that leaves an instruction between unmasking and waiting, can sleep on a wake
/// that has already been.
///
/// # Examples
///
/// A policy around another one, which shares its care for the race:
///
/// ```
/// use dormir::idle::{Idle, IdleContext};
///
/// /// Prints a line before each wait.
/// struct Loud<I>(I);
///
/// impl<I: Idle> Idle for Loud<I> {
///     fn wait(&mut self, cx: &IdleContext<'_>) {
///         println!("nothing to do");
///         self.0.wait(cx);
///     }
/// }
/// ```
pub trait Idle {
    /// Waits until an interrupt came or the deadline has passed, or not at all if there is something to do.
    ///
    /// Returning early, for any reason, is always allowed. A policy that waits by other means than an
    /// interrupt, and finds that the deadline has passed, calls
    /// [`TimerQueue::on_interrupt`](crate::time::TimerQueue::on_interrupt), or the loop does not look at the
    /// clock.
    ///
    /// Interrupts are masked or not afterwards as they were before.
    ///
    /// A wake from another vCPU does not end the wait, unless
    /// [`Executor::on_wake`](crate::executor::Executor::on_wake) makes it send an interrupt.
    fn wait(&mut self, cx: &IdleContext<'_>);
}

impl<I: Idle + ?Sized> Idle for &mut I {
    fn wait(&mut self, cx: &IdleContext<'_>) {
        (**self).wait(cx);
    }
}
