//! A distribution of durations.

use hdrhistogram::Histogram;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// Significant decimal digits that are kept: values are exact to a thousandth.
const DIGITS: u8 = 3;

/// The most values that a file may claim: with more, sums of counts and shares of them are not
/// exact.
const MOST: u64 = 1 << 52;

/// Durations in nanoseconds, with their counts.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Distribution(Histogram<u64>);

/// The quantiles that are shown of each distribution; 1 is its largest value.
pub(crate) const QUANTILES: [(&str, f64); 5] = [
    ("p50", 0.5),
    ("p90", 0.9),
    ("p99", 0.99),
    ("p99.9", 0.999),
    ("max", 1.0),
];

/// From the deadline, the moment at which the host injects, or the call that wakes, to one point on
/// the way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Span {
    /// `handler`, `wake` or `poll`.
    pub(crate) to: String,
    #[serde(rename = "histogram_ns")]
    pub(crate) distribution: Distribution,
}

impl Distribution {
    pub(crate) fn of(nanos: impl IntoIterator<Item = u64>) -> Self {
        let mut distribution = Self::empty();
        for value in nanos {
            distribution.add(value, 1);
        }
        distribution
    }

    fn empty() -> Self {
        Self(Histogram::new(DIGITS).expect("this many digits are allowed"))
    }

    fn add(&mut self, value: u64, count: u64) {
        let recorded = self.0.record_n(value, count);
        recorded.expect("it grows with its values, up to the largest that there are");
    }

    /// Takes the values of another one in.
    pub(crate) fn merge(&mut self, other: &Self) {
        let merged = self.0.add(&other.0);
        merged.expect("it grows with its values, and keeps as many digits");
    }

    /// How many values there are.
    pub(crate) fn len(&self) -> u64 {
        self.0.len()
    }

    /// The smallest value that this part of all values does not exceed; 0 if there are none.
    pub(crate) fn quantile(&self, part: f64) -> u64 {
        self.0.value_at_quantile(part)
    }

    /// The values, smallest first, with their counts.
    pub(crate) fn buckets(&self) -> impl Iterator<Item = (u64, u64)> {
        let recorded = self.0.iter_recorded();
        recorded.map(|step| (step.value_iterated_to(), step.count_at_value()))
    }
}

/// Pairs of a value and its count, smallest value first.
impl Serialize for Distribution {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.buckets())
    }
}

impl<'de> Deserialize<'de> for Distribution {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut distribution = Self::empty();
        let mut all = 0_u64;
        for (value, count) in Vec::<(u64, u64)>::deserialize(deserializer)? {
            if count == 0 {
                return Err(D::Error::custom("a value that never occurred"));
            }
            let sum = all.checked_add(count).filter(|all| *all <= MOST);
            all = sum
                .ok_or_else(|| D::Error::custom("a histogram of more values than there can be"))?;
            distribution.add(value, count);
        }
        if distribution.len() == 0 {
            return Err(D::Error::custom("a histogram without values"));
        }
        Ok(distribution)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_values() {
        let distribution = Distribution::of((1..=1000).rev());
        let found = QUANTILES.map(|(_, part)| distribution.quantile(part));
        assert_eq!(found, [500, 900, 990, 999, 1000]);
        assert_eq!(distribution.len(), 1000);
        assert_eq!(Distribution::of([]).quantile(0.5), 0);
        assert_eq!(Distribution::of([0, 0, 7]).quantile(0.5), 0);
    }

    #[test]
    fn large_values_are_exact_to_a_thousandth() {
        for value in [123_456, 98_765_432, 1 << 40] {
            let found = Distribution::of([value]).quantile(1.0);
            assert!(found.abs_diff(value) <= value / 1000, "{found} for {value}");
        }
    }

    #[test]
    fn a_distribution_survives_json() {
        let distribution = Distribution::of([0, 5, 5, 70_123, 9_000_000]);
        let json = serde_json::to_string(&distribution).expect("it can be written");
        assert!(json.starts_with("[[0,1],[5,2],["), "{json}");
        let read: Distribution = serde_json::from_str(&json).expect("it can be read");
        let buckets = |distribution: &Distribution| distribution.buckets().collect::<Vec<_>>();
        assert_eq!(buckets(&read), buckets(&distribution));
    }

    #[test]
    fn what_is_no_distribution_is_refused() {
        for bad in ["[[5,0]]", "[]", "[[1]]", "[[-1,1]]", "{}"] {
            assert!(serde_json::from_str::<Distribution>(bad).is_err(), "{bad}");
        }
        let largest = format!("[[{},{MOST}]]", u64::MAX);
        let read: Distribution = serde_json::from_str(&largest).expect("any value");
        assert_eq!(read.len(), MOST);
        for counts in [[MOST, 1], [u64::MAX, u64::MAX], [1, u64::MAX]] {
            let more = format!("[[1,{}],[2,{}]]", counts[0], counts[1]);
            let error = serde_json::from_str::<Distribution>(&more).expect_err("too many");
            assert!(error.to_string().contains("more values"), "{error}");
        }
    }
}
