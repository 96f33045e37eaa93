//! Tests of the VMMs with guests of a few bytes of machine code: each way to end is recognised, and
//! nothing is left running.
//!
//! The tests of a missing VMM fail and give the reason.

/// Defines one test per VMM for each of these functions.
macro_rules! under_every_vmm {
    ($($case:ident)*) => {
        under_every_vmm!(@vmm kvm, Vmm::Kvm, $($case)*);
        under_every_vmm!(
            @vmm qemu_tcg_q35, Vmm::Qemu(Accelerator::Tcg, MachineType::Q35), $($case)*
        );
        under_every_vmm!(
            @vmm qemu_tcg_microvm, Vmm::Qemu(Accelerator::Tcg, MachineType::Microvm), $($case)*
        );
        under_every_vmm!(
            @vmm qemu_kvm_q35, Vmm::Qemu(Accelerator::Kvm, MachineType::Q35), $($case)*
        );
        under_every_vmm!(
            @vmm qemu_kvm_microvm, Vmm::Qemu(Accelerator::Kvm, MachineType::Microvm), $($case)*
        );
    };
    (@vmm $name:ident, $vmm:expr, $($case:ident)*) => {
        mod $name {
            use dormir_harness::vmm::*;
            $(
                #[test]
                fn $case() {
                    super::$case($vmm);
                }
            )*
        }
    };
}

mod broken_qemu;
mod command;
mod confined;
mod devices;
mod every_vmm;
mod guests;
mod host_interrupt;
mod leftovers;
mod our_vmm;
mod records;
mod refusals;
mod small_elf;
mod terminal;
mod virtio_code;
mod worker;

use std::time::Duration;

use dormir_harness::vmm::{Accelerator, MachineType, Outcome, Report, RunConfig, Vmm, run};
use guests::GuestFile;

/// Long enough for every guest here on a machine that emulates each instruction.
const PATIENCE: Duration = Duration::from_secs(60);

const KVM: Vmm = Vmm::Kvm;
const TCG_Q35: Vmm = Vmm::Qemu(Accelerator::Tcg, MachineType::Q35);

fn config(vmm: Vmm) -> RunConfig {
    let mut config = RunConfig::new(vmm);
    config.memory_mib = 4;
    config.timeout = PATIENCE;
    config
}

/// Runs a foreign guest.
fn launch(code: &[u8], config: &RunConfig) -> (Report, String) {
    launch_guest(&GuestFile::new(code), config)
}

fn launch_guest(guest: &GuestFile, config: &RunConfig) -> (Report, String) {
    let mut console = Vec::new();
    let report = run(guest.path(), config, &mut console)
        .unwrap_or_else(|error| panic!("{} cannot run the guest: {error}", config.vmm));
    (report, String::from_utf8(console).expect("text"))
}

fn outcome(code: &[u8], vmm: Vmm) -> Outcome {
    launch(code, &config(vmm)).0.outcome
}
