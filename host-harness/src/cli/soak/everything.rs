//! Everything there is at once, in one guest that accounts for each wake.

use super::{Arguments, Ended, FAILURE, Run, complain, note};
use crate::{
    cli::output::ConsoleOutput,
    soak::{self, PROGRAM, Soak},
    stop::StopToken,
    vmm::Vmm,
};
use serde_json::{Map, Value, json};

/// For how many minutes the guest runs, unless another time is asked for.
const MINUTES: u16 = 5;

pub(super) fn run(arguments: &Arguments, vmm: Vmm, stop: &StopToken) -> Ended {
    let (workspace, images) = super::built(arguments, vmm, &[PROGRAM], stop)?;
    let minutes = arguments.minutes.unwrap_or(MINUTES);
    note(format_args!("{vmm}: everything, for {minutes} min"));
    let soak = Soak {
        vmm,
        seconds: 60 * u64::from(minutes),
        arguments: &format!("seed={}", arguments.seed),
    };
    let mut output = ConsoleOutput::new(false);
    let ran = soak.run(images.get(PROGRAM)?, stop, &mut output);
    output.finish();
    let report = ran?;
    let took = report.wall.as_secs_f64();
    let kinds: Map<String, Value> = soak::wakes(&report.stats)
        .map(|(kind, wakes)| (kind.to_owned(), wakes.into()))
        .collect();
    let wakes: u64 = soak::wakes(&report.stats).map(|(_, wakes)| wakes).sum();
    let lacking = soak::lacking(&report.stats, vmm);
    let passed = report.outcome.is_success() && lacking.is_empty();
    if !super::is_ended_by_the_user(&report.outcome) {
        let result = match passed {
            true => {
                let not_shown = soak::not_shown(&report.stats, vmm);
                format!("{wakes} wakes under {vmm}, none lost{not_shown}")
            }
            false if report.outcome.is_success() => {
                format!(
                    "under {vmm} no wakes of these kinds: {}",
                    lacking.join(", ")
                )
            }
            false => format!("under {vmm}: {}", report.outcome),
        };
        let run = Run {
            name: format!("soak-everything-{}", vmm.to_string().replace('/', "-")),
            claim: arguments.check.claim(),
            command: format!(
                "cargo vm soak everything --vmm {vmm} --minutes {minutes} --seed {}",
                arguments.seed
            ),
            took: report.wall,
            passed: Some(passed),
            result,
            details: json!({ "wakes": wakes, "kinds": kinds, "seed": arguments.seed }),
        };
        arguments.recording.write(&workspace, &run)?;
    }
    if !report.outcome.is_success() {
        return Ok(super::complain_of(vmm, &report));
    }
    for (kind, wakes) in soak::wakes(&report.stats) {
        match wakes {
            0 if !soak::has(kind, vmm) => note(format_args!("{vmm}: {kind}: not under this VMM")),
            _ => note(format_args!("{vmm}: {kind}: {wakes}")),
        }
    }
    if !passed {
        complain(format_args!(
            "{vmm}: the guest had no wakes of these kinds: {}",
            lacking.join(", ")
        ));
        return Ok(FAILURE);
    }
    note(format_args!(
        "{vmm}: {wakes} wakes, none lost, in {took:.1} s"
    ));
    Ok(0)
}
