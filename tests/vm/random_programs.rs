//! Random programs of tasks against their reference, on the machine's own timers.

use dormir_harness::vmm::{Accelerator, Vmm};
use libtest_mimic::{Failed, Trial};

use crate::guest::{boot, config, on_every_vmm};

/// The executors on which the guest runs programs.
const EXECUTORS: [&str; 3] = ["up64", "up64-single", "up4096"];

/// How many programs on each executor. `cargo vm soak programs` runs more.
const COUNT: u64 = 100;

/// For how long on each, with KVM: some are enough where it emulates each instruction.
const SECONDS: u64 = 2;

/// For how long with the translator, which runs all of them within a second on a quiet machine: of
/// each executor, so that three of them end before the guest's time does.
const SECONDS_FOR_ALL: u64 = 30;

pub(crate) fn trials() -> Vec<Trial> {
    on_every_vmm("random-programs", follow_the_reference)
}

fn follow_the_reference(vmm: Vmm) -> Result<(), Failed> {
    let (seconds, least) = match vmm {
        Vmm::Qemu(Accelerator::Tcg, _) => (SECONDS_FOR_ALL, COUNT),
        _ => (SECONDS, 1),
    };
    let arguments = format!("count={COUNT} seconds={seconds}");
    let run = boot("random-programs", &config(vmm, arguments))?.succeeded()?;
    for executor in EXECUTORS {
        let programs = run.stat(&format!("{executor}-programs"))?;
        let waits = run.stat(&format!("{executor}-waits"))?;
        println!("{vmm}: {executor}: {programs} programs, {waits} waits");
        if programs < least || waits == 0 {
            return Err(format!("{executor}: {programs} programs, {waits} waits").into());
        }
    }
    Ok(())
}
