//! Random programs of tasks.

use super::{Arguments, Ended, FAILURE, Run, complain, note};
use crate::{
    cli::{counted, output::ConsoleOutput},
    host_cargo::cargo,
    process::{self, Keep, Scope},
    stop::StopToken,
    vmm::{self, Outcome, RunConfig, Vmm},
    workspace::Workspace,
};
use serde_json::json;
use std::{collections::BTreeMap, time::Instant};

/// The library's test, the features that it is built with, and what tells it which programs.
const TEST: &str = "random_programs";
const FEATURES: &str = "--features=alloc,embassy-time";
const COUNT: &str = "DORMIR_PROGRAMS";
const SEED: &str = "DORMIR_PROGRAMS_SEED";

/// The record's name; in a guest the VMM's follows.
const NAME: &str = "soak-programs";

/// How many programs are run before the next line says so.
const BATCH: u64 = 10_000;

/// On how many executors the test runs each.
const EXECUTORS: u64 = 4;

/// What is noted at the end of each program.
const RAN: &str = "Ended";

/// How many are run in a guest if no number is given: on its machine's timers each takes some
/// milliseconds, where the host's virtual clock takes none.
const GUEST_COUNT: u64 = 2000;

/// The guest program, and the executors on which it runs each.
const PROGRAM: &str = "random-programs";
const GUEST_EXECUTORS: [&str; 3] = ["up64", "up64-single", "up4096"];

/// Runs the library's test, in batches.
pub(super) fn on_the_host(arguments: &Arguments, stop: &StopToken) -> Ended {
    let workspace = Workspace::locate()?;
    let count = arguments.count.unwrap_or(arguments.check.default_count());
    let command = |vmm: &str| command_of(arguments, vmm, count);
    let start = Instant::now();
    let limit = arguments.limit();
    let mut figures = BTreeMap::<String, u64>::new();
    let mut done = 0;
    note(format_args!(
        "{count} programs on each of {EXECUTORS} executors, by a test that is built first"
    ));
    while done < count {
        let batch = BATCH.min(count - done);
        let mut test = cargo(&workspace, "test");
        test.args(["--quiet", "--package=dormir", "--lib", FEATURES, "--"])
            .args([TEST, "--nocapture"])
            .env(COUNT, batch.to_string())
            .env(SEED, (arguments.seed + done).to_string());
        let left = limit.saturating_sub(start.elapsed());
        let ran = process::capture(&mut test, Keep::StdoutOnly, Scope::Group, left, stop);
        let ran = counted::within(limit, ran)?;
        let output = ran.as_ref().map_or("", |ran| &*ran.output);
        let failed = match &ran {
            Ok(ran) if !ran.status.success() || !ran.output.contains("1 passed") => {
                Some("one of them fails".to_owned())
            }
            Ok(ran) => too_few(&ran.output, batch * EXECUTORS),
            Err(how) => Some(how.clone()),
        };
        if let Some(how) = failed {
            match ran {
                Ok(_) => complain(format_args!(
                    "a program failed, or the test could not be built ({how}):\n{output}"
                )),
                Err(_) => complain(format_args!(
                    "the time limit came after {done} programs, of which none failed: pass a \
                     longer --timeout, or go on with --seed {}; if {BATCH} take as long, one of \
                     them hangs",
                    arguments.seed + done
                )),
            }
            let failed = Run {
                name: NAME.into(),
                claim: arguments.check.claim(),
                command: command(""),
                took: start.elapsed(),
                passed: Some(false),
                result: format!("of those from {} on: {how}", arguments.seed + done),
                details: json!({}),
            };
            arguments.recording.write(&workspace, &failed)?;
            return Ok(FAILURE);
        }
        for (kind, number) in figures_of(output) {
            *figures.entry(kind.into()).or_default() += number;
        }
        done += batch;
        note(format_args!(
            "{done} of {count} passed, {} s",
            start.elapsed().as_secs()
        ));
    }
    let of = |kind| figures.get(kind).copied().unwrap_or(0);
    let run = Run {
        name: NAME.into(),
        claim: arguments.check.claim(),
        command: command(""),
        took: start.elapsed(),
        passed: Some(true),
        result: format!(
            "{} programs on the host's virtual clock, with {} tasks, {} polls and {} waits",
            of(RAN),
            of("Spawned"),
            of("Polled"),
            of("Waits"),
        ),
        details: json!({ "seed": arguments.seed, "notes": figures }),
    };
    note(format_args!("passed: {}", run.result));
    arguments.recording.write(&workspace, &run)?;
    Ok(0)
}

