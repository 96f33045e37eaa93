//! The cases of the guest program `cases` that pass by returning.

use std::time::Duration;

use dormir_harness::vmm::{Accelerator, MachineType, Vmm};
use libtest_mimic::{Failed, Trial};

use crate::guest::{LIMIT, boot, config, on_every_vmm};

const CASES: &[&str] = &[
    "event-wakes-each-time",
    "event-counts-between-awaits",
    "event-is-polled-amid-signals",
    "executor-spawn-in-handler",
    "executor-abort-in-handler",
    "executor-handle-dropped-in-handler",
    "executor-run-leaves-all-as-it-was",
    "executor-in-a-loop-of-ones-own",
    "executor-starves-no-timer",
    "executor-nmi-wakes",
    "idle-spin-never-halts",
    "idle-spin-ends-sleeps",
    "idle-adaptive-ends-sleeps",
    "idle-adaptive-spins-for-long",
    "idle-adaptive-learns-to-spin",
    "idle-adaptive-halts-at-first",
    "interrupt-handler-wakes",
    "interrupt-handler-sets-timer",
    "interrupt-flag-is-kept",
    "interrupt-entry-saves-all",
    "interrupt-spurious",
    "critical-section-nests",
    "sleepers-1000-end-in-order",
    "sleepers-with-one-deadline",
    "timer-source",
    "timer-interrupt-saves-all",
    "timer-beyond-the-counter",
    "timer-in-the-past",
    "timer-a-few-ticks-away",
    "timer-dropped-never-fires",
    "timer-reset",
    "timer-follows-the-last-waker",
    "timer-never-disturbs-no-other",
    "clock-never-goes-back",
    "delay-is-never-short",
    "waker-after-its-future",
    "nested-block-on",
    "nested-block-on-takes-no-wake",
    "self-wake",
    "regression-alarm-in-the-past",
    "regression-sentinel-deadline",
    "regression-overflow-in-now-plus-duration",
    "regression-near-deadline-storm",
    "regression-cancelled-timers-pile-up",
];

/// Cases that take long where KVM emulates each instruction.
const LONG_CASES: &[&str] = &["executor-10000-asleep", "executor-10000-asleep-on-one-vcpu"];

/// Cases for QEMU's translator only: a KVM that emulates instructions may deliver an interrupt
/// while one of the same priority is in service.
const CASES_ON_TCG: &[&str] = &["interrupt-spurious-ends-no-other"];

pub(crate) fn trials() -> Vec<Trial> {
    let on_tcg = CASES_ON_TCG.iter().flat_map(|case| {
        [MachineType::Q35, MachineType::Microvm].map(|machine| {
            let vmm = Vmm::Qemu(Accelerator::Tcg, machine);
            Trial::test(format!("{vmm}::{case}"), move || passes(vmm, case, LIMIT))
        })
    });
    let on_each = |cases: &'static [&str], limit| {
        cases
            .iter()
            .flat_map(move |case| on_every_vmm(case, move |vmm| passes(vmm, case, limit)))
    };
    on_each(CASES, LIMIT)
        .chain(on_each(LONG_CASES, LIMIT * 5))
        .chain(on_tcg)
        .chain([
            Trial::test(
                "qemu-tcg/q35::event-is-polled-amid-signals:each-instruction",
                signals_at_each_instruction,
            ),
            Trial::test("qemu-tcg/microvm::no-case-is-left-out", no_case_is_left_out),
        ])
        .collect()
}

fn passes(vmm: Vmm, case: &str, limit: Duration) -> Result<(), Failed> {
    let mut config = config(vmm, format!("case={case}"));
    config.timeout = limit;
    boot("cases", &config)?.succeeded()?;
    Ok(())
}

/// With time as a count of instructions, an interrupt comes at each instruction of that case's
/// loop.
fn signals_at_each_instruction() -> Result<(), Failed> {
    let vmm = Vmm::Qemu(Accelerator::Tcg, MachineType::Q35);
    let mut config = config(vmm, "case=event-is-polled-amid-signals");
    config.count_instructions = true;
    boot("cases", &config)?.succeeded()?;
    Ok(())
}

/// Every case of the guest is listed here, so that it is run.
fn no_case_is_left_out() -> Result<(), Failed> {
    let vmm = Vmm::Qemu(Accelerator::Tcg, MachineType::Microvm);
    let run = boot("cases", &config(vmm, "case=list"))?.succeeded()?;
    let mut listed: Vec<&str> = run.console.lines().collect();
    let mut known = [CASES, LONG_CASES, CASES_ON_TCG].concat();
    listed.sort_unstable();
    known.sort_unstable();
    run.check(
        listed == known,
        "the guest lists other cases than this file",
    )
}
