//! `--hyperlight`: what calls and idles of a Hyperlight guest cost, and how exact its sleeps are.

use crate::{
    document::{Host, hyperlight::Document},
    files::Destination,
    measuring::{hyperlight as reading, machine, progress::Progress, versions},
    report,
};
use dormir_harness::{
    cli::command::{Ended, FAILURE, complain, ended},
    escape::escape_lines,
    hyperlight::{self, SandboxMode, SandboxRunner},
    setup::{self, Needs, Policy},
    vmm::StopToken,
    workspace::Workspace,
};
use std::{
    io::{self, Write},
    path::Path,
    time::Duration,
};

/// How many samples each figure takes, unless an option tells otherwise.
pub(super) const SAMPLES: u32 = 100;

/// How long a figure may take for them.
const LIMIT: Duration = Duration::from_secs(15);

/// How long a runner may take for one measurement: it has up to a dozen figures, sandboxes to make,
/// and a slow machine.
const RUNNER_LIMIT: Duration = Duration::from_secs(900);

/// The runner's measurements, and what they are called while they run.
const MEASUREMENTS: &[(&str, &str)] = &[
    ("calls", "calls"),
    ("idle", "idles"),
    ("sleeps", "sleeps of 1, 10 and 100 ms"),
    (HOST_CALLS[0], "host calls of 50 ms"),
    (HOST_CALLS[1], "host calls with large results"),
];

/// The measurements of host calls, whose output has a form of its own.
const HOST_CALLS: [&str; 2] = ["host-calls", "large-host-calls"];

/// What `--help` says of the figures.
pub(super) const ABOUT: &str = "Of --hyperlight, in microseconds:\n\n  call   of a guest function \
    that does nothing (plain); that calls a host function, which returns at once (host-function); \
    and that runs the executor for a future that is ready (block_on), which calls no host \
    function\n  idle   what one costs: the host function that waits, without its wait (wait-elapsed); \
    processor time for a sleep by that function (wait-processor); processor time for one tick and \
    the halt after it (tick-processor)\n  sleep  by how much sleeps of 1, 10 and 100 ms are too \
    long, the guest's and this machine's own\n  host calls  of functions that take 50 ms, plain \
    and async ones, and of guests that are polled: calls in a second, exits from the guest for \
    each, and how long single calls took";

/// What is to be measured.
pub(super) struct Options<'a> {
    /// The modes that were named; none means both.
    pub(super) modes: &'a [SandboxMode],
    pub(super) samples: u32,
    pub(super) json: Option<&'a Path>,
    pub(super) policy: Policy,
}

/// Measures, and prints a table.
pub(super) fn run(options: &Options<'_>, stop: &StopToken) -> Ended {
    // Before anything is installed, built or run for it.
    let json = options.json.map(|name| Destination::check("--json", name));
    let json = json.transpose()?;
    // No set-up can mend this.
    hyperlight::probe()?;
    let workspace = Workspace::locate()?;
    let toolchain = setup::set_up(&workspace, Needs::default(), options.policy, stop)?;
    let guest = hyperlight::build_guest(&toolchain, &workspace, stop)?;
    let asked = |mode: &SandboxMode| options.modes.is_empty() || options.modes.contains(mode);
    let modes = SandboxMode::ALL.into_iter().filter(asked);
    let runners =
        modes.map(|mode| SandboxRunner::build(mode, &workspace, stop).map(|it| (mode, it)));
    let runners: Vec<(SandboxMode, SandboxRunner)> = runners.collect::<Result<_, _>>()?;
    let versions = versions::of_hyperlight(&toolchain, &workspace, stop)?;
    // QEMU is not involved.
    let host = Host {
        qemu: None,
        ..machine::look()
    };

    let mut rows = Vec::new();
    let mut host_calls = Vec::new();
    let progress = Progress::of("measuring", runners.len() * MEASUREMENTS.len());
    for (mode, runner) in &runners {
        let (mut output, mut of_host_calls) = (String::new(), String::new());
        for (name, title) in MEASUREMENTS {
            progress.next(&format!("{mode}, {title}"));
            let what = format!("bench:{name}:{}:{}", options.samples, LIMIT.as_millis());
            let ran = runner.run(&guest, &what, RUNNER_LIMIT, stop)?;
            if !ran.status.success() {
                progress.end();
                // Where standard error is gone, there is no one left to tell.
                let _ = io::stderr().write_all(escape_lines(&ran.output).as_bytes());
                complain(format_args!(
                    "{mode}: {name} could not be measured ({})",
                    ran.status
                ));
                return Ok(FAILURE);
            }
            if HOST_CALLS.contains(name) {
                of_host_calls += &ran.output;
            } else {
                output += &ran.output;
            }
        }
        host_calls.extend(reading::read_host_calls(*mode, &of_host_calls)?);
        rows.extend(reading::read(*mode, &output)?);
    }
    progress.end();
    let document = Document::new(host, versions, rows, host_calls);
    let shown = io::stdout().write_all(report::hyperlight::text(&document).as_bytes());
    // Whether or not anything reads the table.
    if let Some(json) = json {
        json.write(&document.to_json()?)?;
    }
    ended(shown, 0)
}
