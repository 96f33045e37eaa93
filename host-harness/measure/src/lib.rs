//! `cargo vm bench`: what the executor costs, and other runtimes beside it.

pub mod counts;
pub mod exits;
mod hyperlight;
mod json;
pub mod latency;
pub mod page;
mod progress;
pub mod sizes;
pub mod sleeps;
mod table;
mod versions;

use clap::Parser;
use counts::{Count, PROGRAM, RUNTIMES};
use dormir_harness::{
    cli::{
        NoSuchVmm, Under,
        command::{self, Ended, Installing, complain, ended},
    },
    escape::escape_lines,
    guest::{self, Images},
    hyperlight::Mode,
    setup::{self, Needs},
    toolchain::GuestToolchain,
    vmm::{self, Outcome, Report, RunConfig, StopToken, Vmm, kvm},
    workspace::Workspace,
};
use exits::Exits;
use json::{CountsDocument, Destination};
use progress::Progress;
use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};
use versions::Versions;

/// Measures what tasks cost: --counts or --latency, beside other runtimes, or --hyperlight.
///
/// --counts: instructions. Each runtime runs in a guest of its own, linked with the critical section
/// and the heap that dormir's guests have, under QEMU's translator with `-icount shift=0,sleep=off`:
/// there the time-stamp counter counts the guest's instructions, one by one, and no interrupt comes.
/// So the figures are exact, and the same in every run, for one compiler, core and QEMU; their
/// versions are printed with them. Instructions are not time: a locked one takes longer than others.
/// What happens around a halt is counted in dormir's guest, on the real machine; most of that needs KVM,
/// where the harness's own VMM steps through it, and is left out where there is none.
///
/// --latency: time, from a deadline, or an interrupt that the host injects, to the interrupt's handler, the wake
/// and the task's poll, and from one task's wake to the other's poll. Beside it, in turns in the same guest,
/// embassy-executor with the same timer, and the floor: `sti; hlt` and a handler that only stamps and
/// acknowledges. Without --full: the best timer and the PIT under each VMM, 2,000 samples or 10 s a cell. With it
/// also every timer and idle policy, and a thousand sleeping or ten busy tasks beside. Latencies differ from run
/// to run; docs/benchmarks.md says how they are taken.
///
/// --compare: what changed between the files that two runs of --latency --json wrote, with a 95 % interval
/// by the bootstrap. The status is 0 whatever changed; with --fail-above it is 1 if one of dormir's medians
/// became slower by more than that, in the whole interval.
///
/// --html: the latencies as a page, one file that needs no other: distributions, the counts as bars, the sizes
/// of guest images, all figures, the machine. With --latency it is drawn of what is measured, and counts and
/// sizes are taken along; with --from, of what was measured before. --svg draws the first chart of each guest,
/// for where a page cannot be.
///
/// --hyperlight: time, in sandboxes of the real hyperlight-host, without its hw-interrupts and with: a call of
/// a guest function with and without the executor, an idle, and by how much sleeps of 1, 10 and 100 ms are too
/// long, beside this machine's own. 100 samples or 15 s a figure; both modes take some two minutes where KVM
/// emulates instructions. It needs KVM. docs/hyperlight.md says how they are taken.
///
/// What this needs and is not there is installed first: the compiler's library for guests, and QEMU, which
/// --hyperlight does without.
#[derive(Debug, Parser)]
#[command(name = "dormir-measure", bin_name = "cargo vm bench", version)]
#[command(group = clap::ArgGroup::new("drawing").multiple(true))]
#[command(after_long_help = format!("Of --counts:\n\n{}\n\n{}", counts::cases_help(), hyperlight::ABOUT))]
struct Arguments {
    /// Counts instructions: of a wake, a poll, a switch, a spawn, a join, a timer; and a sleep's exits
    #[arg(long, groups = ["figures", "by_vmm"])]
    counts: bool,
    /// Measures latency: from a deadline, an interrupt from the host, or a task's wake, to the poll
    #[arg(long, groups = ["figures", "drawable", "by_vmm"])]
    latency: bool,
    /// Measures a Hyperlight guest: what a call and an idle cost, and how exact its sleeps are
    #[arg(long, groups = ["figures", "by_vmm"])]
    hyperlight: bool,
    /// Draws what a file of --latency --json has, without measuring; given again, takes the counts of a file of
    /// --counts --json
    #[arg(long, value_name = "FILE", groups = ["drawable", "by_vmm"], conflicts_with_all = ["figures", "compare"], requires = "drawing")]
    from: Vec<PathBuf>,
    /// Measures, or with --from draws, under this VMM; may be given again. For --latency: kvm, qemu-tcg/q35, qemu-tcg/microvm,
    /// qemu-kvm/q35, qemu-kvm/microvm; for --hyperlight: hyperlight, hyperlight-interrupts [default: all that
    /// can be used here, or were]
    #[arg(long, requires = "by_vmm", value_parser = under)]
    vmm: Vec<Under>,
    /// How many samples each figure of --hyperlight takes at least, if there is time [default: 100]
    #[arg(
        long,
        value_name = "N",
        requires = "hyperlight",
        conflicts_with_all = ["counts", "latency", "from", "compare"],
        allow_negative_numbers = true,
        value_parser = clap::value_parser!(u32).range(1..=100_000)
    )]
    samples: Option<u32>,
    /// Measures latency with every timer and idle policy and under load, 10,000 samples or 60 s a cell
    // (What it requires is not looked for if that conflicts with what is there.)
    #[arg(long, requires = "latency", conflicts_with_all = ["counts", "hyperlight", "compare"])]
    full: bool,
    /// Also writes the figures to this file, as JSON; what it held before is replaced at the end
    #[arg(long, value_name = "FILE", requires = "figures")]
    json: Option<PathBuf>,
    /// Also draws the page, into this file; what it held before is replaced at the end
    #[arg(long, value_name = "FILE", requires = "drawable", group = "drawing")]
    html: Option<PathBuf>,
    /// Also draws a picture, into this file: for each VMM and timer, how late polls are after a deadline
    #[arg(long, value_name = "FILE", requires = "drawable", group = "drawing")]
    svg: Option<PathBuf>,
    /// Compares the latencies in two files that --latency --json wrote
    #[arg(long, num_args = 2, value_names = ["BEFORE", "AFTER"], conflicts_with = "figures")]
    compare: Vec<PathBuf>,
    /// Ends with status 1 if a median of dormir's became slower by more than so many percent
    #[arg(long, value_name = "PERCENT", allow_negative_numbers = true, requires = "compare", conflicts_with_all = ["figures", "from"])]
    fail_above: Option<latency::Percentage>,
    #[command(flatten)]
    installing: Installing,
}

