//! The TSC's rate, and the time at one of its values, as KVM's paravirtual clock reports them.

/// A rate of ticks that last `2^-(32 - shift) * mul` nanoseconds each.
///
/// This is the format of `struct pvclock_vcpu_time_info`: ticks, shifted left by `tsc_shift`
/// (right, if it is negative), times `tsc_to_system_mul`, shifted right by 32 bits (Linux,
/// `Documentation/virt/kvm/x86/msr.rst`, `MSR_KVM_SYSTEM_TIME_NEW`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    mul: u32,
    shift: i8,
}

impl Rate {
    /// `None` if the values are not a rate: the structure was not filled in.
    pub(crate) const fn new(mul: u32, shift: i8) -> Option<Self> {
        if mul == 0 || shift < -31 || shift > 31 {
            return None;
        }
        Some(Self { mul, shift })
    }

    /// The same without a check. Bad values lead to bad times, and nothing worse.
    #[inline]
    pub(crate) const fn unchecked(mul: u32, shift: i8) -> Self {
        Self { mul, shift }
    }

    /// Converts ticks, also negative ones, to nanoseconds. Rounds down; wraps beyond 64 bits.
    ///
    /// One multiplication to 128 bits and one shift. (The definition shifts right before it
    /// multiplies, and loses those bits: less than a nanosecond.)
    #[inline(always)]
    pub(crate) const fn nanos(self, ticks: i64) -> i64 {
        let product = ticks as i128 * self.mul as i128;
        (product >> ((32 - self.shift as i32) & 63)) as i64
    }

    /// Converts nanoseconds to ticks, rounded up. The result may be one tick too high, or
    /// `2^-shift` if `shift` is negative. Saturates.
    #[inline]
    pub(crate) fn ticks(self, nanos: u64) -> u64 {
        let mul = u64::from(self.mul.max(1));
        // nanos * 2^32 / mul, in two divisions of 64 bits.
        let (whole, rest) = (nanos / mul, nanos % mul);
        let ticks = whole
            .saturating_mul(1 << 32)
            .saturating_add((rest << 32) / mul)
            .saturating_add(1);
        if self.shift <= 0 {
            ticks.saturating_mul(1 << (-i32::from(self.shift) & 63))
        } else {
            (ticks >> (self.shift & 63)).saturating_add(1)
        }
    }

    /// Ticks in a second; `None` if that does not fit into 64 bits.
    pub(crate) fn hz(self) -> Option<u64> {
        let scaled = (1_000_000_000_u128 << 32) / u128::from(self.mul.max(1));
        let hz = if self.shift >= 0 {
            scaled >> (self.shift & 63)
        } else {
            scaled << (-i32::from(self.shift) & 63)
        };
        u64::try_from(hz).ok().filter(|&hz| hz != 0)
    }
}

/// The time at one value of the counter, and the rate from there on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) count: u64,
    /// The time at `count`, in nanoseconds.
    pub(crate) nanos: u64,
    pub(crate) rate: Rate,
}

impl Line {
    /// The largest difference, in nanoseconds, between two lines' times at one value of the same
    /// counter: KVM corrects the time a little whenever it writes its structure.
    const CORRECTION: u64 = 10_000;

    /// The time when the counter has this value, which may be below `self.count`. Wraps.
    #[inline(always)]
    pub(crate) const fn nanos_at(&self, count: u64) -> u64 {
        let since = count.wrapping_sub(self.count) as i64;
        self.nanos.wrapping_add(self.rate.nanos(since) as u64)
    }

