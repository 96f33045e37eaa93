//! The length of a spin, learnt from the length of waits.

use core::time::Duration;

/// The longest time that [`Adaptive`](super::Adaptive) spins before it waits by its other policy.
///
/// The rule and the defaults are those of Linux's haltpoll governor
/// (`drivers/cpuidle/governors/haltpoll.c`, `Documentation/virt/guest-halt-polling.rst`). The bound
/// begins at zero. Each wait changes it:
///
/// | length of the wait | the bound | because |
/// | --- | --- | --- |
/// | at most the bound | stays | the spin has seen its end |
/// | at most the maximum | grows | a longer spin would have seen its end |
/// | longer | shrinks | no allowed spin would have seen its end |
///
/// A spin costs processor time of the host: at most the maximum for each wait.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
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

    /// The default of the smallest bound above zero that it grows to: 50 µs, as haltpoll's
    /// `guest_halt_poll_grow_start`.
    pub const GROW_START: Duration = Duration::from_micros(50);

    /// The default factor of growth, as haltpoll's `guest_halt_poll_grow`.
    pub const GROW: u32 = 2;

    /// The default divisor of shrinking, as haltpoll's `guest_halt_poll_shrink`.
    pub const SHRINK: u32 = 2;

    /// A bound of zero that never exceeds `max`. With a `max` of zero there is no spin at all.
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

    /// Makes the bound grow by `factor`, and from zero to `start`.
    #[must_use]
    pub const fn with_growth(mut self, start: Duration, factor: u32) -> Self {
        self.grow_start = start;
        self.grow = factor;
        self
    }

    /// Makes the bound shrink by `divisor`. With 1 it never shrinks, as without haltpoll's
    /// `guest_halt_poll_allow_shrink`; with 0 it becomes zero at once.
    #[must_use]
    pub const fn with_shrink(mut self, divisor: u32) -> Self {
        self.shrink = divisor;
        self
    }

    /// The bound now: at most the maximum.
    #[must_use]
    pub const fn get(&self) -> Duration {
        self.bound
    }

    /// Learns from a wait of this length: from when nothing was left to do until there was
    /// something, including the spin.
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

    /// Bound, wait, bound afterwards, by haltpoll's defaults: the rules of its `adjust_poll_limit`,
    /// each at its edges.
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
        fn the_bound_never_exceeds_its_maximum(
            mut bound in any_bound(),
            waits in prop::collection::vec(0..3_000_000_000_u64, 0..50),
        ) {
            for wait in waits {
                bound.wait_was(Duration::from_nanos(wait));
                prop_assert!(bound.get() <= bound.max);
            }
        }

        /// If all waits are as long as the maximum, the bound grows to it; if they are shorter, it
        /// grows at least to their length, so that the spin sees their end.
        #[test]
        fn the_bound_reaches_short_waits(
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
        fn long_waits_shrink_the_bound_to_zero(
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
