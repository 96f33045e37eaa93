//! A point in time.

use core::{fmt, time::Duration};

use super::TimerQueue;

/// Nanoseconds since the platform's clock was started, in 64 bits: 584 years.
///
/// There are no operators, so that each use says what happens at the ends of the range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// When the clock was started.
    pub const START: Self = Self(0);

    /// Never: no clock reaches it, and a timer set to it is not put into the queue.
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

    /// The instant `duration` later, or [`NEVER`](Self::NEVER) where that is out of range.
    #[must_use]
    pub const fn saturating_add(self, duration: Duration) -> Self {
        match self.checked_add(duration) {
            Some(later) => later,
            None => Self::NEVER,
        }
    }

    /// The instant `duration` later, or `None` where that is out of range.
    #[must_use]
    pub const fn checked_add(self, duration: Duration) -> Option<Self> {
        let nanos = duration.as_nanos();
        if nanos > u64::MAX as u128 {
            return None;
        }
        match self.0.checked_add(nanos as u64) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// How long after `earlier` this is; zero if it is not after it.
    #[must_use]
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// How long after `earlier` this is, or `None` if it is before it.
    #[must_use]
    pub const fn checked_since(self, earlier: Self) -> Option<Duration> {
        match self.0.checked_sub(earlier.0) {
            Some(nanos) => Some(Duration::from_nanos(nanos)),
            None => None,
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn addition_saturates_at_never() {
        let late = Instant::from_nanos(u64::MAX - 5);
        assert_eq!(
            late.saturating_add(Duration::from_nanos(4)),
            Instant::from_nanos(u64::MAX - 1)
        );
        assert_eq!(late.saturating_add(Duration::from_nanos(6)), Instant::NEVER);
        assert_eq!(late.saturating_add(Duration::MAX), Instant::NEVER);
        assert_eq!(late.checked_add(Duration::from_nanos(6)), None);
        assert_eq!(Instant::START.checked_add(Duration::MAX), None);
    }

    #[test]
    fn subtraction_says_which_is_later() {
        let (a, b) = (Instant::from_nanos(10), Instant::from_nanos(13));
        assert_eq!(b.saturating_since(a), Duration::from_nanos(3));
        assert_eq!(a.saturating_since(b), Duration::ZERO);
        assert_eq!(a.checked_since(b), None);
    }

    #[test]
    fn display_is_in_seconds() {
        assert_eq!(
            Instant::from_nanos(1_020_000_003).to_string(),
            "1.020000003 s"
        );
        assert_eq!(Instant::NEVER.to_string(), "never");
    }
}
