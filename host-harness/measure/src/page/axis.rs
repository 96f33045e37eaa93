//! Where a logarithmic axis begins and ends, and its numbers.

/// The most numbers that fit at an axis.
const MOST_TICKS: usize = 8;

/// An axis from one round number to another.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Axis {
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) ticks: Vec<f64>,
}

impl Axis {
    /// The axis on which these values lie; they are larger than 0.
    pub(super) fn of(smallest: u64, largest: u64) -> Self {
        let rounds =
            || (0..20).flat_map(|power| [1.0, 2.0, 5.0].map(|one| one * 10f64.powi(power)));
        let low = rounds()
            .take_while(|&round| round <= smallest.max(1) as f64)
            .last();
        let low = low.unwrap_or(1.0);
        let high = rounds().find(|&round| round >= largest as f64 && round > low);
        let high = high.unwrap_or(1e19);
        let within: Vec<f64> = rounds()
            .filter(|round| (low..=high).contains(round))
            .collect();
        let ticks = if within.len() <= MOST_TICKS {
            within
        } else {
            let power = |round: &f64| round.log10().fract() < 1e-9;
            within.into_iter().filter(power).collect()
        };
        Self { low, high, ticks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_begins_and_ends_at_round_numbers() {
        let axis = Axis::of(42_000, 121_000);
        assert_eq!((axis.low, axis.high), (20_000.0, 200_000.0));
        assert_eq!(axis.ticks, [20_000.0, 50_000.0, 100_000.0, 200_000.0]);
        let one = Axis::of(100, 100);
        assert_eq!((one.low, one.high), (100.0, 200.0));
        assert_eq!(Axis::of(0, 0).ticks, [1.0, 2.0]);
    }

    #[test]
    fn a_long_axis_has_powers_of_ten_only() {
        let axis = Axis::of(10, 5_000_000);
        assert_eq!(axis.ticks, [1e1, 1e2, 1e3, 1e4, 1e5, 1e6]);
        assert!(Axis::of(1, u64::MAX).high >= 1e19);
    }
}