/// Runs `cargo vm bench` with the arguments of this process.
#[must_use]
pub fn main() -> ExitCode {
    command::run(run)
}

/// It was not said what to measure.
#[derive(Debug, thiserror::Error)]
#[error(
    "say what is to be measured: pass --counts, which counts instructions, --latency, which measures time, or \
     --hyperlight, which measures a Hyperlight guest"
)]
struct NoKind;

/// Reads the name of a VMM or of a Hyperlight mode; where the machine is left out, it is q35.
fn under(name: &str) -> Result<Under, NoSuchVmm> {
    let vmm = latency::plan::vmm(name).map(Under::Vmm);
    vmm.or_else(|_| name.parse())
}

/// A VMM under which these figures are not measured.
#[derive(Debug, thiserror::Error)]
#[error("{figures} is not measured under {under}: {instead}")]
struct NotUnder {
    figures: &'static str,
    under: Under,
    instead: &'static str,
}

impl Arguments {
    /// The VMMs for --latency.
    fn vmms(&self) -> Result<Vec<Vmm>, NotUnder> {
        let vmm = |under: &Under| match *under {
            Under::Vmm(vmm) => Ok(vmm),
            under @ Under::Hyperlight(_) => Err(NotUnder {
                figures: "--latency",
                under,
                instead: "pass --hyperlight in its place, or leave this --vmm out",
            }),
        };
        self.vmm.iter().map(vmm).collect()
    }

    /// The modes for --hyperlight.
    fn modes(&self) -> Result<Vec<Mode>, NotUnder> {
        let mode = |under: &Under| match *under {
            Under::Hyperlight(mode) => Ok(mode),
            under @ Under::Vmm(_) => Err(NotUnder {
                figures: "--hyperlight",
                under,
                instead: "pass --vmm hyperlight or --vmm hyperlight-interrupts, or leave --vmm out for both",
            }),
        };
        self.vmm.iter().map(mode).collect()
    }
}

fn run(arguments: Arguments, stop: &StopToken) -> Ended {
    if let [before, after] = arguments.compare.as_slice() {
        return latency::compare(before, after, arguments.fail_above);
    }
    let drawn = page::Wanted {
        html: arguments.html.as_deref(),
        svg: arguments.svg.as_deref(),
    };
    if !arguments.from.is_empty() {
        return page::draw_from(&arguments.from, &arguments.vmms()?, drawn);
    }
    if arguments.latency {
        let wanted = latency::Wanted {
            vmms: &arguments.vmms()?,
            extent: if arguments.full {
                latency::plan::Extent::Full
            } else {
                latency::plan::Extent::Usual
            },
            json: arguments.json.as_deref(),
            drawn,
            policy: arguments.installing.policy(),
        };
        return latency::run(&wanted, stop);
    }
    if arguments.hyperlight {
        let wanted = hyperlight::Wanted {
            modes: &arguments.modes()?,
            samples: arguments.samples.unwrap_or(hyperlight::SAMPLES),
            json: arguments.json.as_deref(),
            policy: arguments.installing.policy(),
        };
        return hyperlight::run(&wanted, stop);
    }
    if !arguments.counts {
        return Err(NoKind.into());
    }
    if let Some(&under) = arguments.vmm.first() {
        return Err(NotUnder {
            figures: "--counts",
            under,
            instead: "it chooses where each figure is exact; leave --vmm out",
        }
        .into());
    }
    // Before anything is installed, built or run for it.
    let json = arguments.json.as_deref();
    let json = json.map(|name| Destination::check("--json", name));
    let json = json.transpose()?;

    let workspace = Workspace::locate()?;
    let needs = Needs {
        qemu: true,
        browser: false,
    };
    let toolchain = setup::set_up(&workspace, needs, arguments.installing.policy(), stop)?;
    let images = guest::build(&toolchain, &workspace, &COUNTED, stop)?;
    let (figures, versions) = match count(&toolchain, &workspace, &images, stop)? {
        Ok(counted) => counted,
        Err(failure) => return failure.tell(),
    };
    let shown = io::stdout().write_all(table::text(&figures, &versions).as_bytes());
    // Whether or not anybody reads the table.
    if let Some(json) = json {
        json.write(&CountsDocument::new(&figures, &versions).to_json()?)?;
    }
    ended(shown, 0)
}

