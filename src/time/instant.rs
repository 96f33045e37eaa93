//! Instants: points in time.

use core::{fmt, time::Duration};

use super::{TimerQueue, scale::saturate};

/// A point in time: nanoseconds since the platform's clock was started, in 64 bits (584 years).
///
/// There are no operators, so that each use states what happens at the ends of the range:
/// `checked_` methods return `None` there, `saturating_` methods the nearest value, and none
/// panics. [`NEVER`](Self::NEVER) plus or minus a duration is still `NEVER`, so a deadline may be
/// moved without a check for it.
///
/// `NEVER` is later than all other instants.
///
/// # Examples
///
/// ```
/// use core::time::Duration;
/// use dormir::time::{Instant, Timer};
/// use dormir::platform::host::{self, Skip};
///
/// /// Ticks once a second, without drift.
/// async fn tick(times: u32) {
///     let mut next = Instant::now();
///     for _ in 0..times {
///         next = next.saturating_add(Duration::from_secs(1));
///         Timer::at(next).await;
///     }
/// }
///
/// host::init(); // A virtual clock, for the host. A guest waits by `idle::Halt`.
/// dormir::block_on(tick(3), Skip);
/// # assert_eq!(Instant::now(), Instant::from_nanos(3_000_000_000));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// When the clock was started.
    pub const START: Self = Self(0);

    /// An instant that no clock reaches. A timer set to it is not put into the queue.
    pub const NEVER: Self = Self(u64::MAX);

    /// The time now, by the clock of the global [`TimerQueue`].
    ///
    /// # Panics
    ///
    /// If no clock is installed; a platform's `init` installs one.
    #[must_use]
    pub fn now() -> Self {
        TimerQueue::global().now()
    }

    /// The instant `nanos` nanoseconds after [`START`](Self::START).
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since [`START`](Self::START).
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time since this instant, by the clock of the global [`TimerQueue`]; zero if it is in the
    /// future.
    ///
    /// # Panics
    ///
    /// If no clock is installed.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        Self::now().saturating_duration_since(self)
    }

    /// The instant `duration` later; [`NEVER`](Self::NEVER) if that is out of range.
    #[must_use]
    pub const fn saturating_add(self, duration: Duration) -> Self {
        match self.checked_add(duration) {
            Some(later) => later,
            None => Self::NEVER,
        }
    }

    /// The instant `duration` later; `None` if that is out of range, which begins at
    /// [`NEVER`](Self::NEVER). So it is `None` for `NEVER` itself.
    #[must_use]
    pub const fn checked_add(self, duration: Duration) -> Option<Self> {
        match self.0.checked_add(nanos(duration)) {
            Some(sum) if sum < Self::NEVER.0 => Some(Self(sum)),
            _ => None,
        }
    }

    /// The instant `duration` earlier; [`START`](Self::START) if that is out of range.
    /// [`NEVER`](Self::NEVER) stays `NEVER`.
    #[must_use]
    pub const fn saturating_sub(self, duration: Duration) -> Self {
        if self.0 == Self::NEVER.0 {
            return self;
        }
        Self(self.0.saturating_sub(nanos(duration)))
    }

    /// The instant `duration` earlier; `None` if that is before [`START`](Self::START), and for
    /// [`NEVER`](Self::NEVER).
    #[must_use]
    pub const fn checked_sub(self, duration: Duration) -> Option<Self> {
        if self.0 == Self::NEVER.0 {
            return None;
        }
        match self.0.checked_sub(nanos(duration)) {
            Some(difference) => Some(Self(difference)),
            None => None,
        }
    }

    /// The time from `earlier` to this instant; zero if `earlier` is later. ([`NEVER`](Self::NEVER)
    /// counts as the last nanosecond of the range here.)
    #[must_use]
    #[doc(alias = "duration_since")]
    pub const fn saturating_duration_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The time from `earlier` to this instant; `None` if `earlier` is later.
    #[must_use]
    pub const fn checked_duration_since(self, earlier: Self) -> Option<Duration> {
        match self.0.checked_sub(earlier.0) {
            Some(nanos) => Some(Duration::from_nanos(nanos)),
            None => None,
        }
    }
}

