//! `cargo vm bench --latency`: how late a task is polled.

mod compare;
pub(super) mod distribution;
pub(super) mod document;
pub(super) mod host;
pub mod plan;
pub mod reading;
pub mod stamps;
pub(super) mod table;

use super::{
    Failure,
    json::{CountsDocument, Destination},
    page,
    progress::Progress,
    run_guest, sizes,
    versions::Versions,
};
use compare::Comparison;
pub(super) use compare::Percentage;
use document::Document;
use dormir_harness::{
    cli::command::{Ended, complain, ended},
    escape::{escape, escape_lines},
    guest,
    setup::{self, Needs, Policy},
    vmm::StopToken,
    vmm::{Outcome, Vmm, qemu},
    workspace::Workspace,
};
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
    /// What is to be drawn.
    pub(super) drawn: page::Wanted<'a>,
    pub(super) policy: Policy,
}

/// Measures, prints a table, and draws.
pub(super) fn run(wanted: &Wanted<'_>, stop: &StopToken) -> Ended {
    // Before anything is installed, built or run for it.
    let json = wanted.json.map(|name| Destination::check("--json", name));
    let json = json.transpose()?;
    let others: Vec<PathBuf> = wanted.json.into_iter().map(Path::to_owned).collect();
    wanted.drawn.spare(&others)?;
    let canvases = wanted.drawn.check()?;
    let workspace = Workspace::locate()?;
    let toolchain = setup::set_up(&workspace, needs(wanted), wanted.policy, stop)?;
    let mut programs = vec![PROGRAM];
    if canvases.has_page() {
        programs.extend(super::COUNTED);
        programs.extend(sizes::PROGRAMS.iter().map(|program| program.name));
    }
    let images = guest::build(&toolchain, &workspace, &programs, stop)?;
    let elf = images.get(PROGRAM)?;
    let versions = Versions::of_packages(&toolchain, &workspace, plan::PACKAGES, stop)?;
    let (vmms, mut left_out) = plan::usable(wanted.vmms)?;
    left_out.extend(plan::without_host_path(&vmms));
    let host = Host::look();

    // What the page has besides latencies. First, since it takes less time.
    let (mut counts, mut sizes) = (None, Vec::new());
    if canvases.has_page() {
        sizes = sizes::measure(&images)?;
        match qemu::probe() {
            Err(lack) => left_out.push(format!("the counts are left out: {lack}")),
            Ok(_) => match super::count(&toolchain, &workspace, &images, stop)? {
                Ok((figures, versions)) => {
                    counts = Some(CountsDocument::new(&figures, &versions));
                    left_out.extend(figures.left_out);
                }
                Err(failure) => return failure.tell(),
            },
        }
    }

    let boots = plan::boots(&vmms, wanted.extent);
    let progress = Progress::of("measuring", boots.len());
    let collected = Collected::of(&boots, |boot| {
        progress.next(&boot.to_string());
        measure(boot, elf, stop)
    });
    progress.end();
    let broken = match collected.broken {
        Some(broken) if collected.cells.is_empty() || broken.was_stopped() => return broken.end(),
        broken => broken,
    };
    left_out.extend(collected.left_out);
    let mut document = Document::new(host, versions.to_map(), left_out, collected.cells);
    (document.counts, document.images) = (counts, sizes);
    let shown = io::stdout().write_all(table::text(&document).as_bytes());
    // Whether or not anybody reads the table.
    if let Some(json) = json {
        json.write(&document.to_json()?)?;
    }
    canvases.draw(&document)?;
    match broken {
        Some(broken) => broken.end(),
        None => ended(shown, 0),
    }
}

/// What came of one guest after the other. Where one fails, what was measured before it is kept.
#[derive(Default)]
struct Collected {
    cells: Vec<reading::Cell>,
    left_out: Vec<String>,
    broken: Option<Broken>,
}

/// Why no more was measured.
enum Broken {
    Guest(Failure),
    Error(Box<dyn std::error::Error>),
}

impl Broken {
    fn was_stopped(&self) -> bool {
        matches!(self, Self::Guest(failure) if failure.outcome == Outcome::Stopped)
    }

    fn end(self) -> Ended {
        match self {
            Self::Guest(failure) => failure.tell(),
            Self::Error(error) => Err(error),
        }
    }
}

