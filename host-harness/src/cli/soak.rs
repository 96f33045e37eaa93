//! `cargo vm soak`: the long checks.

mod devices;
mod everything;
mod interrupts;
mod programs;

use super::{
    Ended, FAILURE, Installing, Under, complain, counted, note,
    record::{Recording, Run},
};
use crate::{
    guest::{self, Images},
    hyperlight::{self, SandboxMode, SandboxRunner},
    setup::{self, Needs},
    stop::StopToken,
    vmm::{Accelerator, MachineType, Outcome, Report, Vmm, kvm},
    workspace::Workspace,
};
use clap::{ValueEnum, builder::RangedI64ValueParser, value_parser};
use serde_json::json;
use std::{
    error::Error,
    time::{Duration, Instant},
};

/// Runs a long check, and shows its progress
///
/// `cargo vm test` runs each with a smaller count. The status is 0 if the check passed under every
/// VMM, and not 0 if it failed under one.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The check
    check: Check,
    /// How many calls, sandboxes, requests, programs or interrupts of a storm [default: 100000
    /// calls, 1000 sandboxes, 1000000 requests of each device, 100000 programs on each executor or
    /// 2000 in a guest, 6400000 interrupts]; not for everything
    #[arg(long)]
    #[arg(value_parser = RangedI64ValueParser::<u64>::new().range(1..=1_000_000_000))]
    count: Option<u64>,
    /// For how long the guest of everything runs [default: 5]; for no other check
    #[arg(long, conflicts_with = "count")]
    #[arg(value_parser = value_parser!(u16).range(1..))]
    minutes: Option<u16>,
    /// Selects the calls or requests; the first program
    #[arg(long, default_value_t = 0)]
    #[arg(value_parser = RangedI64ValueParser::<u64>::new().range(0..=u32::MAX.into()))]
    seed: u64,
    /// The VMM. For devices and everything kvm, or QEMU's, such as qemu-tcg/q35 [default:
    /// qemu-tcg/microvm]; for programs the same [default: the host]; for others hyperlight or
    /// hyperlight-interrupts [default: both, one after the other]
    #[arg(long)]
    vmm: Option<Under>,
    /// The time limit under each VMM, in minutes [default: 60]; that of everything follows from
    /// --minutes
    #[arg(long, value_name = "MINUTES")]
    #[arg(value_parser = value_parser!(u16).range(1..))]
    timeout: Option<u16>,
    #[command(flatten)]
    recording: Recording,
    #[command(flatten)]
    installing: Installing,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Check {
    /// Host calls with random delays, errors, panics, results in pieces, dropped calls, restores
    /// and cancellations: each ends once, with its own result, or lost
    RandomCalls,
    /// Sandboxes that wait for host calls, driven by two threads
    DrivenSandboxes,
    /// Requests to a virtio disk and a virtio device of random numbers, of which a third is dropped
    /// at random: none is lost, nothing is corrupted, and every buffer is freed
    Devices,
    /// Everything there is at once, in one guest: timers from microseconds to minutes, tasks that
    /// wake, join and abort each other, interrupts, devices, calls of the host. Each wake is
    /// accounted for: one that is lost ends the guest, with its kind and number
    Everything,
    /// Two interrupts at each instruction of the idle path, and a minute of one each 10 µs: no wake
    /// is lost, and no task starves
    Interrupts,
    /// Random programs of tasks against a reference: on the host, where time is virtual, or with
    /// --vmm in a guest
    Programs,
}

/// A check was to run where it cannot.
#[derive(Debug, thiserror::Error)]
#[error("the check `{}` does not run under `{under}`: pass {others} as --vmm", check.name())]
struct WrongVmmError {
    check: Check,
    under: Under,
    others: &'static str,
}

/// A check was given what it is not measured by.
#[derive(Debug, thiserror::Error)]
#[error("the check `{}` takes no --{given}: pass --{instead}, or neither", check.name())]
struct WrongMeasureError {
    check: Check,
    given: &'static str,
    instead: &'static str,
}

impl Arguments {
    /// The time limit under each VMM.
    fn limit(&self) -> Duration {
        Duration::from_secs(60 * u64::from(self.timeout.unwrap_or(60)))
    }
}

impl Check {
    fn default_count(self) -> u64 {
        match self {
            Self::RandomCalls => 100_000,
            Self::DrivenSandboxes => 1000,
            Self::Devices => 1_000_000,
            // It is measured by its time.
            Self::Everything => 0,
            // A minute: one comes each 9.4 µs.
            Self::Interrupts => 6_400_000,
            // On the host.
            Self::Programs => 100_000,
        }
    }

