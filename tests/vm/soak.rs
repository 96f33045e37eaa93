//! The guest that uses everything at once and accounts for each wake, for some seconds.
//! (`cargo vm soak everything` runs it for minutes.)

use dormir_harness::{
    soak::{self, Soak},
    vmm::{Accelerator, MachineType, StopToken, Vmm},
};
use libtest_mimic::{Failed, Trial};

use crate::guest::{Run, image_of, is_panic};

/// Kinds of wakes of which some are lost on purpose: by a timer, a task and an interrupt.
const LOST: [&str; 3] = ["timers", "tasks", "interrupts"];

pub(crate) fn trials() -> Vec<Trial> {
    let tcg = |machine| Vmm::Qemu(Accelerator::Tcg, machine);
    let mut trials: Vec<Trial> = [Vmm::Kvm, tcg(MachineType::Q35)]
        .into_iter()
        .map(|vmm| Trial::test(format!("{vmm}::soak:everything"), move || everything(vmm)))
        .collect();
    let vmm = tcg(MachineType::Microvm);
    trials.extend(
        LOST.map(|kind| Trial::test(format!("{vmm}::soak:lost-{kind}"), move || lost(vmm, kind))),
    );
    trials
}

fn run(vmm: Vmm, seconds: u64, arguments: &str) -> Result<Run, Failed> {
    let soak = Soak {
        vmm,
        seconds,
        arguments,
    };
    let mut console = Vec::new();
    let elf = image_of(soak::PROGRAM)?;
    let report = soak.run(elf, &StopToken::default(), &mut console)?;
    let console = String::from_utf8_lossy(&console).into_owned();
    Ok(Run { report, console })
}

/// No wake is lost, nothing grows, and there are wakes of each kind.
fn everything(vmm: Vmm) -> Result<(), Failed> {
    let run = run(vmm, 2, "")?.succeeded()?;
    let wakes: Vec<(&str, u64)> = soak::wakes(&run.report.stats).collect();
    println!("{vmm}: {wakes:?}");
    let lacking = soak::lacking(&run.report.stats, vmm);
    run.check(
        lacking.is_empty(),
        &format!("no wakes of these kinds: {lacking:?}"),
    )
}

/// One wake in some is lost: the guest finds it, and says of which kind it was.
fn lost(vmm: Vmm, kind: &str) -> Result<(), Failed> {
    let run = run(vmm, 60, &format!("lose={kind} each=50 patience=2"))?;
    let sentence = format!("of the kind `{kind}` was due");
    println!("{vmm}: {}", run.report.outcome);
    let is_found = is_panic(&run.report.outcome, &sentence);
    run.check(is_found, "the lost wake was not found")
}
