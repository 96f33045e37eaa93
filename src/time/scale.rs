//! Conversion between the ticks of two counters.

/// A fixed-point factor that converts ticks of one frequency to ticks of another.
///
/// A conversion is one multiplication and one shift. Between nanoseconds and a counter of 1 MHz to
/// 100 GHz, its error is below one part in five million plus one tick. So a factor and its inverse
/// drift apart over long spans: convert the time that is left until a deadline, not the deadline
/// itself.
///
/// # Examples
///
/// ```
/// use dormir::time::Scale;
///
/// // A TSC of 3 GHz, in nanoseconds.
/// let to_nanos = Scale::new(3_000_000_000, 1_000_000_000);
/// let (start, end) = (7_000, 10_000);
/// assert_eq!(to_nanos.up(end - start), 1000);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Scale {
    /// The factor times 2³².
    factor: u64,
}

impl Scale {
    /// The factor from ticks at `from_hz` to ticks at `to_hz`.
    ///
    /// # Panics
    ///
    /// If a frequency is zero, or if `to_hz` is 2³² times `from_hz` or more.
    #[must_use]
    pub const fn new(from_hz: u64, to_hz: u64) -> Self {
        assert!(
            from_hz != 0 && to_hz != 0,
            "a frequency of zero has no scale"
        );
        let factor = (((to_hz as u128) << 32) + (from_hz as u128 / 2)) / from_hz as u128;
        assert!(
            factor <= u64::MAX as u128,
            "the frequencies are too far apart"
        );
        Self {
            factor: factor as u64,
        }
    }

    /// Converts and rounds down; saturates at `u64::MAX`.
    #[must_use]
    #[inline]
    pub const fn down(self, ticks: u64) -> u64 {
        saturate((ticks as u128 * self.factor as u128) >> 32)
    }

    /// As [`down`](Self::down), but wraps if the result does not fit. It takes a third of the
    /// instructions.
    #[cfg(all(target_arch = "x86_64", target_os = "none", feature = "bare"))]
    #[inline(always)]
    pub(crate) const fn down_within_range(self, ticks: u64) -> u64 {
        ((ticks as u128 * self.factor as u128) >> 32) as u64
    }

    /// Converts and rounds up; saturates at `u64::MAX`.
    #[must_use]
    #[inline]
    pub const fn up(self, ticks: u64) -> u64 {
        saturate((ticks as u128 * self.factor as u128 + 0xffff_ffff) >> 32)
    }
}

/// The nearest number of 64 bits.
#[inline]
pub(super) const fn saturate(wide: u128) -> u64 {
    if wide >> 64 == 0 {
        wide as u64
    } else {
        u64::MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NANOS: u64 = 1_000_000_000;

    proptest! {
        #[test]
        fn the_error_is_below_one_in_five_million_and_a_tick(
            hz in 1_000_000u64..100_000_000_000,
            nanos in 0u64..86_400 * NANOS,
        ) {
            let exact = nanos as u128 * hz as u128 / NANOS as u128;
            let scaled = Scale::new(NANOS, hz).down(nanos) as u128;
            let bound = 1 + exact / 5_000_000;
            prop_assert!(exact.abs_diff(scaled) <= bound, "{scaled} for {exact}");
        }

        #[test]
        fn the_inverse_is_as_exact(
            hz in 1_000_000u64..100_000_000_000,
            ticks in 0u64..1 << 50,
        ) {
            let exact = ticks as u128 * NANOS as u128 / hz as u128;
            let scaled = Scale::new(hz, NANOS).down(ticks) as u128;
            prop_assert!(exact.abs_diff(scaled) <= 1 + exact / 5_000_000, "{scaled} for {exact}");
        }

        #[test]
        fn up_is_down_or_one_more(hz in 1_000_000u64..100_000_000_000, ticks: u64) {
            let scale = Scale::new(hz, NANOS);
            prop_assert!(scale.up(ticks) - scale.down(ticks) <= 1);
        }
    }

    #[test]
    fn the_ends_of_the_range_saturate() {
        assert_eq!(Scale::new(1_000_000, NANOS).down(u64::MAX), u64::MAX);
        assert_eq!(Scale::new(NANOS, NANOS).up(u64::MAX), u64::MAX);
        assert_eq!(Scale::new(3_000_000_000, NANOS).down(0), 0);
    }
}