    /// What it shows.
    fn claim(self) -> &'static str {
        match self {
            Self::RandomCalls => {
                "Each host call of a sandbox ends once, with its own result, or lost by a restore"
            }
            Self::DrivenSandboxes => "Sandboxes that wait for host calls are driven by two threads",
            Self::Devices => {
                "No request of a virtio device is lost, none corrupts anything, and every buffer \
                 is freed"
            }
            Self::Everything => {
                "No wake is lost for good, and nothing grows, while a guest uses everything at once"
            }
            Self::Interrupts => {
                "Two interrupts, each NMI or not, the first at each instruction of the idle path, \
                 the second at each from there to the `hlt`, lose no wake, and a storm with one \
                 each 10 µs starves no task."
            }
            Self::Programs => {
                "Random programs of tasks, timers and events do what a sequential reference allows"
            }
        }
    }

    /// Its name here and in the runner.
    fn name(self) -> &'static str {
        match self {
            Self::RandomCalls => "random-calls",
            Self::DrivenSandboxes => "driven-sandboxes",
            Self::Devices => "devices",
            Self::Everything => "everything",
            Self::Interrupts => "interrupts",
            Self::Programs => "programs",
        }
    }
}

pub(super) fn run(arguments: &Arguments, stop: &StopToken) -> Ended {
    let check = arguments.check;
    let wrong = |under, others| WrongVmmError {
        check,
        under,
        others,
    };
    let (given, instead) = match check {
        Check::Everything => {
            let count = arguments.count.map(|_| "count");
            (count.or(arguments.timeout.map(|_| "timeout")), "minutes")
        }
        _ => (arguments.minutes.map(|_| "minutes"), "count"),
    };
    if let Some(given) = given {
        let error = WrongMeasureError {
            check,
            given,
            instead,
        };
        return Err(error.into());
    }
    match (check, arguments.vmm) {
        (Check::Devices | Check::Everything, under) => {
            let vmm = match under {
                None => Vmm::Qemu(Accelerator::Tcg, MachineType::Microvm),
                Some(Under::Vmm(vmm)) => vmm,
                Some(under) => {
                    let others = "kvm, or one of QEMU's, such as qemu-tcg/q35";
                    return Err(wrong(under, others).into());
                }
            };
            match check {
                Check::Everything => everything::run(arguments, vmm, stop),
                _ => devices::run(arguments, vmm, stop),
            }
        }
        (Check::Programs, None) => programs::on_the_host(arguments, stop),
        (Check::Programs, Some(Under::Vmm(vmm))) => programs::in_a_guest(arguments, vmm, stop),
        (Check::Programs, Some(under)) => {
            let others = "kvm, or one of QEMU's, such as qemu-tcg/q35, or none";
            Err(wrong(under, others).into())
        }
        (Check::Interrupts, None | Some(Under::Vmm(interrupts::VMM))) => {
            interrupts::run(arguments, stop)
        }
        (Check::Interrupts, Some(under)) => Err(wrong(under, "qemu-tcg/q35").into()),
        (_, None) => in_sandboxes(arguments, &SandboxMode::ALL, stop),
        (_, Some(Under::Hyperlight(mode))) => in_sandboxes(arguments, &[mode], stop),
        (_, Some(under)) => {
            let others = "hyperlight or hyperlight-interrupts";
            Err(wrong(under, others).into())
        }
    }
}

/// Sets this machine up for a VMM, and builds guest programs.
fn built(
    arguments: &Arguments,
    vmm: Vmm,
    programs: &[&str],
    stop: &StopToken,
) -> Result<(Workspace, Images), Box<dyn Error>> {
    if matches!(vmm, Vmm::Kvm | Vmm::Qemu(Accelerator::Kvm, _)) {
        // Before anything is installed or built: set-up cannot fix this.
        kvm::probe()?;
    }
    let workspace = Workspace::locate()?;
    let needs = Needs {
        qemu: matches!(vmm, Vmm::Qemu(..)),
        ..Needs::default()
    };
    let toolchain = setup::set_up(&workspace, needs, arguments.installing.policy(), stop)?;
    let images = guest::build(&toolchain, &workspace, programs, stop)?;
    Ok((workspace, images))
}

