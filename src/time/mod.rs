//! Time: instants, the timer queue and the futures that wait on it.

// Pure, so that the host tests it; used by the bare machine only.
#[cfg(any(
    test,
    all(target_arch = "x86_64", target_os = "none", feature = "bare")
))]
pub(crate) mod calibrate;
#[cfg(feature = "embedded-hal")]
mod delay;
mod instant;
mod queue;
mod scale;
mod timer;

#[cfg(feature = "embedded-hal")]
pub use delay::Delay;
pub use instant::Instant;
pub use queue::{AlreadyInstalled, TimerQueue};
pub use scale::Scale;
pub use timer::Timer;

/// A source of time.
pub trait Clock: Sync {
    /// The time now. It never goes back: each call returns at least what the call before returned.
    ///
    /// May be called in any context.
    fn now(&self) -> Instant;
}

/// A one-shot interrupt that ends the vCPU's `hlt`.
///
/// An alarm may come early, or come when it was not asked for: the runner looks at the clock, finds
/// nothing due and sets it again. It must never be lost: once `set` has returned, an interrupt comes
/// at or soon after `at`, unless `at` had already passed when `set` looked. The caller looks at the
/// clock after each `set` to see that case; an alarm therefore needs no care for deadlines in the
/// past.
pub trait Alarm: Sync {
    /// Asks for an interrupt at `at`, in place of the one that was asked for before.
    ///
    /// Where `at` lies farther ahead than the hardware counts, the interrupt comes early.
    fn set(&self, at: Instant);

    /// Withdraws the request. An interrupt that was on its way may still come.
    fn off(&self);
}
