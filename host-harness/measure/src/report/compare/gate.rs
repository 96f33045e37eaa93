//! Whether a comparison is to fail: for continuous integration.

use super::{Comparison, joined, percent};
use std::{fmt::Write, str::FromStr};

/// By how much figures may become slower, in percent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Percentage(f64);

/// A text is not a percentage.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a percentage: pass a number from 0 on, as in --fail-above 5")]
pub(crate) struct PercentageError(String);

impl FromStr for Percentage {
    type Err = PercentageError;

    fn from_str(text: &str) -> Result<Self, PercentageError> {
        let number = text.parse().ok();
        number
            .filter(|number: &f64| number.is_finite() && *number >= 0.0)
            .map(Self)
            .ok_or_else(|| PercentageError(text.to_owned()))
    }
}

/// The runtime whose figures may make a comparison fail: no change of dormir could improve the
/// others'.
const RUNTIME: &str = "dormir";

/// The percentile that may fail: two runs of the same sources differ in their tails by more than
/// the samples of one run show.
const PERCENTILE: &str = "p50";

impl Comparison<'_> {
    /// What makes the comparison fail, a line each: dormir's medians that are slower by more than
    /// that in the whole interval, and those that are gone. `None` if there are none.
    pub(crate) fn failures(&self, allowed: Percentage) -> Option<String> {
        let is_ours = |name: &super::Name<'_>| name.last() == Some(&RUNTIME);
        let bound = 1.0 + allowed.0 / 100.0;
        let mut text = String::new();
        for row in self.rows.iter().filter(|row| is_ours(&row.name)) {
            if row.percentile == PERCENTILE && row.change.low > bound {
                // Writing to a string does not fail.
                let _ = writeln!(
                    text,
                    "{}, {}: slower by {} at least, and {} % are allowed",
                    joined(&row.name),
                    row.percentile,
                    percent(row.change.low),
                    allowed.0
                );
            }
        }
        for name in self.lost.iter().filter(|name| is_ours(name)) {
            let _ = writeln!(text, "{}: could not be compared", joined(name));
        }
        if !self.rows.iter().any(|row| is_ours(&row.name)) {
            let _ = writeln!(text, "nothing of {RUNTIME}'s could be compared");
        }
        (!text.is_empty()).then_some(text)
    }
}