/// The command line that repeats a run.
fn command_of(arguments: &Arguments, vmm: &str, count: u64) -> String {
    let seed = arguments.seed;
    format!("cargo vm soak programs{vmm} --count {count} --seed {seed}")
}

/// What the test prints for each executor: how often what happened, as `Polled=7`.
fn figures_of(printed: &str) -> impl Iterator<Item = (&str, u64)> {
    printed.split_whitespace().filter_map(|word| {
        let (kind, number) = word.split_once('=')?;
        Some((kind, number.parse().ok()?))
    })
}

/// Why a test has not run as many programs as it should, by what it prints.
fn too_few(printed: &str, expected: u64) -> Option<String> {
    let counts = figures_of(printed).filter(|(kind, _)| *kind == RAN);
    let ran: u64 = counts.map(|(_, number)| number).sum();
    (ran != expected).then(|| format!("{ran} of {expected} were run"))
}

/// Runs the same programs in a guest, on the machine's timers.
pub(super) fn in_a_guest(arguments: &Arguments, vmm: Vmm, stop: &StopToken) -> Ended {
    let (workspace, images) = super::built(arguments, vmm, &[PROGRAM], stop)?;
    let count = arguments.count.unwrap_or(GUEST_COUNT);
    let command = |vmm: &str| command_of(arguments, vmm, count);
    let limit = arguments.limit();
    let config = RunConfig {
        timeout: limit,
        // The guest would end with success, having run too few.
        arguments: format!(
            "count={count} seed={} seconds={}",
            arguments.seed,
            2 * limit.as_secs()
        ),
        stop: stop.clone(),
        ..RunConfig::new(vmm)
    };
    note(format_args!(
        "{vmm}: {count} programs on each of {} executors",
        GUEST_EXECUTORS.len()
    ));
    let mut output = ConsoleOutput::new(false);
    let ran = vmm::run(images.get(PROGRAM)?, &config, &mut output);
    output.finish();
    let report = ran?;
    let sum = |what: &str| -> u64 {
        let stats = report.stats.iter();
        let meant = stats.filter(|(name, _)| name.ends_with(what));
        meant.map(|(_, value)| *value).sum()
    };
    let (programs, waits) = (sum("-programs"), sum("-waits"));
    let passed = programs == count * GUEST_EXECUTORS.len() as u64;
    let run = Run {
        name: format!("{NAME}-{}", vmm.to_string().replace('/', "-")),
        claim: arguments.check.claim(),
        command: command(&format!(" --vmm {vmm}")),
        took: report.wall,
        passed: Some(passed),
        result: format!("{programs} programs on the machine's timers, with {waits} waits"),
        details: json!({ "seed": arguments.seed, "programs": programs, "waits": waits }),
    };
    if !matches!(report.outcome, Outcome::Exited(0)) {
        return super::broke_off(arguments.recording, &workspace, vmm, &report, run);
    }
    arguments.recording.write(&workspace, &run)?;
    if !passed {
        complain(format_args!("{vmm}: the guest ran too few programs"));
        return Ok(FAILURE);
    }
    note(format_args!("{vmm}: passed: {}", run.result));
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_counted_by_what_the_test_prints() {
        let printed = "Up64, 2 programs: Aborted=1 Ended=2 Polled=7 \nUp4096: Ended=2 \n1 passed";
        assert_eq!(too_few(printed, 4), None);
        let few = Some("4 of 8 were run".to_owned());
        assert_eq!(too_few(printed, 8), few);
        assert!(too_few("1 passed", 8).is_some());
    }
}