impl Collected {
    fn of(
        boots: &[Boot],
        mut measure: impl FnMut(&Boot) -> Result<Measured, Box<dyn std::error::Error>>,
    ) -> Self {
        let mut collected = Self::default();
        for boot in boots {
            let broken = match measure(boot) {
                Ok(Measured::Cells(found)) => {
                    collected.cells.extend(found.cells);
                    collected.left_out.extend(found.left_out);
                    continue;
                }
                Ok(Measured::LeftOut(sentence)) => {
                    collected.left_out.push(sentence);
                    continue;
                }
                Ok(Measured::Failed(failure)) => Broken::Guest(failure),
                Err(error) => Broken::Error(error),
            };
            collected.left_out.push(format!(
                "{boot} and all that was to follow are left out: it failed"
            ));
            collected.broken = Some(broken);
            break;
        }
        collected
    }
}

/// Prints what changed from the figures in one file to those in the other. The status is 1 if dormir's have become
/// slower by more than is allowed.
pub(super) fn compare(before: &Path, after: &Path, allowed: Option<Percentage>) -> Ended {
    let (before, after) = (Document::read(before)?, Document::read(after)?);
    let comparison = Comparison::of(&before, &after)?;
    // Names are what the files call them.
    let text = escape_lines(&comparison.text());
    let shown = io::stdout().write_all(text.as_bytes());
    let failures = allowed.and_then(|allowed| comparison.failures(allowed));
    for line in failures.iter().flat_map(|text| text.lines()) {
        complain(format_args!("{line}"));
    }
    ended(shown, u8::from(failures.is_some()))
}

/// Compares a run with itself.
pub(super) fn try_comparison(document: &Document) {
    if let Ok(comparison) = Comparison::of(document, document) {
        let _ = comparison.text();
    }
}

/// QEMU is installed for whoever asked for it, or for everything; not where nothing may be installed.
fn needs(wanted: &Wanted<'_>) -> Needs {
    let is_qemu = |vmm: &Vmm| matches!(vmm, Vmm::Qemu(..));
    let has_all = wanted.vmms.is_empty() || wanted.drawn.html.is_some();
    let by_default = has_all && wanted.policy == Policy::Install;
    Needs {
        qemu: by_default || wanted.vmms.iter().any(is_qemu),
        browser: false,
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
            escape(String::from_utf8_lossy(&failure.console).trim())
        ))),
        Err(failure) => Ok(Measured::Failed(failure)),
    }
}

/// A file that should have figures in it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("{} cannot be read ({reason}): pass a file that --latency --json wrote", name.display())]
    File { name: PathBuf, reason: io::Error },
    #[error(
        "{} is no JSON ({reason}): pass a file that --latency --json wrote",
        name.display()
    )]
    Json {
        name: PathBuf,
        reason: serde_json::Error,
    },
    #[error(
        "{} has latencies that cannot be read ({reason}): measure again with the same version of this command",
        name.display()
    )]
    Layout {
        name: PathBuf,
        reason: serde_json::Error,
    },
    #[error(
        "{} has figures of another kind (`{found}`): pass a file that --latency --json wrote",
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

#[cfg(test)]
mod tests {
    use super::*;
    use document::made_up_cell;

    /// Hours of measuring are not lost by the last guest.
    #[test]
    fn what_was_measured_before_a_guest_failed_is_kept() {
        let boots = plan::boots(&Vmm::ALL, Extent::Usual);
        for breaks in [true, false] {
            let mut measured = 0;
            let collected = Collected::of(&boots, |_| {
                measured += 1;
                match measured {
                    1 => Ok(Measured::Cells(reading::Measured {
                        cells: vec![made_up_cell("dormir", &[5], &[("poll", 1)])],
                        left_out: vec!["there is no such path".into()],
                    })),
                    2 if breaks => Err("the report is not complete".into()),
                    2 => Ok(Measured::Failed(Failure {
                        what: PROGRAM,
                        outcome: Outcome::Exited(7),
                        console: Vec::new(),
                    })),
                    _ => panic!("nothing is measured after a failure"),
                }
            });
            let failed = format!(
                "{} and all that was to follow are left out: it failed",
                boots[1]
            );
            assert_eq!(
                collected.left_out,
                ["there is no such path".to_owned(), failed]
            );
            assert_eq!(collected.cells.len(), 1);
            let broken = collected.broken.expect("it failed");
            assert!(!broken.was_stopped());
            match broken.end() {
                Ok(status) => assert_eq!((status, breaks), (7, false)),
                Err(error) => assert_eq!(error.to_string(), "the report is not complete"),
            }
        }
    }
}
