//! What the executor does when no task is ready.

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
pub trait Idle {
    /// Waits until an interrupt came or `until` has passed, or not at all if `idle` answers `false`.
    ///
    /// `until` is the next deadline; the alarm is already set to it. It is there for policies that
    /// wait by other means than an interrupt. Returning early, for any reason, is always allowed.
    /// `idle` answers whether there is still nothing to do; it may be called with interrupts masked,
    /// and more than once.
    ///
    /// Interrupts are masked or not afterwards as they were before.
    fn wait(&mut self, until: Option<Instant>, idle: &dyn Fn() -> bool);

    /// Ends the `wait` of another vCPU.
    ///
    /// On one vCPU nothing needs to be done, and that is what the default does: whatever wakes is an
    /// interrupt handler, and the interrupt has ended the wait. dormir has no policy yet that kicks
    /// another vCPU, so a wake from there is seen only at the sleeper's next interrupt.
    fn kick(&self) {}
}

impl<I: Idle + ?Sized> Idle for &mut I {
    fn wait(&mut self, until: Option<Instant>, idle: &dyn Fn() -> bool) {
        (**self).wait(until, idle);
    }

    fn kick(&self) {
        (**self).kick();
    }
}

/// Halts the vCPU with `hlt` until the next interrupt.
///
/// Needs interrupts that can come: without a timer or a device that is set up to interrupt, the vCPU
/// sleeps for good.
#[cfg(all(target_arch = "x86_64", target_os = "none", feature = "bare"))]
#[derive(Clone, Copy, Debug, Default)]
pub struct Halt;

#[cfg(all(target_arch = "x86_64", target_os = "none", feature = "bare"))]
impl Idle for Halt {
    fn wait(&mut self, _until: Option<Instant>, idle: &dyn Fn() -> bool) {
        use x86_64::instructions::interrupts;

        let were_masked = !interrupts::are_enabled();
        crate::arch::x86_64::halt::halt_if(idle);
        if were_masked {
            interrupts::disable();
        }
    }
}

/// Another policy, with a count of the waits and of the time spent in them.
///
/// It reads the global clock twice for each wait.
#[derive(Clone, Copy, Debug, Default)]
pub struct Metered<I> {
    idle: I,
    waits: u64,
    waited: core::time::Duration,
}

impl<I> Metered<I> {
    /// Counts what `idle` does.
    pub const fn new(idle: I) -> Self {
        Self {
            idle,
            waits: 0,
            waited: core::time::Duration::ZERO,
        }
    }

    /// How many waits there were, those that ended at once included.
    #[must_use]
    pub const fn waits(&self) -> u64 {
        self.waits
    }

    /// How long they took together.
    #[must_use]
    pub const fn waited(&self) -> core::time::Duration {
        self.waited
    }
}

impl<I: Idle> Idle for Metered<I> {
    fn wait(&mut self, until: Option<Instant>, idle: &dyn Fn() -> bool) {
        let start = Instant::now();
        self.idle.wait(until, idle);
        self.waits += 1;
        self.waited += Instant::now().saturating_since(start);
    }

    fn kick(&self) {
        self.idle.kick();
    }
}