/// The duration in nanoseconds; saturates.
pub(super) const fn nanos(duration: Duration) -> u64 {
    saturate(duration.as_nanos())
}

/// Seconds with nine decimals, or `never`.
impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NEVER {
            return f.write_str("never");
        }
        write!(
            f,
            "{}.{:09} s",
            self.0 / 1_000_000_000,
            self.0 % 1_000_000_000
        )
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Instant {
    fn format(&self, f: defmt::Formatter<'_>) {
        if *self == Self::NEVER {
            defmt::write!(f, "never");
        } else {
            defmt::write!(f, "{=u64} ns", self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    const fn of(nanos: u64) -> Duration {
        Duration::from_nanos(nanos)
    }

    #[test]
    fn addition_saturates_at_never() {
        let late = Instant::from_nanos(u64::MAX - 5);
        let last = Instant::from_nanos(u64::MAX - 1);
        assert_eq!(late.checked_add(of(4)), Some(last));
        assert_eq!(late.saturating_add(of(4)), last);
        // Five would be `NEVER`.
        for too_long in [of(5), of(6), of(u64::MAX), Duration::MAX] {
            assert_eq!(late.checked_add(too_long), None, "{too_long:?}");
            assert_eq!(late.saturating_add(too_long), Instant::NEVER);
        }
        assert_eq!(Instant::START.checked_add(of(u64::MAX - 1)), Some(last));
        assert_eq!(Instant::START.checked_add(of(u64::MAX)), None);
        // More nanoseconds than 64 bits hold: the upper bits are not cut off.
        let wraps = Duration::from_nanos(u64::MAX).saturating_add(of(3));
        assert_eq!(Instant::START.checked_add(wraps), None);
    }

    #[test]
    fn subtraction_saturates_at_the_start() {
        let early = Instant::from_nanos(5);
        assert_eq!(early.checked_sub(of(5)), Some(Instant::START));
        assert_eq!(early.saturating_sub(of(5)), Instant::START);
        for too_long in [of(6), of(u64::MAX), Duration::MAX] {
            assert_eq!(early.checked_sub(too_long), None, "{too_long:?}");
            assert_eq!(early.saturating_sub(too_long), Instant::START);
        }
    }

    #[test]
    fn never_stays_never() {
        for duration in [Duration::ZERO, of(1), Duration::MAX] {
            assert_eq!(Instant::NEVER.saturating_add(duration), Instant::NEVER);
            assert_eq!(Instant::NEVER.saturating_sub(duration), Instant::NEVER);
            assert_eq!(Instant::NEVER.checked_add(duration), None);
            assert_eq!(Instant::NEVER.checked_sub(duration), None);
        }
        assert!(Instant::NEVER > Instant::from_nanos(u64::MAX - 1));
    }

    #[test]
    fn differences_depend_on_the_order() {
        let (a, b) = (Instant::from_nanos(10), Instant::from_nanos(13));
        assert_eq!(b.saturating_duration_since(a), of(3));
        assert_eq!(a.saturating_duration_since(b), Duration::ZERO);
        assert_eq!(b.checked_duration_since(a), Some(of(3)));
        assert_eq!(a.checked_duration_since(a), Some(Duration::ZERO));
        assert_eq!(a.checked_duration_since(b), None);
    }

    #[test]
    fn display_is_in_seconds() {
        assert_eq!(
            Instant::from_nanos(1_020_000_003).to_string(),
            "1.020000003 s"
        );
        assert_eq!(Instant::NEVER.to_string(), "never");
    }

    #[cfg(feature = "defmt")]
    #[test]
    fn defmt_gets_nanoseconds_or_never() {
        use crate::test_support::defmt_bytes;

        let bytes = |instant: Instant| defmt_bytes(|| defmt::println!("{}", instant));
        let has =
            |bytes: &[u8], number: u64| bytes.windows(8).any(|eight| eight == number.to_le_bytes());
        let (nanos, never) = (
            bytes(Instant::from_nanos(u64::MAX - 1)),
            bytes(Instant::NEVER),
        );
        assert!(has(&nanos, u64::MAX - 1), "{nanos:?}");
        assert!(!has(&never, u64::MAX), "{never:?}");
        // Each has a text.
        assert_eq!(nanos.len(), never.len() + size_of::<u64>());
    }
}
