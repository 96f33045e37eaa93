//! Idle policies: what a run loop does when nothing is ready.
//!
//! | policy | what it does |
//! | --- | --- |
//! | `Halt` | halts the vCPU until the next interrupt |
//! | [`Adaptive`] | spins while a wake is likely to come soon, then waits by another policy |
//! | [`Spin`] | never halts |
//! | [`Metered`] | wraps another policy, and counts its waits |

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

/// A policy for waiting until there may be something to do.
///
/// # The race that an implementation must avoid
///
/// A wake may come at any moment, also between the loop's last look and the wait. So the order is:
/// mask interrupts, ask [`IdleContext::is_idle`], and only if it returns `true` wait in a way that
/// a pending interrupt ends at once (`Halt` does it with `sti; hlt`). Masking does not hold off
/// NMIs: they need care of their own, see `arch::x86_64::halt`. An implementation that asks before
/// it masks, or that leaves an instruction between unmasking and waiting, can sleep through a wake
/// that has already come.
///
/// # Examples
///
/// A policy that wraps another one, which handles the race:
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
    /// Waits until an interrupt comes or the deadline passes. Returns at once if there is something
    /// to do.
    ///
    /// It may return early, for any reason. A policy that waits by other means than an interrupt
    /// must call [`TimerQueue::on_interrupt`](crate::time::TimerQueue::on_interrupt) when the
    /// deadline has passed, or the loop will not look at the clock.
    ///
    /// The interrupt flag is afterwards as it was before.
    ///
    /// A wake from another vCPU does not end the wait, unless the hook of
    /// [`Executor::on_wake`](crate::executor::Executor::on_wake) sends an interrupt.
    fn wait(&mut self, cx: &IdleContext<'_>);
}

impl<I: Idle + ?Sized> Idle for &mut I {
    fn wait(&mut self, cx: &IdleContext<'_>) {
        (**self).wait(cx);
    }
}
