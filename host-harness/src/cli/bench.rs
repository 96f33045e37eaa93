//! `cargo vm bench`: what the executor costs, and other runtimes beside it.

pub mod counts;
mod json;
mod progress;
mod table;
mod versions;

use super::{Ended, Installing, ended};
use crate::{
    guest,
    setup::{self, Needs},
    stop::StopToken,
    vmm::{self, Outcome},
    workspace::Workspace,
};
use counts::{Count, PROGRAM, RUNTIMES, Runtime};
use json::Destination;
use progress::Progress;
use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};
use versions::Versions;

/// Measures what tasks cost under dormir and under other runtimes. --counts says what is measured.
///
/// --counts: instructions. Each runtime runs in a guest of its own, linked with the critical section
/// and the heap that dormir's guests have, under QEMU's translator with `-icount shift=0,sleep=off`:
/// there the time-stamp counter counts the guest's instructions, one by one, and no interrupt comes.
/// So the figures are exact, and the same in every run, for one compiler, core and QEMU; their
/// versions are printed with them. Instructions are not time: a locked one takes longer than others.
///
/// What this needs and is not there is installed first: the compiler's library for guests, and QEMU.
#[derive(Debug, clap::Args)]
#[command(after_long_help = counts::cases_help())]
pub(super) struct Arguments {
    /// Counts instructions: of a wake, a poll, a switch, a spawn, a join, a timer
    #[arg(long)]
    counts: bool,
    /// Also writes the figures to this file, as JSON; what it held before is replaced at the end
    #[arg(long, value_name = "FILE", requires = "counts")]
    json: Option<PathBuf>,
    #[command(flatten)]
    installing: Installing,
}

/// It was not said what to measure.
#[derive(Debug, thiserror::Error)]
#[error("say what is to be measured: pass --counts, which counts instructions")]
struct NoKind;

pub(super) fn run(arguments: &Arguments, stop: &StopToken) -> Ended {
    if !arguments.counts {
        return Err(NoKind.into());
    }
    // Before anything is installed, built or run for it.
    let json = arguments.json.as_deref().map(Destination::check);
    let json = json.transpose()?;

    let workspace = Workspace::locate()?;
    let needs = Needs { qemu: true };
    let toolchain = setup::set_up(&workspace, needs, arguments.installing.policy(), stop)?;
    let images = guest::build(&toolchain, &workspace, &[PROGRAM], stop)?;
    let elf = images.get(PROGRAM)?;
    let versions = Versions::gather(&toolchain, &workspace, stop)?;

    let mut all = Vec::new();
    let progress = Progress::of(RUNTIMES.len());
    for runtime in RUNTIMES {
        progress.next(runtime.name);
        match count(runtime, elf, stop)? {
            Ok(counts) => all.extend(counts),
            Err(failure) => {
                progress.end();
                return failure.tell();
            }
        }
    }
    progress.end();
    let shown = io::stdout().write_all(table::text(&all, &versions).as_bytes());
    // Whether or not anybody reads the table.
    if let Some(json) = json {
        json.write(&json::document(&all, &versions)?)?;
    }
    ended(shown, 0)
}

/// A guest that did not end with success.
struct Failure {
    runtime: &'static str,
    outcome: Outcome,
    console: Vec<u8>,
}

impl Failure {
    /// Shows what the guest had to say, and gives its status.
    fn tell(self) -> Ended {
        // Nobody is left to be told if standard error is gone.
        let _ = io::stderr().write_all(&self.console);
        super::complain(format_args!("{}: {}", self.runtime, self.outcome));
        Ok(self.outcome.exit_code())
    }
}

/// Counts one runtime.
fn count(
    runtime: &Runtime,
    elf: &Path,
    stop: &StopToken,
) -> Result<Result<Vec<Count>, Failure>, Box<dyn std::error::Error>> {
    let mut config = counts::config(runtime.name, None);
    config.stop = stop.clone();
    let mut console = Vec::new();
    let report = vmm::run(elf, &config, &mut console)?;
    if report.outcome.is_success() {
        return Ok(Ok(counts::read(&report.stats)?));
    }
    Ok(Err(Failure {
        runtime: runtime.name,
        outcome: report.outcome,
        console,
    }))
}