/// The guest programs that count.
const COUNTED: [&str; 2] = [PROGRAM, sleeps::PROGRAM];

/// Counts everything, and says what it is exact for.
fn count(
    toolchain: &GuestToolchain,
    workspace: &Workspace,
    images: &Images,
    stop: &StopToken,
) -> Counted<(Figures, Versions)> {
    let versions = Versions::gather(toolchain, workspace, stop)?;
    let progress = Progress::of("counting", RUNTIMES.len() + 1 + sleeps::TIMERS.len());
    let gathered = gather(images, &progress, stop)?;
    progress.end();
    Ok(gathered.map(|figures| (figures, versions)))
}

/// All that is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Figures {
    counts: Vec<Count>,
    exits: Vec<Exits>,
    /// What could not be counted here, and why: sentences without their full stops.
    left_out: Vec<String>,
}

/// What came of it, unless something stood in the way that has nothing to do with the guests.
type Counted<T> = Result<Result<T, Failure>, Box<dyn std::error::Error>>;

/// Counts everything.
fn gather(images: &Images, progress: &Progress, stop: &StopToken) -> Counted<Figures> {
    let mut figures = Figures::default();
    let elf = images.get(PROGRAM)?;
    for runtime in RUNTIMES {
        progress.next(runtime.name);
        match run_guest(runtime.name, elf, counts::config(runtime.name, None), stop)? {
            Ok(report) => figures.counts.extend(counts::read(&report.stats)?),
            Err(failure) => return Ok(Err(failure)),
        }
    }

    let elf = images.get(sleeps::PROGRAM)?;
    progress.next("sleeps");
    let slack = match run_guest("sleeps", elf, sleeps::counted(None), stop)? {
        Ok(report) => {
            let sleeps = sleeps::read_counted(&report.stats)?;
            figures.counts.extend(sleeps.counts);
            sleeps.exits
        }
        Err(failure) => return Ok(Err(failure)),
    };
    let kvm = kvm::probe();
    if kvm.is_err() {
        let sentence = "the sleeps that our VMM steps through are left out: there is no KVM that it can \
                        use, and `cargo vm doctor` says why";
        figures.left_out.push(sentence.into());
    }
    for &timer in sleeps::TIMERS {
        progress.next(timer);
        match &kvm {
            Err(_) => continue,
            Ok(kvm) if timer == "tsc-deadline" && !kvm.tsc_deadline => {
                let sentence = format!("the sleeps with {timer} are left out: this KVM has none");
                figures.left_out.push(sentence);
                continue;
            }
            Ok(_) => {}
        }
        match run_guest(timer, elf, sleeps::stepped(timer), stop)? {
            Ok(report) => {
                let mut sleeps = sleeps::read_stepped(timer, &report)?;
                // Counted above, by the guest itself.
                sleeps.counts.retain(|_| timer != sleeps::COUNTED_TIMER);
                figures.counts.extend(sleeps.counts);
                figures.exits.extend(sleeps.exits);
            }
            // That KVM cannot step is nothing that the guest could help.
            Err(Failure {
                outcome: Outcome::Died(reason),
                ..
            }) => {
                let sentence = format!("the sleeps with {timer} are left out: {reason}");
                figures.left_out.push(sentence);
            }
            Err(failure) => return Ok(Err(failure)),
        }
    }
    figures.exits.extend(slack);
    Ok(Ok(figures))
}

/// A guest that did not end with success.
struct Failure {
    what: &'static str,
    outcome: Outcome,
    console: Vec<u8>,
}

impl Failure {
    /// Shows what the guest had to say, and gives its status.
    fn tell(self) -> Ended {
        // Nobody is left to be told if standard error is gone.
        let console = escape_lines(&String::from_utf8_lossy(&self.console));
        let _ = io::stderr().write_all(console.as_bytes());
        complain(format_args!("{}: {}", self.what, self.outcome));
        Ok(self.outcome.exit_code())
    }
}

/// Runs a guest that is to count `what`.
fn run_guest(
    what: &'static str,
    elf: &Path,
    mut config: RunConfig,
    stop: &StopToken,
) -> Counted<Report> {
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

/// What the fuzz target `json` calls, and the test that replays its corpus: the readers of files of figures, with
/// any bytes. They must return.
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    if let Ok(text) = str::from_utf8(bytes) {
        page::try_text(text);
    }
}
