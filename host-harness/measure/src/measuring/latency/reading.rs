//! What the guest reports, and what it means.

use super::{
    plan::{Boot, RUNTIMES},
    stamps::{Stamper, Stamps, StampsError, stamps, stat},
};
use crate::document::latency::Cell;
use dormir_harness::vmm::Report;

/// What one guest has measured.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) cells: Vec<Cell>,
    /// What gave no samples: sentences without their full stops.
    pub(crate) left_out: Vec<String>,
}

/// Reads all cells of one guest.
///
/// # Errors
///
/// The report is not what it should be.
pub(crate) fn read(boot: &Boot, report: &Report) -> Result<Reading, StampsError> {
    let timer = report
        .stats
        .iter()
        .find_map(|(name, _)| name.strip_prefix("source/"))
        .ok_or_else(|| StampsError::Incomplete("source".into()))?;
    let tsc_hz = stat(report, "tsc_hz")?;
    let (mut cells, mut left_out) = (Vec::new(), Vec::new());
    for &path in boot.paths() {
        let uncertainty_ns = match path {
            "host" => stat(report, "host/uncertainty_ns")?,
            _ => 0,
        };
        for runtime in RUNTIMES {
            let mut cell = Cell {
                vmm: boot.vmm.to_string(),
                timer: timer.to_owned(),
                idle: boot.idle.to_owned(),
                load: boot.load.to_string(),
                path: path.to_owned(),
                runtime: runtime.to_owned(),
                tsc_hz,
                missed: 0,
                early: 0,
                uncertainty_ns,
                spans: Vec::new(),
            };
            for stamper in Stamper::of(boot, runtime) {
                match stamps(boot, report, path, stamper) {
                    Err(empty @ StampsError::Empty(..)) => {
                        left_out.push(format!("{boot}: {empty}"));
                    }
                    stamps => cell.add(stamper, &stamps?)?,
                }
            }
            if !cell.spans.is_empty() {
                cells.push(cell);
            }
        }
    }
    Ok(Reading { cells, left_out })
}

/// The points, in their order on the way.
const POINTS: [&str; 3] = ["handler", "wake", "poll"];

impl Cell {
    /// Adds what was stamped: the wakes, if the stamper stamps wakes; else all other points.
    fn add(&mut self, stamper: Stamper, stamps: &Stamps) -> Result<(), StampsError> {
        stamps.check(&format!("{}/{stamper}", self.path))?;
        self.missed = self.missed.saturating_add(stamps.missed);
        self.early = self.early.saturating_add(stamps.early());
        let spans = stamps.spans().into_iter();
        self.spans
            .extend(spans.filter(|span| (span.to == "wake") == stamper.stamps_wakes));
        self.spans
            .sort_by_key(|span| POINTS.iter().position(|point| *point == span.to));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{super::plan::Load, *};
    use dormir_harness::vmm::{Outcome, Vmm};
    use std::time::Duration;

    fn boot(load: Load) -> Boot {
        Boot {
            vmm: Vmm::Kvm,
            timer: None,
            idle: "halt",
            load,
            samples: 2,
            limit: Duration::from_secs(1),
        }
    }

    /// What the guest reports if each span takes as many nanoseconds as its name has letters.
    fn report(boot: &Boot) -> Report {
        let mut stats = vec![
            ("source/tsc-deadline".into(), 1),
            ("tsc_hz".into(), 1000),
            ("host/uncertainty_ns".into(), 9),
        ];
        let mut samples = Vec::new();
        for path in boot.paths() {
            for stamper in RUNTIMES
                .into_iter()
                .flat_map(|name| Stamper::of(boot, name))
            {
                let name = |what: &str| format!("{path}/{stamper}/{what}");
                stats.push((name("missed"), 1));
                for (what, value) in [
                    ("from", 100),
                    ("handler", 107),
                    ("wake", 108),
                    ("poll", 109),
                ] {
                    samples.push((name(what), vec![value; 2]));
                }
            }
        }
        Report {
            outcome: Outcome::Exited(0),
            panic: None,
            stats,
            samples,
            data: Vec::new(),
            data_dropped: 0,
            times: Vec::new(),
            wall: Duration::ZERO,
            counters: None,
            stretches: Vec::new(),
            backtrace: None,
            stalls: Vec::new(),
            warnings: Vec::new(),
        }
    }

    #[test]
    fn each_path_and_runtime_is_a_cell_with_its_points_in_order() {
        let boot = boot(Load::None);
        let read = read(&boot, &report(&boot)).expect("it is complete");
        assert_eq!(read.left_out, Vec::<String>::new());
        let names = read.cells.iter().map(|cell| {
            let points: Vec<_> = cell.spans.iter().map(|span| &*span.to).collect();
            (
                &*cell.path,
                &*cell.runtime,
                points.join(" "),
                cell.missed,
                cell.uncertainty_ns,
            )
        });
        let names: Vec<_> = names.collect();
        let all = || "handler wake poll".to_owned();
        let expected = [
            ("deadline", "floor", "handler poll".into(), 1, 0),
            ("deadline", "dormir", all(), 2, 0),
            ("deadline", "embassy", all(), 2, 0),
            ("host", "floor", "handler poll".into(), 1, 9),
            ("host", "dormir", all(), 2, 9),
            ("host", "embassy", all(), 2, 9),
            ("task", "floor", "poll".into(), 1, 0),
            ("task", "dormir", "wake poll".into(), 2, 0),
            ("task", "embassy", "wake poll".into(), 2, 0),
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn a_cell_without_samples_is_left_out_with_a_sentence() {
        let boot = boot(Load::Busy(10));
        let mut report = report(&boot);
        report
            .samples
            .retain(|(name, _)| !name.starts_with("host/dormir/"));
        let read = read(&boot, &report).expect("the rest is complete");
        assert_eq!(read.cells.len(), 8);
        assert_eq!(
            read.left_out,
            [
                "kvm, best timer, load busy-10: none of the 1 rounds of `host/dormir/from` gave a \
                 sample"
            ]
        );
    }

    #[test]
    fn a_series_that_is_missing_or_short_is_refused() {
        let boot = boot(Load::None);
        for (name, length) in [("task/embassy+wake/wake", 0), ("deadline/floor/poll", 1)] {
            let mut report = report(&boot);
            let series = report.samples.iter_mut().find(|(found, _)| found == name);
            series.expect("it is there").1.truncate(length);
            let error = read(&boot, &report).map(|_| ()).expect_err(name);
            assert_eq!(error, StampsError::Incomplete(name.into()));
        }
    }
}
