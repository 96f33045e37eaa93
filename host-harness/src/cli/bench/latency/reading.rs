//! What the guest reports, and what it means.

use super::{distribution::Distribution, plan::Boot};
use crate::vmm::Report;
use serde::{Deserialize, Serialize};

/// The runtimes, the floor first.
pub const RUNTIMES: [&str; 3] = ["floor", "dormir", "embassy"];

/// The ways by which a task is woken.
pub const PATHS: [&str; 2] = ["deadline", "task"];

/// One runtime, woken by one path, in one machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in super::super) struct Cell {
    pub(in super::super) vmm: String,
    pub(in super::super) timer: String,
    pub(in super::super) idle: String,
    /// What else there is to do, apart from the floor.
    pub(in super::super) load: String,
    pub(in super::super) path: String,
    pub(in super::super) runtime: String,
    /// How often the guest's TSC counts in a second.
    pub(in super::super) tsc_hz: u64,
    /// Rounds without a sample: the deadline passed before the vCPU slept, or by the time that an early alarm
    /// was answered.
    pub(in super::super) missed: u64,
    /// Samples whose last interrupt came before the deadline, though their poll came after it.
    pub(in super::super) early: u64,
    /// By how much the start of all spans may lie too early or too late; 0 where it is a reading of the same
    /// clock as their ends.
    pub(in super::super) uncertainty_ns: u64,
    pub(in super::super) spans: Vec<Span>,
}

/// From the deadline, or the call that wakes, to one point on the way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in super::super) struct Span {
    /// `handler`, `wake` or `poll`.
    pub(in super::super) to: String,
    #[serde(rename = "histogram_ns")]
    pub(in super::super) distribution: Distribution,
}

/// What a span on a path is held against, among the cells of one machine: the floor's handler, or the first
/// instruction of its main line.
pub(in super::super) fn floor<'a>(
    cells: impl IntoIterator<Item = &'a Cell>,
    path: &str,
    span: &Span,
) -> Option<&'a Distribution> {
    let is_floor = |cell: &&Cell| cell.runtime == "floor" && cell.path == path;
    let floor = cells.into_iter().find(is_floor)?;
    let to = if span.to == "handler" {
        "handler"
    } else {
        "poll"
    };
    let span = floor.spans.iter().find(|span| span.to == to)?;
    Some(&span.distribution)
}

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
pub enum NotLatencies {
    /// Something is not there, or twice as long as the rest.
    #[error(
        "the guest's report is not complete (`{0}`): build command and guest from the same sources"
    )]
    Incomplete(String),
    /// A stamp was taken before the one that comes before it on the way.
    #[error(
        "the guest's stamps are out of order (`{0}`): its time-stamp counter went back, so pin the VMM to \
         one processor, as with `taskset -c 1`, and measure again"
    )]
    Disorder(String),
}

/// The points on the way that a runtime stamps on a path. Where dormir does not just halt, it may see by itself
/// that the deadline has passed, before the interrupt comes.
fn points(path: &str, runtime: &str, idle: &str) -> impl Iterator<Item = &'static str> {
    let has_handler = path == "deadline" && (runtime != "dormir" || idle == "halt");
    let has_wake = runtime != "floor";
    [("handler", has_handler), ("wake", has_wake), ("poll", true)]
        .into_iter()
        .filter_map(|(point, is_there)| is_there.then_some(point))
}

/// The stamps of one cell, as they were reported, where dormir was idle by that policy.
///
/// # Errors
///
/// A series or a figure is missing, or the series are not of one length.
pub fn stamps(
    report: &Report,
    path: &str,
    runtime: &str,
    idle: &str,
) -> Result<Stamps, NotLatencies> {
    let name = |what: &str| format!("{path}/{runtime}/{what}");
    let series = |what: &str| {
        let name = name(what);
        let found = report.samples.iter().find(|(known, _)| *known == name);
        found
            .map(|(_, series)| series.clone())
            .ok_or(NotLatencies::Incomplete(name))
    };
    let from = series("from")?;
    let mut found = Vec::new();
    for point in points(path, runtime, idle) {
        let values = series(point)?;
        if values.len() != from.len() {
            return Err(NotLatencies::Incomplete(name(point)));
        }
        found.push((point, values));
    }
    Ok(Stamps {
        from,
        points: found,
        missed: stat(report, &name("missed"))?,
    })
}

fn stat(report: &Report, name: &str) -> Result<u64, NotLatencies> {
    let found = report.stats.iter().find(|(known, _)| known == name);
    found
        .map(|(_, value)| *value)
        .ok_or_else(|| NotLatencies::Incomplete(name.to_owned()))
}

/// Reads all cells of one guest.
pub(super) fn read(boot: &Boot, report: &Report) -> Result<Vec<Cell>, NotLatencies> {
    let timer = report
        .stats
        .iter()
        .find_map(|(name, _)| name.strip_prefix("source/"))
        .ok_or_else(|| NotLatencies::Incomplete("source".into()))?;
    let tsc_hz = stat(report, "tsc_hz")?;
    let mut cells = Vec::new();
    for path in PATHS {
        for runtime in RUNTIMES {
            let stamps = stamps(report, path, runtime, boot.idle)?;
            stamps.check(&format!("{path}/{runtime}"))?;
            cells.push(Cell {
                vmm: boot.vmm.to_string(),
                timer: timer.to_owned(),
                idle: boot.idle.to_owned(),
                load: boot.load.to_string(),
                path: path.to_owned(),
                runtime: runtime.to_owned(),
                tsc_hz,
                missed: stamps.missed,
                early: stamps.early(),
                uncertainty_ns: 0,
                spans: stamps.spans(),
            });
        }
    }
    Ok(cells)
}

impl Stamps {
    /// That each point comes no earlier than the one before it, and the last no earlier than the deadline.
    fn check(&self, name: &str) -> Result<(), NotLatencies> {
        let disorder = || Err(NotLatencies::Disorder(name.to_owned()));
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

    /// How many samples have a point before their deadline.
    fn early(&self) -> u64 {
        let is_early = |index: usize| {
            let mut points = self.points.iter();
            points.any(|(_, values)| values[index] < self.from[index])
        };
        (0..self.from.len())
            .filter(|&index| is_early(index))
            .count() as u64
    }

    fn spans(&self) -> Vec<Span> {
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
                matches!(bad.check("cell"), Err(NotLatencies::Disorder(_))),
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
