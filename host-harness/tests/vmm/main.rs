//! The VMMs themselves, with guests of a few bytes of machine code: how each way to end is
//! recognised, and that nothing is left running.
//!
//! A VMM that is not there makes its tests fail with the reason.

mod command;
mod every_vmm;
mod guests;
mod host_interrupt;
mod hyperlight_bench;
mod leftovers;
mod our_vmm;
mod refusals;
mod small_elf;

use std::time::Duration;

use dormir_harness::vmm::{Accelerator, Machine, Outcome, Report, RunConfig, Vmm, run};
use guests::Guest;

/// Long enough for every guest here on a machine that emulates each instruction.
const PATIENCE: Duration = Duration::from_secs(60);

const KVM: Vmm = Vmm::Kvm;
const TCG_Q35: Vmm = Vmm::Qemu(Accelerator::Tcg, Machine::Q35);

fn config(vmm: Vmm) -> RunConfig {
    let mut config = RunConfig::new(vmm);
    config.memory_mib = 4;
    config.timeout = PATIENCE;
    config
}

fn launch(code: &[u8], config: &RunConfig) -> (Report, String) {
    let guest = Guest::new(code);
    let mut console = Vec::new();
    let report = run(guest.path(), config, &mut console)
        .unwrap_or_else(|error| panic!("{} cannot run the guest: {error}", config.vmm));
    (report, String::from_utf8(console).expect("text"))
}

fn outcome(code: &[u8], vmm: Vmm) -> Outcome {
    launch(code, &config(vmm)).0.outcome
}
