//! What the guest reports, and what it means.

use super::{
    distribution::Distribution,
    plan::Boot,
    stamps::{NotLatencies, stamps, stat},
};
use crate::vmm::Report;
use serde::{Deserialize, Serialize};

/// The runtimes, the floor first.
pub const RUNTIMES: [&str; 3] = ["floor", "dormir", "embassy"];

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
    /// Rounds without a sample: the vCPU was awake when they began, or an early alarm was answered so late that
    /// the deadline had passed.
    pub(in super::super) missed: u64,
    /// Samples whose last interrupt came before the deadline, though their poll came after it.
    pub(in super::super) early: u64,
    /// By how much the start of all spans may lie too early or too late; 0 where it is a reading of the same
    /// clock as their ends.
    pub(in super::super) uncertainty_ns: u64,
    pub(in super::super) spans: Vec<Span>,
}

/// From the deadline, the moment at which the host injects, or the call that wakes, to one point on the way.
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

/// What one guest has measured.
pub(super) struct Measured {
    pub(super) cells: Vec<Cell>,
    /// What gave no samples: sentences without their full stops.
    pub(super) left_out: Vec<String>,
}

/// Reads all cells of one guest.
///
/// # Errors
///
/// The report is not what it should be.
pub(super) fn read(boot: &Boot, report: &Report) -> Result<Measured, NotLatencies> {
    let timer = report
        .stats
        .iter()
        .find_map(|(name, _)| name.strip_prefix("source/"))
        .ok_or_else(|| NotLatencies::Incomplete("source".into()))?;
    let tsc_hz = stat(report, "tsc_hz")?;
    let (mut cells, mut left_out) = (Vec::new(), Vec::new());
    for &path in boot.paths() {
        let uncertainty_ns = match path {
            "host" => stat(report, "host/uncertainty_ns")?,
            _ => 0,
        };
        for runtime in RUNTIMES {
            let stamps = match stamps(boot, report, path, runtime) {
                Err(empty @ NotLatencies::Empty(..)) => {
                    left_out.push(format!("{boot}: {empty}"));
                    continue;
                }
                stamps => stamps?,
            };
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
                uncertainty_ns,
                spans: stamps.spans(),
            });
        }
    }
    Ok(Measured { cells, left_out })
}
