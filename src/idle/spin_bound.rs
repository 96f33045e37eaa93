//! How long to spin, learnt from how long waits were.

use core::time::Duration;

/// How long [`Adaptive`](super::Adaptive) spins before it waits by its other policy.
///
/// The rule is that of Linux's haltpoll governor (`drivers/cpuidle/governors/haltpoll.c`), and so are
/// the defaults (`Documentation/virt/guest-halt-polling.rst`). It begins at zero; a wait of
///
/// | length | does to the bound | for |
/// | --- | --- | --- |
/// | at most the bound | nothing | the spin has seen its end |
/// | at most the maximum | grows it | a longer spin would have seen its end |
/// | more | shrinks it | no spin that is allowed would have |
///
/// What it costs is processor time of the host, which others could have used: at most the maximum for
/// each wait.
///
/// # Examples
///
/// ```
/// use core::time::Duration;
/// use dormir::idle::SpinBound;
///
/// let mut bound = SpinBound::default();
/// assert_eq!(bound.get(), Duration::ZERO);
/// bound.wait_was(Duration::from_micros(30));
/// assert_eq!(bound.get(), SpinBound::GROW_START);
/// bound.wait_was(Duration::from_millis(10));
/// assert_eq!(bound.get(), SpinBound::GROW_START / 2);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpinBound {
    bound: Duration,
    max: Duration,
    grow_start: Duration,
    grow: u32,
    shrink: u32,
}

impl SpinBound {
    /// The default maximum: 200 µs, as haltpoll's `guest_halt_poll_ns`.
    pub const MAX: Duration = Duration::from_micros(200);

    /// The default of the least bound after it has grown: 50 µs, as haltpoll's
    /// `guest_halt_poll_grow_start`.
    pub const GROW_START: Duration = Duration::from_micros(50);

    /// The default factor by which it grows, as haltpoll's `guest_halt_poll_grow`.
    pub const GROW: u32 = 2;

    /// The default divisor by which it shrinks, as haltpoll's `guest_halt_poll_shrink`.
    pub const SHRINK: u32 = 2;

    /// A bound that is zero, and never more than `max`. With a `max` of zero there is no spin at all.
    ///
    /// # Examples
    ///
    /// ```
    /// # use core::time::Duration;
    /// # use dormir::idle::SpinBound;
    /// let mut bound = SpinBound::new(Duration::from_micros(20));
    /// bound.wait_was(Duration::from_micros(10));
    /// assert_eq!(bound.get(), Duration::from_micros(20));
    /// ```
    #[must_use]
    pub const fn new(max: Duration) -> Self {
        Self {
            bound: Duration::ZERO,
            max,
            grow_start: Self::GROW_START,
            grow: Self::GROW,
            shrink: Self::SHRINK,
        }
    }

    /// Has it grow by `factor`, and from zero to `start`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use core::time::Duration;
    /// # use dormir::idle::SpinBound;
    /// let ten = Duration::from_micros(10);
    /// let mut bound = SpinBound::default().with_growth(ten, 3);
    /// bound.wait_was(ten * 10);
    /// bound.wait_was(ten * 10);
    /// assert_eq!(bound.get(), ten * 3);
    /// ```
    #[must_use]
    pub const fn with_growth(mut self, start: Duration, factor: u32) -> Self {
        self.grow_start = start;
        self.grow = factor;
        self
    }

    /// Has it shrink by `divisor`: with 1 it never shrinks, as without haltpoll's
    /// `guest_halt_poll_allow_shrink`; with 0 it becomes zero at once.
    ///
    /// # Examples
    ///
    /// ```
    /// # use core::time::Duration;
    /// # use dormir::idle::SpinBound;
    /// let mut bound = SpinBound::default().with_shrink(0);
    /// bound.wait_was(Duration::from_micros(100));
    /// bound.wait_was(Duration::from_secs(1));
    /// assert_eq!(bound.get(), Duration::ZERO);
    /// ```
    #[must_use]
    pub const fn with_shrink(mut self, divisor: u32) -> Self {
        self.shrink = divisor;
        self
    }

    /// The bound now: at most the maximum.
    ///
    /// # Examples
    ///
    /// ```
    /// # use core::time::Duration;
    /// # use dormir::idle::SpinBound;
    /// let mut bound = SpinBound::new(Duration::from_micros(80));
    /// assert_eq!(bound.get(), Duration::ZERO);
    /// for _ in 0..10 {
    ///     bound.wait_was(Duration::from_micros(80));
    /// }
    /// assert_eq!(bound.get(), Duration::from_micros(80), "the maximum");
    /// ```
    #[must_use]
    pub const fn get(&self) -> Duration {
        self.bound
    }

