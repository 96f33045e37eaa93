//! `cargo vm bench --latency`: how late a task is polled.

mod compare;
pub(super) mod distribution;
mod document;
pub(super) mod host;
pub mod plan;
pub mod reading;
pub mod stamps;
mod table;

use super::{Failure, json::Destination, progress::Progress, run_guest, versions::Versions};
use crate::{
    cli::{Ended, complain, ended},
    guest,
    setup::{self, Needs, Policy},
    stop::StopToken,
    vmm::Vmm,
    workspace::Workspace,
};
use compare::Comparison;
pub(super) use compare::Percentage;
use document::Document;
use host::Host;
use plan::{Boot, Extent, PROGRAM};
use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

/// What is to be measured.
pub(super) struct Wanted<'a> {
    /// The VMMs that were named; none means all that can be used here.
    pub(super) vmms: &'a [Vmm],
    pub(super) extent: Extent,
    pub(super) json: Option<&'a Path>,
    pub(super) policy: Policy,
}

/// Measures, and prints a table.
pub(super) fn run(wanted: &Wanted<'_>, stop: &StopToken) -> Ended {
    // Before anything is installed, built or run for it.
    let json = wanted.json.map(Destination::check).transpose()?;
    let workspace = Workspace::locate()?;
    let toolchain = setup::set_up(&workspace, needs(wanted), wanted.policy, stop)?;
    let images = guest::build(&toolchain, &workspace, &[PROGRAM], stop)?;
    let elf = images.get(PROGRAM)?;
    let versions = Versions::of_packages(&toolchain, &workspace, plan::PACKAGES, stop)?;
    let (vmms, mut left_out) = plan::usable(wanted.vmms)?;
    left_out.extend(plan::without_host_path(&vmms));
    let host = Host::look();

    let mut cells = Vec::new();
    let boots = plan::boots(&vmms, wanted.extent);
    let progress = Progress::of("measuring", boots.len());
    for boot in &boots {
        progress.next(&boot.to_string());
        match measure(boot, elf, stop)? {
            Measured::Cells(found) => {
                cells.extend(found.cells);
                left_out.extend(found.left_out);
            }
            Measured::LeftOut(sentence) => left_out.push(sentence),
            Measured::Failed(failure) => {
                progress.end();
                return failure.tell();
            }
        }
    }
    progress.end();
    let document = Document::new(host, versions.to_map(), left_out, cells);
    let shown = io::stdout().write_all(table::text(&document).as_bytes());
    // Whether or not anybody reads the table.
    if let Some(json) = json {
        json.write(&document.to_json()?)?;
    }
    ended(shown, 0)
}

/// Prints what changed from the figures in one file to those in the other. The status is 1 if dormir's have become
/// slower by more than is allowed.
pub(super) fn compare(before: &Path, after: &Path, allowed: Option<Percentage>) -> Ended {
    let (before, after) = (Document::read(before)?, Document::read(after)?);
    let comparison = Comparison::of(&before, &after)?;
    let shown = io::stdout().write_all(comparison.text().as_bytes());
    let failures = allowed.and_then(|allowed| comparison.failures(allowed));
    for line in failures.iter().flat_map(|text| text.lines()) {
        complain(format_args!("{line}"));
    }
    ended(shown, u8::from(failures.is_some()))
}

/// QEMU is installed for whoever asked for it, or for everything; not where nothing may be installed.
fn needs(wanted: &Wanted<'_>) -> Needs {
    let is_qemu = |vmm: &Vmm| matches!(vmm, Vmm::Qemu(..));
    let by_default = wanted.vmms.is_empty() && wanted.policy == Policy::Install;
    Needs {
        qemu: by_default || wanted.vmms.iter().any(is_qemu),
    }
}

/// What came of one guest.
enum Measured {
    Cells(reading::Measured),
    /// The machine has no such timer: a sentence without its full stop.
    LeftOut(String),
    Failed(Failure),
}

fn measure(
    boot: &Boot,
    elf: &Path,
    stop: &StopToken,
) -> Result<Measured, Box<dyn std::error::Error>> {
    match run_guest(PROGRAM, elf, boot.config(), stop)? {
        Ok(report) => {
            let found = reading::read(boot, &report)?;
            Ok(Measured::Cells(found))
        }
        Err(failure) if boot.is_left_out(&failure.outcome) => Ok(Measured::LeftOut(format!(
            "{boot} is left out: the guest said `{}`",
            String::from_utf8_lossy(&failure.console).trim()
        ))),
        Err(failure) => Ok(Measured::Failed(failure)),
    }
}

/// A file that should have figures in it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("{} cannot be read ({reason}): pass --compare two files that --json wrote", name.display())]
    File { name: PathBuf, reason: io::Error },
    #[error(
        "{} is no JSON ({reason}): pass --compare two files that --latency --json wrote",
        name.display()
    )]
    Json {
        name: PathBuf,
        reason: serde_json::Error,
    },
    #[error(
        "{} has figures of another kind (`{found}`): pass --compare two files that --latency --json wrote",
        name.display()
    )]
    Kind { name: PathBuf, found: String },
    #[error(
        "{} has schema {found}, and this command reads schema {}: measure again with the same version of \
         this command",
        name.display(),
        document::SCHEMA
    )]
    Schema { name: PathBuf, found: u64 },
}
