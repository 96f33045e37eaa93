//! The command line: what is asked for is measured, shown and written.

mod compare;
mod counts;
mod draw;
mod failure;
mod figures;
mod hyperlight;
mod io;
mod latency;
mod native;

use crate::{
    measuring::latency::plan::{self, Extent},
    report::compare::gate::Percentage,
};
use clap::Parser;
use dormir_harness::{
    cli::{
        NoSuchVmmError, Under,
        command::{self, Ended, Installing},
    },
    hyperlight::SandboxMode,
    vmm::{StopToken, Vmm},
};
use std::{path::PathBuf, process::ExitCode};

/// Measures what tasks cost, beside other runtimes: --counts, --latency, --native; or --hyperlight,
/// or --io.
///
/// --counts: instructions. Each runtime runs in a guest of its own, linked with the critical
/// section and the heap that dormir's guests have, under QEMU's translator with `-icount
/// shift=0,sleep=off`: there the time-stamp counter counts the guest's instructions, one by one,
/// and no interrupt comes. So the figures are exact, and the same in every run, for one compiler,
/// core and QEMU; their versions are printed with them. Instructions are not time: a locked one
/// takes longer than others. What happens around a halt is counted in dormir's guest, on the real
/// machine; most of that needs KVM, where the harness's own VMM steps through it, and is left out
/// where there is none.
///
/// --latency: time, from a deadline, or an interrupt that the host injects, to the interrupt's
/// handler, the wake and the task's poll, and from one task's wake to the other's poll. Beside it,
/// in turns in the same guest, embassy-executor with the same timer, and the floor: `sti; hlt` and
/// a handler that only stamps and acknowledges. Without --full: the best timer and the PIT under
/// each VMM, 2,000 samples or 10 s a cell. With it also every timer and idle policy, and a thousand
/// sleeping or ten busy tasks beside. Latencies differ from run to run; docs/benchmarks.md says how
/// they are taken.
///
/// --compare: what changed between the files that two runs of --latency --json wrote, with a 95 %
/// interval by the bootstrap. The status is 0 whatever changed; with --fail-above it is 1 if one of
/// dormir's medians became slower by more than that, in the whole interval.
///
/// --html: the latencies as a page, one file that needs no other: distributions, the counts as
/// bars, the sizes of guest images, all figures, the machine. With --latency it is drawn of what is
/// measured, and counts and sizes are taken along; with --from, of what was measured before. --svg
/// draws the first chart of each guest, for places where no page fits.
///
/// --hyperlight: time, in sandboxes of the real hyperlight-host, without its hw-interrupts and
/// with: a call of a guest function with and without the executor, an idle, and by how much sleeps
/// of 1, 10 and 100 ms are too long, beside this machine's own; and host calls, plain and async.
/// 100 samples or 15 s a figure, less for host calls; both modes take some four minutes where KVM
/// emulates instructions. It needs KVM. docs/hyperlight.md and docs/host-calls.md describe how they
/// are taken.
///
/// --io: guests that serve HTTP, by picoserve and by hand, and beside them in turns Debian's cloud
/// kernel with a server of Tokio and hyper as its only program, on the same QEMU. Pages in a second
/// and how late they come by 1, 8 and 100 connections; the time to the first answer; instructions,
/// exits, memory, sizes; reads of a disk; the serial line, and under our own VMM a vsock. The
/// kernel comes by `apt-get download`, and nothing of it is installed; where it cannot be had, a
/// sentence says so, or with --linux nothing is measured. docs/benchmarks.md describes how the
/// figures are taken.
///
/// --native: time, on the host, as ratios to embassy-executor's.
///
/// --splice: the tables in README.md and docs are those of the records in docs/figures, which
/// --json wrote. Where they stand, a comment names them: `<!-- figures: counts-tasks -->`, and
/// `<!-- /figures -->` behind.
///
/// What this needs and is not there is installed first: the compiler's library for guests; QEMU,
/// which --hyperlight does without; and for --io passt.
#[derive(Debug, Parser)]
#[command(name = "dormir-measure", bin_name = "cargo vm bench", version)]
#[command(group = clap::ArgGroup::new("drawing").multiple(true))]
#[command(after_long_help = [
    "Of --counts:",
    &counts::cases_help(),
    hyperlight::ABOUT,
    figures::ABOUT,
].join("\n\n"))]
struct Arguments {
    /// Counts instructions: of a wake, a poll, a switch, a spawn, a join, a timer; and a sleep's
    /// exits
    #[arg(long, groups = ["figures", "by_vmm"])]
    counts: bool,
    /// Measures latency: from a deadline, an interrupt from the host, or a task's wake, to the poll
    #[arg(long, groups = ["figures", "drawable", "by_vmm"])]
    latency: bool,
    /// Measures a Hyperlight guest: what a call and an idle cost, and how exact its sleeps are
    #[arg(long, groups = ["figures", "by_vmm"])]
    hyperlight: bool,
    /// Measures I/O: servers and disks, beside a Linux guest
    #[arg(long, groups = ["figures", "by_vmm"])]
    io: bool,
    /// Compares executors natively, on the host: runs `cargo bench --package dormir-bench`
    #[arg(long, groups = ["figures"])]
    native: bool,
    /// Puts the figures of recorded runs into the Markdown files and the picture of this checkout
    #[arg(long, conflicts_with_all = ["figures", "compare", "from"])]
    splice: bool,
    /// With --splice: changes nothing, and ends with status 1 if a figure is not the record's
    #[arg(long, requires = "splice", conflicts_with_all = ["figures", "compare", "from"])]
    check: bool,
    /// Draws what a file of --latency --json has, without measuring; given again, takes along what
    /// files of --counts --json and of --io --json have
    #[arg(
        long,
        value_name = "FILE",
        groups = ["drawable", "by_vmm"],
        conflicts_with_all = ["figures", "compare"],
        requires = "drawing"
    )]
    from: Vec<PathBuf>,
    /// Measures, or with --from draws, under this VMM; may be given again. For --latency and --io:
    /// kvm, qemu-tcg/q35, qemu-tcg/microvm, qemu-kvm/q35, qemu-kvm/microvm; for --hyperlight:
    /// hyperlight, hyperlight-interrupts [default: all that can be used here, or were; for --io
    /// qemu-tcg and kvm]
    #[arg(long, requires = "by_vmm", value_parser = under)]
    vmm: Vec<Under>,
    /// How many samples each figure of --hyperlight takes at least, if there is time; host calls
    /// take a tenth as many rounds, after one to warm up unless it is a single round
    /// [default: 100]
    #[arg(
        long,
        value_name = "N",
        requires = "hyperlight",
        conflicts_with_all = ["counts", "latency", "io", "from", "compare"],
        allow_negative_numbers = true,
        value_parser = clap::value_parser!(u32).range(1..=100_000)
    )]
    samples: Option<u32>,
    /// How many rounds --io has, in which all servers take turns [default: 5]
    #[arg(
        long,
        value_name = "N",
        requires = "io",
        conflicts_with_all = ["counts", "latency", "hyperlight", "native", "from", "compare"],
        allow_negative_numbers = true,
        value_parser = clap::value_parser!(u32).range(1..=100)
    )]
    rounds: Option<u32>,
    /// For how many seconds of a round each number of connections fetches pages [default: 1]
    #[arg(
        long,
        value_name = "N",
        requires = "io",
        conflicts_with_all = ["counts", "latency", "hyperlight", "native", "from", "compare"],
        allow_negative_numbers = true,
        value_parser = clap::value_parser!(u32).range(1..=60)
    )]
    seconds: Option<u32>,
    /// With --io: measures nothing if Linux cannot be measured, and ends with status 125
    #[arg(
        long,
        requires = "io",
        conflicts_with_all = ["counts", "latency", "hyperlight", "native", "from", "compare"]
    )]
    linux: bool,
    /// Measures latency with every timer and idle policy and under load, 10,000 samples or 60 s a
    /// cell
    // (What it requires is not looked for if that conflicts with what is there.)
    #[arg(
        long,
        requires = "latency",
        conflicts_with_all = ["counts", "hyperlight", "io", "compare"]
    )]
    full: bool,
    /// Also writes the figures to this file, as JSON; what it held before is replaced at the end
    #[arg(long, value_name = "FILE", requires = "figures")]
    json: Option<PathBuf>,
    /// Also draws the page, into this file; what it held before is replaced at the end
    #[arg(long, value_name = "FILE", requires = "drawable", group = "drawing")]
    html: Option<PathBuf>,
    /// Also draws a picture, into this file: for each VMM and timer, how late polls are after a
    /// deadline
    #[arg(long, value_name = "FILE", requires = "drawable", group = "drawing")]
    svg: Option<PathBuf>,
    /// Compares the latencies in two files that --latency --json wrote
    #[arg(long, num_args = 2, value_names = ["BEFORE", "AFTER"], conflicts_with = "figures")]
    compare: Vec<PathBuf>,
    /// Ends with status 1 if a median of dormir's became slower by more than this many percent
    #[arg(
        long,
        value_name = "PERCENT",
        allow_negative_numbers = true,
        requires = "compare",
        conflicts_with_all = ["figures", "from"]
    )]
    fail_above: Option<Percentage>,
    #[command(flatten)]
    installing: Installing,
}

