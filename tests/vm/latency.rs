//! The latencies: complete, and with stamps in order. No bound on any of them is asserted. See the
//! guest program `latency`.

use dormir_harness::vmm::{Accelerator, MachineType, Vmm};
use dormir_measure::measuring::latency::{
    plan::{Boot, Load, PROGRAM, RUNTIMES},
    stamps::{Stamper, Stamps, stamps},
};
use libtest_mimic::{Failed, Trial};

use crate::guest::{LIMIT, boot, on_every_vmm};

/// Our VMM, which has all paths, and one with a different timer.
const OURS: Vmm = Vmm::Kvm;
const TRANSLATED: Vmm = Vmm::Qemu(Accelerator::Tcg, MachineType::Q35);

/// How many samples each measurement takes.
const SAMPLES: u32 = 50;

/// How many of them may have an early interrupt. Some do if a PIT is emulated on a busy machine.
const MOST_EARLY: usize = 10;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = on_every_vmm("latency", |vmm| complete_and_in_order(&measurement(vmm)));
    trials.extend(on_every_vmm("latency-pit", |vmm| {
        complete_and_in_order(&Boot {
            timer: Some("pit"),
            ..measurement(vmm)
        })
    }));
    for vmm in [OURS, TRANSLATED] {
        for idle in ["adaptive", "spin"] {
            let trial = move || {
                complete_and_in_order(&Boot {
                    idle,
                    ..measurement(vmm)
                })
            };
            trials.push(Trial::test(format!("{vmm}::latency-{idle}"), trial));
        }
    }
    // If KVM emulates instructions, embassy takes half a minute for a thousand timers.
    for (vmm, load) in [
        (OURS, Load::Sleepers(100)),
        (OURS, Load::Busy(10)),
        (TRANSLATED, Load::Sleepers(1000)),
        (TRANSLATED, Load::Busy(10)),
    ] {
        let trial = move || {
            // Each deadline is far away there.
            let samples = match load {
                Load::Sleepers(_) => SAMPLES / 5,
                _ => SAMPLES,
            };
            complete_and_in_order(&Boot {
                load,
                samples,
                ..measurement(vmm)
            })
        };
        trials.push(Trial::test(format!("{vmm}::latency-{load}"), trial));
    }
    for (name, arguments, message) in REFUSED {
        let trial = move || is_refused(arguments, message);
        trials.push(Trial::test(format!("{TRANSLATED}::{name}"), trial));
    }
    trials
}

/// Arguments that the guest refuses, and its message.
const REFUSED: &[(&str, &str, &str)] = &[
    (
        "latency-of-an-unknown-path",
        "paths=deadline,moon",
        "paths= is one or more of deadline, host, task",
    ),
    (
        "latency-by-a-host-that-injects-nothing",
        "paths=host",
        "this VMM injects no interrupts",
    ),
    (
        "latency-under-an-unknown-load",
        "load=busy-many",
        "load= is one of none",
    ),
    (
        "latency-under-too-much-load",
        "load=sleepers-1001",
        "sleepers-1000",
    ),
    (
        "latency-in-no-time",
        "limit_ms=0",
        "limit_ms= takes a whole number from 1 on",
    ),
];

fn measurement(vmm: Vmm) -> Boot {
    Boot {
        vmm,
        timer: None,
        idle: "halt",
        load: Load::None,
        samples: SAMPLES,
        limit: LIMIT,
    }
}

fn is_refused(arguments: &str, message: &str) -> Result<(), Failed> {
    let mut config = measurement(TRANSLATED).config();
    config.timeout = LIMIT;
    // If a name is given twice, the last one counts.
    config.arguments += " ";
    config.arguments += arguments;
    let run = boot(PROGRAM, &config)?;
    let is_refused = !run.report.outcome.is_success() && run.console.contains(message);
    run.check(is_refused, "the guest did not refuse it")
}

/// Checks that each measurement has all its samples, and each sample its stamps in order.
fn complete_and_in_order(measurement: &Boot) -> Result<(), Failed> {
    let mut config = measurement.config();
    config.timeout = LIMIT;
    let run = boot(PROGRAM, &config)?.succeeded()?;
    if let Some(timer) = measurement.timer {
        run.stat(&format!("source/{timer}"))?;
    }
    run.check(run.stat("tsc_hz")? > 0, "the TSC counts")?;
    for path in measurement.paths() {
        for stamper in RUNTIMES
            .into_iter()
            .flat_map(|runtime| Stamper::of(measurement, runtime))
        {
            let stamps = stamps(measurement, &run.report, path, stamper)?;
            let failure = |what: &str| Err(format!("{path}/{stamper}: {what}: {stamps:?}").into());
            let wanted = match stamper.stamps_wakes {
                true => measurement.samples / 2,
                false => measurement.samples,
            };
            if stamps.from.len() != wanted as usize {
                return failure("some samples are missing");
            }
            let names: Vec<_> = stamps.points.iter().map(|(name, _)| *name).collect();
            if names != points(measurement, path, stamper) {
                return failure("the points are not as expected");
            }
            let samples = 0..stamps.from.len();
            if let Some(index) = samples.clone().find(|&index| !is_in_order(&stamps, index)) {
                return failure(&format!("sample {index} is out of order"));
            }
            let most_early = if *path == "deadline" { MOST_EARLY } else { 0 };
            if samples.filter(|&index| is_early(&stamps, index)).count() > most_early {
                return failure("the interrupt often comes before its cause");
            }
        }
    }
    Ok(())
}

/// Returns the points that are stamped on a path.
fn points(measurement: &Boot, path: &str, stamper: Stamper) -> &'static [&'static str] {
    let is_by_interrupt = path == "host" || measurement.idle == "halt";
    match (path, stamper.runtime, stamper.stamps_wakes) {
        ("task", _, false) => &["poll"],
        ("task", _, true) => &["wake", "poll"],
        (_, "dormir", false) if !is_by_interrupt => &["poll"],
        (_, "dormir", true) if !is_by_interrupt => &["wake", "poll"],
        (_, _, false) => &["handler", "poll"],
        (_, _, true) => &["handler", "wake", "poll"],
    }
}

/// Returns whether the points are in order, and what a runtime does comes after the start.
fn is_in_order(stamps: &Stamps, index: usize) -> bool {
    let points = stamps.points.iter();
    let is_late = |(name, values): &(&str, Vec<u64>)| {
        *name == "handler" || values[index] >= stamps.from[index]
    };
    let path: Vec<u64> = points.clone().map(|(_, values)| values[index]).collect();
    path.is_sorted() && points.clone().all(is_late)
}

/// Returns whether the last interrupt came before the deadline. An alarm may come early: it is then
/// set again, unless the deadline has passed by then.
fn is_early(stamps: &Stamps, index: usize) -> bool {
    let handler = stamps.points.iter().find(|(name, _)| *name == "handler");
    handler.is_some_and(|(_, values)| values[index] < stamps.from[index])
}
