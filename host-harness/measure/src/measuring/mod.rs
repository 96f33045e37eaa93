//! Runs guests that measure, and reads what they report.
//!
//! The results are [documents](crate::document).

pub(crate) mod counting;
pub mod counts;
pub mod exits;
pub(crate) mod hyperlight;
pub(crate) mod io;
pub mod latency;
pub(crate) mod machine;
pub(crate) mod native;
pub(crate) mod progress;
pub(crate) mod sizes;
pub mod sleeps;
pub(crate) mod versions;

use dormir_harness::vmm::{self, Outcome, Report, RunConfig, StopToken};
use std::path::Path;

/// The result, or the guest that failed; the outer error has nothing to do with guests.
pub(crate) type Measured<T> = Result<Result<T, Failure>, Box<dyn std::error::Error>>;

/// A guest that did not end with success.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) what: &'static str,
    pub(crate) outcome: Outcome,
    pub(crate) console: Vec<u8>,
}

/// Runs a guest that measures `what`.
pub(crate) fn run_guest(
    what: &'static str,
    elf: &Path,
    mut config: RunConfig,
    stop: &StopToken,
) -> Measured<Report> {
    config.stop = stop.clone();
    let mut console = Vec::new();
    let report = vmm::run(elf, &config, &mut console)?;
    if report.outcome.is_success() {
        return Ok(Ok(report));
    }
    Ok(Err(Failure {
        what,
        outcome: report.outcome,
        console,
    }))
}