/// Runs `cargo vm bench` with the arguments of this process.
#[must_use]
pub fn main() -> ExitCode {
    command::run(run)
}

/// The command line does not tell what to measure.
#[derive(Debug, thiserror::Error)]
#[error(
    "say what is to be measured: pass --counts, which counts instructions, --latency, which \
     measures time, --io, which measures servers and disks, or --hyperlight, which measures a \
     Hyperlight guest"
)]
struct NoKindError;

/// Reads the name of a VMM or of a Hyperlight mode; where the machine is left out, it is q35.
fn under(name: &str) -> Result<Under, NoSuchVmmError> {
    let vmm = plan::vmm(name).map(Under::Vmm);
    vmm.or_else(|_| name.parse())
}

/// A VMM under which these figures are not measured.
#[derive(Debug, thiserror::Error)]
#[error("{figures} is not measured under {under}: {instead}")]
struct WrongVmmError {
    figures: &'static str,
    under: Under,
    instead: &'static str,
}

impl Arguments {
    /// The VMMs for --latency or --io.
    fn vmms(&self) -> Result<Vec<Vmm>, WrongVmmError> {
        let vmm = |under: &Under| match *under {
            Under::Vmm(vmm) => Ok(vmm),
            under @ Under::Hyperlight(_) => Err(WrongVmmError {
                figures: if self.io { "--io" } else { "--latency" },
                under,
                instead: "pass --hyperlight in its place, or leave this --vmm out",
            }),
        };
        self.vmm.iter().map(vmm).collect()
    }

