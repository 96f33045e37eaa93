//! Whether a comparison is to fail: for continuous integration.

use super::{Comparison, percent, said};
use std::{fmt::Write, str::FromStr};

/// By how much figures may become slower, in percent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Percentage(f64);

/// It is no such number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no percentage: pass a number from 0 on, as in --fail-above 5")]
pub(crate) struct NoPercentage(String);

impl FromStr for Percentage {
    type Err = NoPercentage;

    fn from_str(text: &str) -> Result<Self, NoPercentage> {
        let number = text.parse().ok();
        number
            .filter(|number: &f64| number.is_finite() && *number >= 0.0)
            .map(Self)
            .ok_or_else(|| NoPercentage(text.to_owned()))
    }
}

/// Whose figures may make a comparison fail: what the others do is nothing that a change of dormir could help.
const RUNTIME: &str = "dormir";

/// What may fail of each distribution: two runs of the same sources differ in their tails by more than the samples
/// of one run can tell.
const PERCENTILE: &str = "p50";

impl Comparison<'_> {
    /// What makes the comparison fail, a line each: dormir's medians that are slower by more than that in the
    /// whole interval, and those that are gone. `None` if there are none.
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
                    said(&row.name),
                    row.percentile,
                    percent(row.change.low),
                    allowed.0
                );
            }
        }
        for name in self.lost.iter().filter(|name| is_ours(name)) {
            let _ = writeln!(text, "{}: could not be compared", said(name));
        }
        if !self.rows.iter().any(|row| is_ours(&row.name)) {
            let _ = writeln!(text, "nothing of {RUNTIME}'s could be compared");
        }
        (!text.is_empty()).then_some(text)
    }
}
