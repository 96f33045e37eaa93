//! Time: instants, the timer queue, and timer futures.

// Pure, and tested on the host; used by `platform::bare` only.
#[cfg(any(
    test,
    all(target_arch = "x86_64", target_os = "none", feature = "bare")
))]
pub(crate) mod calibrate;
#[cfg(any(feature = "embedded-hal", feature = "embedded-hal-async"))]
mod delay;
#[cfg(feature = "embassy-time")]
pub mod embassy;
mod instant;
#[cfg(test)]
mod regressions;
// As for `calibrate`.
#[cfg(any(
    test,
    all(target_arch = "x86_64", target_os = "none", feature = "bare")
))]
pub(crate) mod monotonic;
mod node;
pub(crate) mod pause;
mod queue;
#[cfg(any(
    test,
    all(target_arch = "x86_64", target_os = "none", feature = "bare")
))]
pub(crate) mod rate;
mod scale;
#[cfg(test)]
mod testing;
mod ticker;
mod timeout;
mod timer;
mod tree;

#[cfg(any(feature = "embedded-hal", feature = "embedded-hal-async"))]
pub use delay::Delay;
pub use instant::Instant;
#[cfg(feature = "watchdog")]
pub(crate) use queue::Devices;
#[cfg(all(target_arch = "x86_64", target_os = "none", feature = "bare"))]
pub(crate) use queue::GLOBAL;
pub(crate) use queue::Served;
pub use queue::{AlreadyInstalled, TimerQueue};
pub use scale::Scale;
pub use ticker::Ticker;
pub use timeout::{TimedOut, WithDeadline, with_deadline, with_timeout};
pub use timer::Timer;

/// A clock that timers are measured by.
///
/// # Examples
///
/// A device's microsecond counter:
///
/// ```
/// use core::sync::atomic::{AtomicU64, Ordering};
/// use dormir::time::{Clock, Instant};
///
/// struct Micros<'a>(&'a AtomicU64);
///
/// impl Clock for Micros<'_> {
///     fn now(&self) -> Instant {
///         Instant::from_nanos(self.0.load(Ordering::Relaxed) * 1000)
///     }
/// }
/// # assert_eq!(Micros(&AtomicU64::new(2)).now(), Instant::from_nanos(2000));
/// ```
pub trait Clock: Sync {
    /// The time now. It never goes back: each call returns at least what the call before returned.
    ///
    /// May be called in any context.
    fn now(&self) -> Instant;
}

/// A one-shot interrupt that ends the vCPU's `hlt`.
///
/// An alarm may come early, or without a request: the run loop looks at the clock, finds nothing
/// due and sets it again. It must never be lost: once `set` has returned, an interrupt comes at or
/// soon after `at`, unless `at` had already passed when `set` looked. The caller looks at the clock
/// after each `set` to catch that case, so an alarm may ignore deadlines in the past.
///
/// # Examples
///
/// A device that compares its microsecond counter with a register:
///
/// ```
/// use core::sync::atomic::{AtomicU64, Ordering};
/// use dormir::time::{Alarm, Instant};
///
/// struct Compare<'a>(&'a AtomicU64);
///
/// impl Alarm for Compare<'_> {
///     fn set(&self, at: Instant) {
///         // Rounded up: an early alarm would be set again.
///         self.0.store(at.as_nanos().div_ceil(1000), Ordering::Relaxed);
///     }
///
///     fn off(&self) {
///         self.0.store(u64::MAX, Ordering::Relaxed);
///     }
/// }
/// # let register = AtomicU64::new(0);
/// # Compare(&register).set(Instant::from_nanos(1001));
/// # assert_eq!(register.into_inner(), 2);
/// ```
pub trait Alarm: Sync {
    /// Requests an interrupt at `at`, in place of the one that was requested before.
    ///
    /// If `at` is farther ahead than the hardware can count, the interrupt comes early.
    fn set(&self, at: Instant);

    /// Withdraws the request. An interrupt that is already pending may still come.
    fn off(&self);
}