    /// Whether an alarm that was set by the line `before`, as a value of the counter, is wrong by
    /// this line, now that the counter is at `count`: the counter was set back or ahead, or its
    /// rate changed.
    pub(crate) fn is_another_than(&self, before: &Self, count: u64) -> bool {
        let now = self.nanos_at(count);
        let correction = now.wrapping_sub(before.nanos_at(count)) as i64;
        self.rate != before.rate || correction.unsigned_abs() > Self::CORRECTION
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The conversion as defined.
    fn defined(ticks: u64, mul: u32, shift: i8) -> u128 {
        let ticks = u128::from(ticks);
        let shifted = if shift < 0 {
            ticks >> -shift
        } else {
            ticks << shift
        };
        (shifted * u128::from(mul)) >> 32
    }

    /// Values that KVM reports: the highest bit of `mul` is set, the frequency is 16 MHz to 16 GHz.
    fn given() -> impl Strategy<Value = (u32, i8)> {
        (1u32 << 31..=u32::MAX, -4i8..=6)
    }

    proptest! {
        #[test]
        fn nanos_are_those_of_the_definition(ticks in 0..1u64 << 56, mul: u32, shift in -31i8..=6) {
            let nanos = Rate::unchecked(mul, shift).nanos(ticks as i64);
            // 56 bits of ticks times 32 bits of `mul`, shifted.
            if let Ok(expected) = i64::try_from(defined(ticks, mul, shift)) {
                prop_assert!((0..=1).contains(&(nanos - expected)), "{nanos} for {expected}");
                prop_assert!(shift < 0 || nanos == expected);
            }
        }

        #[test]
        fn what_was_before_is_negative(ticks in 1..1i64 << 50, (mul, shift) in given()) {
            let rate = Rate::unchecked(mul, shift);
            // Both round down.
            prop_assert!((0..=1).contains(&-(rate.nanos(-ticks) + rate.nanos(ticks))));
        }

        /// An alarm is not early, and at most `2^-shift` ticks late.
        #[test]
        fn ticks_are_rounded_up(nanos in 0..1u64 << 56, (mul, shift) in given()) {
            let rate = Rate::unchecked(mul, shift);
            let ticks = rate.ticks(nanos);
            // The exact minimum.
            let least = (u128::from(nanos) << (32 - shift)).div_ceil(u128::from(mul));
            let more = u128::from(ticks).checked_sub(least);
            let most = 1 << (-shift).max(1);
            prop_assert!(more.is_some_and(|more| more <= most), "{ticks} for {least}");
        }

        #[test]
        fn no_value_causes_a_panic(nanos: u64, ticks: i64, mul: u32, shift: i8) {
            let rate = Rate::unchecked(mul, shift);
            rate.nanos(ticks);
            rate.ticks(nanos);
            rate.hz();
        }
    }

    #[test]
    fn the_ends_of_the_range_saturate() {
        assert_eq!(Rate::unchecked(1, 0).ticks(u64::MAX), u64::MAX);
        assert_eq!(Rate::unchecked(u32::MAX, -31).ticks(u64::MAX), u64::MAX);
        assert_eq!(Rate::unchecked(1 << 31, 0).nanos(0), 0);
    }

    /// 1 GHz.
    const NANO: Rate = Rate::unchecked(1 << 31, 1);

    #[test]
    fn a_corrected_time_is_the_same_line() {
        let line = |count, nanos| Line {
            count,
            nanos,
            rate: NANO,
        };
        let before = line(1_000_000_000, 5_000);
        assert_eq!(before.nanos_at(1_000_000_007), 5_007);
        assert_eq!(before.nanos_at(999_999_993), 4_993);
        // KVM wrote it again a second later, and corrected it.
        for nanos in [1_000_005_000, 1_000_005_900, 1_000_004_100] {
            assert!(!line(2_000_000_000, nanos).is_another_than(&before, 2_000_000_123));
        }
    }

    /// Also if it was set back to a value that it had after KVM wrote the line before.
    #[test]
    fn a_counter_that_was_set_back_or_ahead_is_another_line() {
        let before = Line {
            count: 1_000_000_000,
            nanos: 5_000,
            rate: NANO,
        };
        // Ten seconds later, by the time.
        let nanos = 10_000_005_000;
        for count in [
            10_500_000_000,
            11_500_000_000,
            1_000_000_001,
            7,
            u64::MAX - 7,
        ] {
            let after = Line {
                count,
                nanos,
                ..before
            };
            assert!(
                after.is_another_than(&before, count.wrapping_add(100)),
                "{count}"
            );
        }
        let faster = Line {
            count: 11_000_000_000,
            nanos,
            rate: Rate::unchecked(1 << 31, 0),
        };
        assert!(faster.is_another_than(&before, faster.count));
    }

    #[test]
    fn the_frequency_is_the_inverse() {
        // 1 GHz is 2^31 / 2^31; 2 GHz half of it; 500 MHz twice.
        for (shift, hz) in [
            (1, 1_000_000_000),
            (0, 2_000_000_000),
            (-1, 4_000_000_000),
            (2, 500_000_000),
        ] {
            assert_eq!(Rate::new(1 << 31, shift).and_then(Rate::hz), Some(hz));
        }
        // 2.4 GHz, as KVM reports it.
        let hz = Rate::new(3_579_139_413, -1).and_then(Rate::hz).unwrap();
        assert!(hz.abs_diff(2_400_000_000) < 100, "{hz}");
    }

    #[test]
    fn an_empty_structure_is_no_rate() {
        assert_eq!(Rate::new(0, 0), None);
        assert_eq!(Rate::new(1 << 31, 32), None);
        assert_eq!(Rate::new(1 << 31, -32), None);
    }
}
