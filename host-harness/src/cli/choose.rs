//! Which VMM a guest is run under.

use super::note;
use crate::vmm::{Accelerator, Machine, RunError, Vmm, kvm};
use clap::ValueEnum;

/// The options that say which VMM.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub(super) struct Choice {
    /// What runs the guest [default: kvm if /dev/kvm can be used, else qemu-tcg]
    #[arg(long, value_enum)]
    vmm: Option<Name>,
    /// QEMU's machine type [default: q35]; without --vmm it means qemu-tcg
    #[arg(long, value_enum)]
    machine: Option<MachineName>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Name {
    /// The harness's own VMM, on /dev/kvm
    Kvm,
    /// QEMU on /dev/kvm
    QemuKvm,
    /// QEMU, translating: needs no /dev/kvm and is slower
    QemuTcg,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum MachineName {
    /// A full PC with firmware
    Q35,
    /// A machine without PCI, made for micro-VMs
    Microvm,
}

/// A choice that no VMM fits.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "--machine is QEMU's and says nothing to --vmm kvm: leave --machine out, or pass --vmm qemu-kvm \
     or --vmm qemu-tcg"
)]
pub(super) struct MachineWithoutQemu;

/// A VMM and, if it is only second best, why.
#[derive(Debug)]
struct Chosen {
    vmm: Vmm,
    /// Why the harness's own VMM is not used although nobody asked for another.
    fallback: Option<RunError>,
}

impl Choice {
    /// The VMM asked for, or the best that can be used here. If that is only the second best,
    /// standard error says so.
    pub(super) fn vmm(self) -> Result<Vmm, MachineWithoutQemu> {
        let Chosen { vmm, fallback } = self.vmm_given(|| kvm::probe().err())?;
        if let Some(reason) = fallback {
            note(format_args!("running under {vmm}: {reason}"));
        }
        Ok(vmm)
    }

    /// `unusable` says why `/dev/kvm` cannot be used, if so.
    fn vmm_given(
        self,
        unusable: impl FnOnce() -> Option<RunError>,
    ) -> Result<Chosen, MachineWithoutQemu> {
        let machine = match self.machine {
            None | Some(MachineName::Q35) => Machine::Q35,
            Some(MachineName::Microvm) => Machine::Microvm,
        };
        let (vmm, fallback) = match self.vmm {
            Some(Name::Kvm) if self.machine.is_some() => return Err(MachineWithoutQemu),
            Some(Name::Kvm) => (Vmm::Kvm, None),
            Some(Name::QemuKvm) => (Vmm::Qemu(Accelerator::Kvm, machine), None),
            Some(Name::QemuTcg) => (Vmm::Qemu(Accelerator::Tcg, machine), None),
            None if self.machine.is_some() => (Vmm::Qemu(Accelerator::Tcg, machine), None),
            None => match unusable() {
                None => (Vmm::Kvm, None),
                Some(reason) => (Vmm::Qemu(Accelerator::Tcg, machine), Some(reason)),
            },
        };
        Ok(Chosen { vmm, fallback })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(
        vmm: Option<Name>,
        machine: Option<MachineName>,
        unusable: Option<RunError>,
    ) -> String {
        match (Choice { vmm, machine }).vmm_given(|| unusable) {
            Ok(Chosen {
                vmm,
                fallback: None,
            }) => vmm.to_string(),
            Ok(Chosen {
                vmm,
                fallback: Some(reason),
            }) => format!("{vmm} because {reason}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_best_vmm_is_the_default() {
        assert_eq!(choose(None, None, None), "kvm");
    }

    #[test]
    fn the_second_best_comes_with_the_reason() {
        for reason in [RunError::KvmMissing, RunError::KvmDenied] {
            let sentence = reason.to_string();
            assert_eq!(
                choose(None, None, Some(reason)),
                format!("qemu-tcg/q35 because {sentence}")
            );
        }
    }

    #[test]
    fn what_was_asked_for_is_used_usable_or_not() {
        let denied = || Some(RunError::KvmDenied);
        assert_eq!(choose(Some(Name::Kvm), None, denied()), "kvm");
        assert_eq!(choose(Some(Name::QemuKvm), None, denied()), "qemu-kvm/q35");
        assert_eq!(
            choose(Some(Name::QemuTcg), Some(MachineName::Microvm), denied()),
            "qemu-tcg/microvm"
        );
    }

    #[test]
    fn a_machine_alone_means_qemu() {
        assert_eq!(choose(None, Some(MachineName::Q35), None), "qemu-tcg/q35");
    }

    #[test]
    fn a_machine_is_nothing_to_our_own_vmm() {
        let sentence = choose(Some(Name::Kvm), Some(MachineName::Q35), None);
        assert!(sentence.contains("--machine"), "{sentence}");
    }
}
