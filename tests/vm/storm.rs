//! Storms of interrupts: tasks and timers go on, no signal is lost, and nothing grows. Of the PIT
//! and the local APIC's timer one storms, and the other is dormir's alarm. See the guest program
//! `storm`.

use dormir_harness::vmm::{Accelerator, MachineType, Vmm};
use libtest_mimic::{Failed, Trial};

use crate::guest::{Run, boot, config, is_panic, on_every_vmm};

const PROGRAM: &str = "storm";

/// One each 10 µs: half a second of the guest's time. (`cargo vm soak interrupts` has a minute.)
const COUNTED: u32 = 50_000;
/// At the highest rate that the machine reaches, for two seconds at most: a KVM that emulates its
/// guest's instructions takes milliseconds for an interrupt and what follows it.
const FASTEST: u32 = 10_000;
const LEAST: u64 = 10;
/// After so many the guest looks whether each task has made progress.
const WATCH: u64 = 2000;

/// A mistake of the program's, and the panic that finds it.
const MUTANTS: [(&str, &str); 4] = [
    ("nested", "interrupts nest: the stack grows"),
    ("greedy", "task 0 starved: no progress"),
    ("late-timers", "polls of another"),
    ("forgetful", "signals that were taken, and sent"),
];

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for timer in ["xapic", "pit"] {
        trials.extend(on_every_vmm(&format!("storm:{timer}"), move |vmm| {
            at_the_highest_rate(vmm, timer)
        }));
    }
    for (timer, busy) in [("xapic", "no"), ("pit", "yes")] {
        let name = format!("qemu-tcg/q35::storm-each-10-us:{timer}:busy-{busy}");
        trials.push(Trial::test(name, move || each_10_us(timer, busy)));
    }
    trials.extend(MUTANTS.map(|(mutant, panic)| {
        let name = format!("qemu-tcg/q35::storm-catches-{mutant}");
        Trial::test(name, move || {
            let arguments = format!("timer=xapic busy=yes mutant={mutant}");
            let run = storm(
                Vmm::Qemu(Accelerator::Tcg, MachineType::Q35),
                true,
                &arguments,
                20_000,
            )?;
            run.check(
                is_panic(&run.report.outcome, panic),
                "the mistake was not found",
            )
        })
    }));
    trials
}

fn storm(vmm: Vmm, counts: bool, arguments: &str, interrupts: u32) -> Result<Run, Failed> {
    let mut config = config(vmm, format!("{arguments} interrupts={interrupts}"));
    config.pit = vmm == Vmm::Kvm;
    config.count_instructions = counts;
    boot(PROGRAM, &config)
}

/// Prints what happened.
fn show(run: &Run) -> Result<(), Failed> {
    let figures = [
        "interrupts",
        "watches",
        "period_nanos",
        "nanos",
        "ended_halts",
        "stack_bytes",
        "most_overdue",
        "most_late",
        "most_polls",
        "least_progress",
    ];
    for name in figures {
        print!("{name} {}, ", run.stat(name)?);
    }
    println!();
    let (interrupts, watches) = (run.stat("interrupts")?, run.stat("watches")?);
    if watches == 0 {
        println!("with so few of them, nobody looked whether a task starves");
    }
    let is_watched = watches == interrupts / WATCH;
    run.check(is_watched, "it was not looked whether tasks starve")
}

fn at_the_highest_rate(vmm: Vmm, timer: &str) -> Result<(), Failed> {
    let arguments = format!("timer={timer} seconds=2");
    let run = storm(vmm, false, &arguments, FASTEST)?.succeeded()?;
    show(&run)?;
    let is_storm = run.stat("interrupts")? >= LEAST;
    run.check(is_storm, "there was no storm")
}

fn each_10_us(timer: &str, busy: &str) -> Result<(), Failed> {
    let vmm = Vmm::Qemu(Accelerator::Tcg, MachineType::Q35);
    let arguments = format!("timer={timer} busy={busy}");
    let run = storm(vmm, true, &arguments, COUNTED)?.succeeded()?;
    show(&run)?;
    let all_came = run.stat("interrupts")? == u64::from(COUNTED);
    run.check(all_came, "there were fewer interrupts")?;
    let each = run.stat("nanos")? / u64::from(COUNTED);
    run.check(each <= 10_000, &format!("there was one each {each} ns"))?;
    run.check(
        run.stat("most_late")? <= 2,
        "a sleeper was late by three of them",
    )?;
    let halted = run.stat("ended_halts")? > u64::from(COUNTED) / 2;
    run.check(halted == (busy == "no"), "it halted, or did not")
}
