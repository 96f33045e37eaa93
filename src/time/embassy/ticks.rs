//! Conversion between embassy's ticks and the clock's nanoseconds.

use crate::time::Instant;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// A clock of `HZ` ticks per second that starts at [`Instant::START`].
pub(super) struct Ticks<const HZ: u64>;

impl<const HZ: u64> Ticks<HZ> {
    /// This number of ticks...
    const TICKS: u64 = HZ / greatest_common_divisor(HZ, NANOS_PER_SECOND);
    /// ... takes this number of nanoseconds.
    const NANOS: u64 = {
        let nanos = NANOS_PER_SECOND / greatest_common_divisor(HZ, NANOS_PER_SECOND);
        assert!(
            Self::TICKS.checked_mul(nanos).is_some(),
            "this tick rate cannot be converted in 64 bits"
        );
        nanos
    };

    /// The clock's ticks at `now`: rounded down, at most `u64::MAX`.
    pub(super) const fn at(now: Instant) -> u64 {
        let nanos = now.as_nanos();
        let (whole, rest) = (nanos / Self::NANOS, nanos % Self::NANOS);
        whole
            .saturating_mul(Self::TICKS)
            .saturating_add(rest * Self::TICKS / Self::NANOS)
    }

    /// The first instant at which the clock is at `ticks`. [`Instant::NEVER`] if that is out of
    /// range, and for `u64::MAX`, which is embassy's "never".
    pub(super) const fn deadline(ticks: u64) -> Instant {
        if ticks == u64::MAX {
            return Instant::NEVER;
        }
        let (whole, rest) = (ticks / Self::TICKS, ticks % Self::TICKS);
        let nanos = whole
            .saturating_mul(Self::NANOS)
            .saturating_add((rest * Self::NANOS).div_ceil(Self::TICKS));
        Instant::from_nanos(nanos)
    }
}

const fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Some of embassy's rates, from the slowest to the fastest.
    macro_rules! at_each_rate {
        ($check:ident($($arg:expr),*)) => {
            at_each_rate!(@ $check, ($($arg),*),
                1 2 10 1_000 1_024 32_000 32_768 65_536 262_144 1_000_000 1_048_576 2_097_152
                3_000_000 12_500_000 48_000_000 64_000_000 133_000_000 1_000_000_000
                1_310_720_000 5_242_880_000)
        };
        (@ $check:ident, $args:tt, $($hz:literal)*) => {
            $( at_each_rate!(@@ $check, $hz, $args); )*
        };
        (@@ $check:ident, $hz:literal, ($($arg:expr),*)) => { $check::<$hz>($($arg),*) };
    }

    fn ticks_are_rounded_down<const HZ: u64>(nanos: u64) {
        let exact = u128::from(nanos) * u128::from(HZ) / 1_000_000_000;
        let exact = u64::try_from(exact).unwrap_or(u64::MAX);
        assert_eq!(
            Ticks::<HZ>::at(Instant::from_nanos(nanos)),
            exact,
            "{HZ} Hz"
        );
    }

    fn a_deadline_is_the_first_instant_of_its_tick<const HZ: u64>(ticks: u64) {
        let deadline = Ticks::<HZ>::deadline(ticks);
        let exact = (u128::from(ticks) * 1_000_000_000).div_ceil(u128::from(HZ));
        match u64::try_from(exact) {
            Ok(exact) if ticks < u64::MAX => {
                assert_eq!(deadline, Instant::from_nanos(exact), "{HZ} Hz")
            }
            _ => assert_eq!(deadline, Instant::NEVER, "{HZ} Hz"),
        }
        if deadline != Instant::NEVER {
            assert!(Ticks::<HZ>::at(deadline) >= ticks, "{HZ} Hz: early");
            let before = Instant::from_nanos(deadline.as_nanos().saturating_sub(1));
            assert!(
                ticks == 0 || Ticks::<HZ>::at(before) < ticks,
                "{HZ} Hz: late"
            );
        }
    }

    /// Of the default rate, 1 MHz, a conversion needs a division by a thousand and nothing else.
    #[test]
    fn conversions_use_the_smallest_numbers() {
        fn numbers<const HZ: u64>() -> (u64, u64) {
            (Ticks::<HZ>::TICKS, Ticks::<HZ>::NANOS)
        }
        assert_eq!(numbers::<1_000_000>(), (1, 1000));
        assert_eq!(numbers::<32_768>(), (64, 1_953_125));
        assert_eq!(numbers::<3_000_000>(), (3, 1000));
        assert_eq!(numbers::<1_000_000_000>(), (1, 1));
    }

    #[test]
    fn the_ends_of_the_range() {
        for end in [0, 1, 2, u64::MAX / 2, u64::MAX - 1, u64::MAX] {
            at_each_rate!(ticks_are_rounded_down(end));
            at_each_rate!(a_deadline_is_the_first_instant_of_its_tick(end));
        }
        assert_eq!(Ticks::<1_000_000>::deadline(7).as_nanos(), 7000);
        assert_eq!(Ticks::<32_768>::deadline(1).as_nanos(), 30_518);
        assert_eq!(Ticks::<32_768>::at(Instant::from_nanos(30_517)), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn conversions_are_exact(number in any::<u64>(), shift in 0_u32..64) {
            // Numbers of all lengths.
            let number = number >> shift;
            at_each_rate!(ticks_are_rounded_down(number));
            at_each_rate!(a_deadline_is_the_first_instant_of_its_tick(number));
        }
    }
}