/// Records a run without a result as failed, unless the user has ended it. Says how it ended, and
/// returns its status.
fn broke_off(
    recording: Recording,
    workspace: &Workspace,
    vmm: Vmm,
    report: &Report,
    run: Run,
) -> Ended {
    if !is_ended_by_the_user(&report.outcome) {
        let failed = Run {
            passed: Some(false),
            result: format!("under {vmm}: {}", report.outcome),
            details: json!({}),
            ..run
        };
        recording.write(workspace, &failed)?;
    }
    Ok(complain_of(vmm, report))
}

/// Returns whether a run says nothing about the guest: whatever else ends it is a finding.
fn is_ended_by_the_user(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Stopped | Outcome::ConsoleClosed)
}

/// Says how a run ended without a result, and returns its status.
fn complain_of(vmm: Vmm, report: &Report) -> u8 {
    let took = report.wall.as_secs_f64();
    match &report.outcome {
        Outcome::Stopped => note(format_args!(
            "{vmm}: stopped after {took:.1} s, so there is no result"
        )),
        outcome => complain(format_args!("{vmm}: failed after {took:.1} s: {outcome}")),
    }
    report.outcome.exit_code()
}

fn in_sandboxes(arguments: &Arguments, modes: &[SandboxMode], stop: &StopToken) -> Ended {
    // Before anything is installed or built: set-up cannot fix this.
    hyperlight::probe()?;
    let workspace = Workspace::locate()?;
    let policy = arguments.installing.policy();
    let toolchain = setup::set_up(&workspace, Needs::default(), policy, stop)?;
    let guest = hyperlight::build_guest(&toolchain, &workspace, stop)?;
    let check = arguments.check;
    let count = arguments.count.unwrap_or(check.default_count());
    let what = format!("soak:{}:{count}:{}", check.name(), arguments.seed);
    let limit = arguments.limit();
    let mut status = 0;
    for mode in modes {
        let runner = SandboxRunner::build(*mode, &workspace, stop)?;
        note(format_args!("{mode}: {}, {count}", check.name()));
        let start = Instant::now();
        let mut command = runner.command(&guest, &what);
        let ran = counted::shown(&mut command, limit, stop, |lines| done(lines));
        let ended = counted::within(limit, ran)?;
        let (passed, how) = match &ended {
            Ok((status, done)) if status.success() => {
                let has_done = |done: u64| format!("{done} were done");
                let how = done.map_or("it did not say how many were done".into(), has_done);
                (*done == Some(count), how)
            }
            Ok((status, _)) => (false, status.to_string()),
            Err(how) => (false, how.clone()),
        };
        let (name, seed, took) = (check.name(), arguments.seed, start.elapsed());
        let run = Run {
            name: format!("soak-{name}-{mode}"),
            claim: check.claim(),
            command: format!("cargo vm soak {name} --vmm {mode} --count {count} --seed {seed}"),
            took,
            passed: Some(passed),
            result: match passed {
                true => format!("{count} of them under {mode}"),
                false => format!("under {mode}, with {count} to do: {how}"),
            },
            details: json!({ "count": count, "seed": seed }),
        };
        arguments.recording.write(&workspace, &run)?;
        let took = took.as_secs_f64();
        if passed {
            note(format_args!("{mode}: passed in {took:.1} s"));
        } else {
            complain(format_args!("{mode}: failed after {took:.1} s ({how})"));
            // The status of a runner that found something; others could not check.
            status = match ended.map(|(status, _)| status.code()) {
                Ok(Some(1)) => 1,
                _ => FAILURE,
            };
        }
    }
    Ok(status)
}

/// How many calls or sandboxes there were, as the runner says in the end.
fn done(lines: impl Iterator<Item = String>) -> Option<u64> {
    let counts = lines.filter_map(|line| line.strip_prefix("done=")?.parse().ok());
    counts.last()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runner_that_does_not_say_what_it_did_has_not_passed() {
        let done = |printed: &str| super::done(printed.lines().map(str::to_owned));
        assert_eq!(done("100 calls ended\ndone=100"), Some(100));
        assert_eq!(done("100 calls ended\n"), None);
        assert_eq!(done("done=\nundone=100"), None);
    }

    #[test]
    fn each_end_is_recorded_but_the_users() {
        for outcome in [Outcome::Stopped, Outcome::ConsoleClosed] {
            assert!(is_ended_by_the_user(&outcome), "{outcome}");
        }
        for outcome in [
            Outcome::Exited(1),
            Outcome::Panicked("a poll".into()),
            Outcome::PoweredOff,
            Outcome::TimedOut {
                limit: Duration::from_secs(1),
                place: None,
            },
            Outcome::Died("QEMU".into()),
        ] {
            assert!(!is_ended_by_the_user(&outcome), "{outcome}");
        }
    }
}
