//! The latencies: complete, and in the order in which they come about. No bound on any of them is asserted.
//! See the guest program `latency`.

use dormir_harness::{
    cli::bench::latency::{
        plan::{Boot, Load, PROGRAM},
        reading::{PATHS, RUNTIMES, Stamps, stamps},
    },
    vmm::Vmm,
};
use libtest_mimic::{Failed, Trial};

use crate::guest::{LIMIT, Run, boot, on_every_vmm};

/// How many samples each cell takes.
const SAMPLES: u32 = 50;

/// How many of them may have an early interrupt. Some have, where a PIT is emulated on a busy machine.
const MOST_EARLY: usize = 10;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = on_every_vmm("latency", |vmm| complete_and_in_order(vmm, None));
    trials.extend(on_every_vmm("latency-pit", |vmm| {
        complete_and_in_order(vmm, Some("pit"))
    }));
    for idle in ["adaptive", "spin"] {
        let trial = move || {
            let mut measurement = measurement("qemu-tcg/q35".parse()?, None);
            measurement.idle = idle;
            check(&measure(&measurement)?, idle)
        };
        trials.push(Trial::test(format!("qemu-tcg/q35::latency-{idle}"), trial));
    }
    trials
}

fn measurement(vmm: Vmm, timer: Option<&'static str>) -> Boot {
    Boot {
        vmm,
        timer,
        idle: "halt",
        load: Load::None,
        samples: SAMPLES,
        limit: LIMIT,
    }
}

fn measure(measurement: &Boot) -> Result<Run, Failed> {
    let mut config = measurement.config();
    config.timeout = LIMIT;
    boot(PROGRAM, &config)?.succeeded()
}

fn complete_and_in_order(vmm: Vmm, timer: Option<&'static str>) -> Result<(), Failed> {
    let run = measure(&measurement(vmm, timer))?;
    if let Some(timer) = timer {
        run.stat(&format!("source/{timer}"))?;
    }
    run.check(run.stat("tsc_hz")? > 0, "the TSC counts")?;
    check(&run, "halt")
}

/// That each cell has all its samples, and each sample its stamps in their order.
fn check(run: &Run, idle: &str) -> Result<(), Failed> {
    for path in PATHS {
        for runtime in RUNTIMES {
            let stamps = stamps(&run.report, path, runtime, idle)?;
            let complain = |what: &str| Err(format!("{path}/{runtime}: {what}: {stamps:?}").into());
            if stamps.from.len() != SAMPLES as usize {
                return complain("not all samples are there");
            }
            let names: Vec<_> = stamps.points.iter().map(|(name, _)| *name).collect();
            let expected: &[&str] = match (path, runtime) {
                ("deadline", "floor") => &["handler", "poll"],
                ("deadline", "dormir") if idle != "halt" => &["wake", "poll"],
                ("deadline", _) => &["handler", "wake", "poll"],
                (_, "floor") => &["poll"],
                _ => &["wake", "poll"],
            };
            if names != expected {
                return complain("other points than expected");
            }
            let samples = 0..stamps.from.len();
            if let Some(index) = samples.clone().find(|&index| !is_in_order(&stamps, index)) {
                return complain(&format!("sample {index} is out of order"));
            }
            if samples.filter(|&index| is_early(&stamps, index)).count() > MOST_EARLY {
                return complain("the interrupt often comes before the deadline");
            }
        }
    }
    Ok(())
}

/// Each point after the one before it, and what a runtime does not before the deadline.
fn is_in_order(stamps: &Stamps, index: usize) -> bool {
    let points = stamps.points.iter();
    let is_late = |(name, values): &(&str, Vec<u64>)| {
        *name == "handler" || values[index] >= stamps.from[index]
    };
    let way: Vec<u64> = points.clone().map(|(_, values)| values[index]).collect();
    way.is_sorted() && points.clone().all(is_late)
}

/// Whether the last interrupt came before the deadline. An alarm may come early: then it is set again, unless
/// the deadline has passed by then.
fn is_early(stamps: &Stamps, index: usize) -> bool {
    let handler = stamps.points.iter().find(|(name, _)| *name == "handler");
    handler.is_some_and(|(_, values)| values[index] < stamps.from[index])
}
