//! The stamps that the guest reports.

use super::plan::{Boot, Load};
use crate::document::distribution::{Distribution, Span};
use dormir_harness::vmm::Report;
use std::fmt;

/// The samples of one cell, in nanoseconds since the start of each one's round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamps {
    /// The deadline, or just before the call that wakes.
    pub from: Vec<u64>,
    /// The points on the way, in their order, by name.
    pub points: Vec<(&'static str, Vec<u64>)>,
    /// How many rounds gave no sample.
    pub missed: u64,
}

/// A guest's report is not what this command expects.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StampsError {
    /// Something is missing, or not as long as the rest.
    #[error(
        "the guest's report is not complete (`{0}`): build command and guest from the same sources"
    )]
    Incomplete(String),
    /// No round gave a sample.
    #[error("none of the {1} rounds of `{0}` gave a sample")]
    Empty(String, u64),
    /// A stamp was taken before the one that comes before it on the way.
    #[error(
        "the guest's stamps are out of order (`{0}`): its time-stamp counter went back, so pin the \
         VMM to one processor, as with `taskset -c 1`, and measure again"
    )]
    Disorder(String),
}

/// A runtime that takes stamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamper {
    /// One of [`RUNTIMES`](super::plan::RUNTIMES).
    pub runtime: &'static str,
    /// Whether wakes are stamped too. That delays polls, so polls are stamped in rounds of their
    /// own.
    pub stamps_wakes: bool,
}

/// As the guest names it: `dormir`, `dormir+wake`.
impl fmt::Display for Stamper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { runtime, .. } = self;
        write!(
            f,
            "{runtime}{}",
            if self.stamps_wakes { "+wake" } else { "" }
        )
    }
}

impl Stamper {
    /// All stampers of this runtime in a guest. Busy tasks wake themselves, so among them the last
    /// wake is not that of the measured task.
    pub fn of(boot: &Boot, runtime: &'static str) -> impl Iterator<Item = Self> {
        let can_stamp_wakes = runtime != "floor" && !matches!(boot.load, Load::Busy(_));
        let stampers = [false, true].map(|stamps_wakes| Self {
            runtime,
            stamps_wakes,
        });
        stampers
            .into_iter()
            .filter(move |stamper| can_stamp_wakes || !stamper.stamps_wakes)
    }

    /// The points on the way that it stamps on a path.
    fn points(self, boot: &Boot, path: &str) -> impl Iterator<Item = &'static str> {
        let is_busy = matches!(boot.load, Load::Busy(_));
        // A runtime that is awake may notice that the deadline has passed before the interrupt
        // comes. A busy one does not look.
        let looks = self.runtime == "dormir" && boot.idle != "halt" && !is_busy;
        let has_handler = path == "host" || (path == "deadline" && !looks);
        [
            ("handler", has_handler),
            ("wake", self.stamps_wakes),
            ("poll", true),
        ]
        .into_iter()
        .filter_map(|(point, is_there)| is_there.then_some(point))
    }
}

/// The stamps of one cell, as they were reported.
///
/// # Errors
///
/// A series or a figure is missing, or the series are not of one length.
pub fn stamps(
    boot: &Boot,
    report: &Report,
    path: &str,
    stamper: Stamper,
) -> Result<Stamps, StampsError> {
    let name = |what: &str| format!("{path}/{stamper}/{what}");
    let series = |what: &str| {
        let name = name(what);
        let found = report.samples.iter().find(|(known, _)| *known == name);
        found
            .map(|(_, series)| series.clone())
            .ok_or(StampsError::Incomplete(name))
    };
    let missed = stat(report, &name("missed"))?;
    let from = match series("from") {
        Err(_) if missed > 0 => return Err(StampsError::Empty(name("from"), missed)),
        from => from?,
    };
    let mut found = Vec::new();
    for point in stamper.points(boot, path) {
        let values = series(point)?;
        if values.len() != from.len() {
            return Err(StampsError::Incomplete(name(point)));
        }
        found.push((point, values));
    }
    Ok(Stamps {
        from,
        points: found,
        missed,
    })
}

pub(crate) fn stat(report: &Report, name: &str) -> Result<u64, StampsError> {
    let found = report.stats.iter().find(|(known, _)| known == name);
    found
        .map(|(_, value)| *value)
        .ok_or_else(|| StampsError::Incomplete(name.to_owned()))
}

impl Stamps {
    /// That each point comes no earlier than the one before it, and the last no earlier than the
    /// start.
    pub(crate) fn check(&self, name: &str) -> Result<(), StampsError> {
        let disorder = || Err(StampsError::Disorder(name.to_owned()));
        let is_before = |one: &[u64], other: &[u64]| one.iter().zip(other).all(|(a, b)| a <= b);
        let mut ways = self.points.windows(2);
        if !ways.all(|pair| is_before(&pair[0].1, &pair[1].1)) {
            return disorder();
        }
        match self.points.last() {
            Some((_, last)) if !is_before(&self.from, last) => disorder(),
            _ => Ok(()),
        }
    }

    /// How many samples have a point before their start.
    pub(crate) fn early(&self) -> u64 {
        let is_early = |index: usize| {
            let mut points = self.points.iter();
            points.any(|(_, values)| values[index] < self.from[index])
        };
        (0..self.from.len())
            .filter(|&index| is_early(index))
            .count() as u64
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        let span = |(to, values): &(&str, Vec<u64>)| {
            let late = values.iter().zip(&self.from);
            Span {
                to: (*to).to_owned(),
                distribution: Distribution::of(late.map(|(at, from)| at.saturating_sub(*from))),
            }
        };
        self.points.iter().map(span).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamps(handler: [u64; 3], wake: [u64; 3], poll: [u64; 3]) -> Stamps {
        Stamps {
            from: vec![100, 200, 300],
            points: vec![
                ("handler", handler.to_vec()),
                ("wake", wake.to_vec()),
                ("poll", poll.to_vec()),
            ],
            missed: 0,
        }
    }

    #[test]
    fn spans_are_counted_from_the_deadline() {
        let stamps = stamps([110, 220, 330], [120, 230, 340], [121, 231, 341]);
        assert_eq!(stamps.check("cell"), Ok(()));
        assert_eq!(stamps.early(), 0);
        let spans = stamps.spans();
        let names: Vec<_> = spans.iter().map(|span| &*span.to).collect();
        assert_eq!(names, ["handler", "wake", "poll"]);
        let buckets = |index: usize| spans[index].distribution.buckets().collect::<Vec<_>>();
        assert_eq!(buckets(0), [(10, 1), (20, 1), (30, 1)]);
        assert_eq!(buckets(2), [(21, 1), (31, 1), (41, 1)]);
    }

    #[test]
    fn stamps_out_of_order_are_refused() {
        let handler = [110, 220, 330];
        for bad in [
            stamps(handler, [109, 230, 340], [121, 231, 341]),
            stamps(handler, [120, 230, 340], [121, 229, 341]),
            stamps([90, 220, 330], [95, 230, 340], [99, 231, 341]),
        ] {
            assert!(
                matches!(bad.check("cell"), Err(StampsError::Disorder(_))),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn an_interrupt_before_its_deadline_is_counted() {
        let stamps = stamps([99, 220, 330], [120, 230, 340], [121, 231, 341]);
        assert_eq!(stamps.check("cell"), Ok(()));
        assert_eq!(stamps.early(), 1);
        assert_eq!(stamps.spans()[0].distribution.quantile(0.0), 0);
    }
}