    /// Learns from a wait of this length, from when nothing was left to do until there was something,
    /// the spin included.
    ///
    /// # Examples
    ///
    /// ```
    /// # use core::time::Duration;
    /// # use dormir::idle::SpinBound;
    /// let mut bound = SpinBound::default();
    /// // A spin would have seen the end of these, and none the end of the last.
    /// for micros in [30, 60, 120, 5000] {
    ///     bound.wait_was(Duration::from_micros(micros));
    ///     println!("{:?}", bound.get());
    /// }
    /// assert_eq!(bound.get(), Duration::from_micros(100));
    /// ```
    pub fn wait_was(&mut self, wait: Duration) {
        if wait > self.max {
            self.bound = self.bound.checked_div(self.shrink).unwrap_or_default();
        } else if wait > self.bound {
            let grown = self.bound.saturating_mul(self.grow);
            self.bound = grown.max(self.grow_start).min(self.max);
        }
    }
}

impl Default for SpinBound {
    fn default() -> Self {
        Self::new(Self::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn micros(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    /// Bound, wait, bound afterwards, by haltpoll's defaults. Those are the rules of its
    /// `adjust_poll_limit`, each at its edges.
    #[test]
    fn the_rules_are_those_of_haltpoll() {
        let table = [
            // Not longer than the bound: unchanged.
            (0, 0, 0),
            (50, 49, 50),
            (50, 50, 50),
            (200, 200, 200),
            // Longer, but within the maximum: doubled, 50 at least, 200 at most.
            (0, 1, 50),
            (0, 200, 50),
            (12, 13, 50),
            (25, 26, 50),
            (30, 200, 60),
            (50, 51, 100),
            (100, 200, 200),
            (150, 151, 200),
            // Longer than the maximum: halved.
            (0, 201, 0),
            (50, 201, 25),
            (100, 1_000_000, 50),
            (200, 201, 100),
        ];
        for (before, wait, after) in table {
            let mut bound = SpinBound {
                bound: micros(before),
                ..SpinBound::default()
            };
            bound.wait_was(micros(wait));
            assert_eq!(bound.get(), micros(after), "{before} µs, a wait of {wait}");
        }
    }

    #[test]
    fn factors_at_their_edges_overflow_nothing() {
        let mut bound = SpinBound::new(Duration::MAX).with_growth(Duration::MAX, u32::MAX);
        bound.wait_was(Duration::MAX);
        assert_eq!(bound.get(), Duration::MAX);
        let mut bound = SpinBound::new(Duration::MAX).with_growth(micros(1), u32::MAX);
        (0..10).for_each(|_| bound.wait_was(Duration::MAX));
        assert_eq!(bound.get(), Duration::MAX);
        let mut never_shrinks = SpinBound::default().with_shrink(1);
        never_shrinks.wait_was(micros(100));
        never_shrinks.wait_was(micros(1000));
        assert_eq!(never_shrinks.get(), micros(50));
        let mut still_zero = SpinBound::new(Duration::ZERO);
        still_zero.wait_was(Duration::ZERO);
        still_zero.wait_was(micros(1));
        assert_eq!(still_zero.get(), Duration::ZERO);
    }

    prop_compose! {
        fn any_bound()(
            max in 0..1_000_000_000_u64,
            start in 0..1_000_000_000_u64,
            grow in 0..5_u32,
            shrink in 0..5_u32,
        ) -> SpinBound {
            SpinBound::new(Duration::from_nanos(max))
                .with_growth(Duration::from_nanos(start), grow)
                .with_shrink(shrink)
        }
    }

    proptest! {
        #[test]
        fn it_never_leaves_its_range(
            mut bound in any_bound(),
            waits in prop::collection::vec(0..3_000_000_000_u64, 0..50),
        ) {
            for wait in waits {
                bound.wait_was(Duration::from_nanos(wait));
                prop_assert!(bound.get() <= bound.max);
            }
        }

        /// Waits that are all as long as the maximum bring the bound up to it; shorter ones to their
        /// length at least, so that the spin sees them end.
        #[test]
        fn soon_wakes_are_reached(
            max in 1..1_000_000_000_u64,
            part in 0.0..=1.0_f64,
            before in prop::collection::vec(0..3_000_000_000_u64, 0..20),
        ) {
            let mut bound = SpinBound::new(Duration::from_nanos(max));
            before.into_iter().for_each(|wait| bound.wait_was(Duration::from_nanos(wait)));
            let wait = bound.max.mul_f64(part).min(bound.max);
            // From 50 µs to a second by doubling.
            (0..16).for_each(|_| bound.wait_was(wait));
            prop_assert!(bound.get() >= wait);
            (0..16).for_each(|_| bound.wait_was(bound.max));
            prop_assert_eq!(bound.get(), bound.max);
        }

        #[test]
        fn long_waits_end_the_spinning(
            max in 1..1_000_000_000_u64,
            before in prop::collection::vec(0..3_000_000_000_u64, 0..20),
        ) {
            let mut bound = SpinBound::new(Duration::from_nanos(max));
            before.into_iter().for_each(|wait| bound.wait_was(Duration::from_nanos(wait)));
            // From a second to nothing by halving.
            (0..31).for_each(|_| bound.wait_was(bound.max + Duration::from_nanos(1)));
            prop_assert_eq!(bound.get(), Duration::ZERO);
        }
    }
}
