//! Interrupts at their worst: two, with each distance, at each instruction of the idle path; and
//! storms. Time is a count of instructions.

use super::{Arguments, Ended, FAILURE, Run, complain, note};
use crate::{
    guest::Images,
    stop::StopToken,
    vmm::{self, Accelerator, MachineType, Outcome, Report, RunConfig, Vmm},
};
use serde_json::{Value, json};
use std::{
    error::Error,
    io,
    time::{Duration, Instant},
};

const SWEEP: &str = "sweep";
const STORM: &str = "storm";

/// The machine with both timers.
pub(super) const VMM: Vmm = Vmm::Qemu(Accelerator::Tcg, MachineType::Q35);

/// The instructions of the idle path, and from its first to the `hlt` with the first interrupt's
/// handler and what follows that; and some more, in which the vCPU sleeps. The guest tells whether
/// it does.
const FIRSTS: u32 = 440;
const GAPS: u32 = 520;

/// After so many interrupts of a storm the guest looks whether each task has made progress.
const INTERRUPTS_OF_A_WATCH: u64 = 2000;

pub(super) fn run(arguments: &Arguments, stop: &StopToken) -> Ended {
    let (workspace, images) = super::built(arguments, VMM, &[SWEEP, STORM], stop)?;
    let count = arguments.count.unwrap_or(arguments.check.default_count());
    let check = InterruptCheck {
        images,
        limit: arguments.limit(),
        stop,
    };
    let start = Instant::now();
    let (mut passed, mut steps, mut details) = (true, 0, Vec::new());
    for (first, then, least_gap) in [
        ("interrupt", "interrupt", 0),
        ("interrupt", "nmi", 1),
        ("nmi", "interrupt", 0),
        ("nmi", "nmi", 1),
    ] {
        for wakes in ["second", "both"] {
            let what = format!("via={first} then={then} wakes={wakes}");
            let ranges = format!("first=1-{FIRSTS} gap={least_gap}-{GAPS} show=lost");
            let swept = check.run(SWEEP, &format!("{what} {ranges}"))?;
            if swept.outcome == Outcome::Stopped {
                return Ok(swept.outcome.exit_code());
            }
            let made = figure(&swept, "steps");
            let expected = FIRSTS * (GAPS + 1 - least_gap);
            passed &= is_success(&swept)
                && made == Some(expected.into())
                && figure(&swept, "lost") == Some(0)
                && figure(&swept, "longest_first").is_some_and(|first| first < FIRSTS.into())
                && figure(&swept, "longest_gap").is_some_and(|gap| gap < GAPS.into());
            steps += made.unwrap_or(0);
            let figures = ["steps", "lost", "longest_first", "longest_gap"];
            details.push(shown(&what, &swept, &figures));
        }
    }
    for (timer, is_busy) in [("xapic", "no"), ("pit", "yes")] {
        let what = format!("timer={timer} busy={is_busy}");
        let storm = check.run(STORM, &format!("{what} interrupts={count}"))?;
        if storm.outcome == Outcome::Stopped {
            return Ok(storm.outcome.exit_code());
        }
        passed &= is_success(&storm)
            && figure(&storm, "interrupts") == Some(count)
            && figure(&storm, "watches") == Some(count / INTERRUPTS_OF_A_WATCH)
            && figure(&storm, "nanos").is_some_and(|nanos| nanos / count <= 10_000);
        let figures = [
            "interrupts",
            "watches",
            "nanos",
            "most_late",
            "most_overdue",
            "least_progress",
        ];
        details.push(shown(&what, &storm, &figures));
    }
    let result = format!(
        "{steps} steps with two interrupts, of which none loses a wake; two storms of {count} \
         interrupts"
    );
    let took = start.elapsed();
    arguments.recording.write(
        &workspace,
        &Run {
            name: "soak-interrupts".into(),
            claim: arguments.check.claim(),
            command: format!("cargo vm soak interrupts --count {count}"),
            took,
            passed: Some(passed),
            result: match passed {
                true => result,
                false => "the details say which part failed, and how".into(),
            },
            details: details.into(),
        },
    )?;
    let took = took.as_secs_f64();
    if !passed {
        complain(format_args!("{VMM}: failed after {took:.1} s"));
        return Ok(FAILURE);
    }
    note(format_args!("{VMM}: passed in {took:.1} s"));
    Ok(0)
}

struct InterruptCheck<'a> {
    images: Images,
    limit: Duration,
    stop: &'a StopToken,
}

impl InterruptCheck<'_> {
    fn run(&self, program: &str, arguments: &str) -> Result<Report, Box<dyn Error>> {
        let config = RunConfig {
            timeout: self.limit,
            arguments: arguments.into(),
            count_instructions: true,
            stop: self.stop.clone(),
            ..RunConfig::new(VMM)
        };
        let elf = self.images.get(program)?;
        Ok(vmm::run(elf, &config, &mut io::stdout())?)
    }
}

fn is_success(report: &Report) -> bool {
    matches!(report.outcome, Outcome::Exited(0))
}

fn figure(report: &Report, name: &str) -> Option<u64> {
    let mut stats = report.stats.iter();
    stats.find(|(key, _)| key == name).map(|(_, value)| *value)
}

/// Prints how a run ended, and returns its figures.
fn shown(what: &str, report: &Report, figures: &[&str]) -> Value {
    let mut details = json!({ "run": what });
    let mut text = String::new();
    for name in figures {
        let value = figure(report, name);
        details[*name] = json!(value);
        text += &format!(
            " {name} {}",
            value.map_or("missing".into(), |value| value.to_string())
        );
    }
    let wall = report.wall.as_secs_f64();
    if is_success(report) {
        note(format_args!("{what}:{text}, {wall:.1} s"));
    } else {
        complain(format_args!("{what}:{text}, {}", report.outcome));
    }
    details
}