    /// The modes for --hyperlight.
    fn modes(&self) -> Result<Vec<SandboxMode>, WrongVmmError> {
        let mode = |under: &Under| match *under {
            Under::Hyperlight(mode) => Ok(mode),
            under @ Under::Vmm(_) => Err(WrongVmmError {
                figures: "--hyperlight",
                under,
                instead: "pass --vmm hyperlight or --vmm hyperlight-interrupts, or leave --vmm out \
                          for both",
            }),
        };
        self.vmm.iter().map(mode).collect()
    }
}

fn run(arguments: Arguments, stop: &StopToken) -> Ended {
    if let [before, after] = arguments.compare.as_slice() {
        return compare::run(before, after, arguments.fail_above);
    }
    let drawings = draw::Options {
        html: arguments.html.as_deref(),
        svg: arguments.svg.as_deref(),
    };
    if !arguments.from.is_empty() {
        return draw::run(&arguments.from, &arguments.vmms()?, drawings);
    }
    let json = arguments.json.as_deref();
    let policy = arguments.installing.policy();
    if arguments.latency {
        let options = latency::Options {
            vmms: &arguments.vmms()?,
            extent: if arguments.full {
                Extent::Full
            } else {
                Extent::Usual
            },
            json,
            drawings,
            policy,
        };
        return latency::run(&options, stop);
    }
    if arguments.hyperlight {
        let options = hyperlight::Options {
            modes: &arguments.modes()?,
            samples: arguments.samples.unwrap_or(hyperlight::SAMPLES),
            json,
            policy,
        };
        return hyperlight::run(&options, stop);
    }
    if arguments.io {
        let options = io::Options {
            vmms: &arguments.vmms()?,
            rounds: arguments.rounds.unwrap_or(io::ROUNDS),
            seconds: arguments.seconds.unwrap_or(io::SECONDS),
            wants_linux: arguments.linux,
            json,
            policy,
        };
        return io::run(&options, stop);
    }
    if arguments.splice {
        return figures::run(arguments.check);
    }
    if arguments.native {
        return native::run(json, stop);
    }
    if !arguments.counts {
        return Err(NoKindError.into());
    }
    if let Some(&under) = arguments.vmm.first() {
        return Err(WrongVmmError {
            figures: "--counts",
            under,
            instead: "it chooses where each figure is exact; leave --vmm out",
        }
        .into());
    }
    counts::run(json, policy, stop)
}
