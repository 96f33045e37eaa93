//! Chooses the VMM for a guest.

use super::note;
use crate::{
    hyperlight::SandboxMode,
    vmm::{Accelerator, MachineType, RunError, Vmm, kvm},
};
use clap::ValueEnum;
use std::{env, ffi::OsStr, fmt, str::FromStr};

/// The options that select the VMM.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub(super) struct Choice {
    /// The VMM that runs the guest [default: that in the variable DORMIR_VMM, such as
    /// qemu-tcg/microvm; else kvm if /dev/kvm can be used; else qemu-tcg]
    #[arg(long, value_enum)]
    vmm: Option<Name>,
    /// QEMU's machine type [default: q35]; without --vmm it selects qemu-tcg
    #[arg(long, value_enum)]
    machine: Option<MachineName>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Name {
    /// The harness's own VMM, on /dev/kvm
    Kvm,
    /// QEMU on /dev/kvm
    QemuKvm,
    /// QEMU's translator: needs no /dev/kvm, and is slower
    QemuTcg,
    /// A Hyperlight sandbox, for Hyperlight guests
    Hyperlight,
    /// A Hyperlight sandbox with interrupts
    HyperlightInterrupts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum MachineName {
    /// A full PC with firmware
    Q35,
    /// A machine without PCI, designed for micro-VMs
    Microvm,
}

/// The variable that names the VMM where no option does.
const VARIABLE: &str = "DORMIR_VMM";

/// A choice that is none.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ChoiceError {
    /// The option `--machine` with a VMM that is not QEMU.
    #[error(
        "--machine is an option of QEMU and does not apply to another --vmm: omit --machine, or \
         pass --vmm qemu-kvm or --vmm qemu-tcg"
    )]
    MachineWithoutQemu,
    /// The variable names no VMM.
    #[error("the variable {VARIABLE} is wrong: {0}")]
    Variable(#[from] NoSuchVmmError),
}

/// What a guest runs under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Under {
    /// A VMM that boots it.
    Vmm(Vmm),
    /// A Hyperlight sandbox, which runs Hyperlight guests.
    Hyperlight(SandboxMode),
}

impl fmt::Display for Under {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vmm(vmm) => vmm.fmt(f),
            Self::Hyperlight(mode) => mode.fmt(f),
        }
    }
}

/// The choice and, if it is a fallback, the reason.
#[derive(Debug)]
struct Chosen {
    under: Under,
    /// Why the harness's own VMM is not used, although no other was asked for.
    fallback: Option<RunError>,
}

/// An unknown name of a VMM with its machine type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no VMM named `{0}`: use kvm, qemu-tcg/q35, qemu-tcg/microvm, qemu-kvm/q35, \
     qemu-kvm/microvm, hyperlight or hyperlight-interrupts"
)]
pub struct NoSuchVmmError(pub(super) String);

/// Parses what [`Display`](fmt::Display) writes.
impl FromStr for Under {
    type Err = NoSuchVmmError;

    fn from_str(name: &str) -> Result<Self, NoSuchVmmError> {
        let mode = |_| name.parse().map(Self::Hyperlight);
        let found = name.parse().map(Self::Vmm).or_else(mode);
        found.map_err(|_| NoSuchVmmError(name.to_owned()))
    }
}

impl Choice {
    /// Returns what was asked for, or the best that can be used here. A fallback is reported on
    /// standard error.
    pub(super) fn under(self) -> Result<Under, ChoiceError> {
        let variable = env::var_os(VARIABLE).filter(|name| !name.is_empty());
        if let Some(under) = self.or_variable(variable.as_deref())? {
            return Ok(under);
        }
        let Chosen { under, fallback } = self.given(|| kvm::probe().err())?;
        if let Some(reason) = fallback {
            note(format_args!("running under {under}: {reason}"));
        }
        Ok(under)
    }

    /// Returns what the variable with this value names, if no option names another.
    fn or_variable(self, value: Option<&OsStr>) -> Result<Option<Under>, NoSuchVmmError> {
        match value {
            Some(name) if self.vmm.is_none() && self.machine.is_none() => {
                let name = name.to_string_lossy();
                // Of QEMU also without the machine type, as the option has it.
                let whole = match &*name {
                    "qemu-tcg" | "qemu-kvm" => format!("{name}/q35"),
                    _ => name.into_owned(),
                };
                whole.parse().map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Chooses; `unusable` returns why `/dev/kvm` cannot be used, if so.
    fn given(self, unusable: impl FnOnce() -> Option<RunError>) -> Result<Chosen, ChoiceError> {
        let machine = match self.machine {
            None | Some(MachineName::Q35) => MachineType::Q35,
            Some(MachineName::Microvm) => MachineType::Microvm,
        };
        let hyperlight = match self.vmm {
            Some(Name::Hyperlight) => Some(SandboxMode::HostWait),
            Some(Name::HyperlightInterrupts) => Some(SandboxMode::Interrupts),
            _ => None,
        };
        let is_qemu = !(hyperlight.is_some() || self.vmm == Some(Name::Kvm));
        if self.machine.is_some() && !is_qemu {
            return Err(ChoiceError::MachineWithoutQemu);
        }
        if let Some(mode) = hyperlight {
            return Ok(Chosen {
                under: Under::Hyperlight(mode),
                fallback: None,
            });
        }
        let (vmm, fallback) = match self.vmm {
            Some(Name::Kvm) => (Vmm::Kvm, None),
            Some(Name::QemuKvm) => (Vmm::Qemu(Accelerator::Kvm, machine), None),
            Some(Name::QemuTcg) => (Vmm::Qemu(Accelerator::Tcg, machine), None),
            _ if self.machine.is_some() => (Vmm::Qemu(Accelerator::Tcg, machine), None),
            _ => match unusable() {
                None => (Vmm::Kvm, None),
                Some(reason) => (Vmm::Qemu(Accelerator::Tcg, machine), Some(reason)),
            },
        };
        Ok(Chosen {
            under: Under::Vmm(vmm),
            fallback,
        })
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
        match (Choice { vmm, machine }).given(|| unusable) {
            Ok(Chosen {
                under,
                fallback: None,
            }) => under.to_string(),
            Ok(Chosen {
                under,
                fallback: Some(reason),
            }) => format!("{under} because {reason}"),
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
    fn an_explicit_choice_is_used_usable_or_not() {
        let denied = || Some(RunError::KvmDenied);
        assert_eq!(choose(Some(Name::Kvm), None, denied()), "kvm");
        assert_eq!(choose(Some(Name::QemuKvm), None, denied()), "qemu-kvm/q35");
        assert_eq!(
            choose(Some(Name::QemuTcg), Some(MachineName::Microvm), denied()),
            "qemu-tcg/microvm"
        );
    }

    #[test]
    fn a_machine_type_alone_means_qemu() {
        assert_eq!(choose(None, Some(MachineName::Q35), None), "qemu-tcg/q35");
    }

    #[test]
    fn a_machine_is_an_option_of_qemu_only() {
        for name in [Name::Kvm, Name::Hyperlight, Name::HyperlightInterrupts] {
            let sentence = choose(Some(name), Some(MachineName::Q35), None);
            assert!(sentence.contains("--machine"), "{sentence}");
        }
    }

    #[test]
    fn the_variable_counts_where_no_option_does() {
        let named = |vmm, machine, value: &str| {
            (Choice { vmm, machine }).or_variable(Some(OsStr::new(value)))
        };
        for (value, under) in [
            ("kvm", "kvm"),
            ("qemu-tcg", "qemu-tcg/q35"),
            ("qemu-kvm/microvm", "qemu-kvm/microvm"),
            ("hyperlight", "hyperlight"),
        ] {
            let found = named(None, None, value).expect("it is one").expect("one");
            assert_eq!(found.to_string(), under);
        }
        assert_eq!(named(Some(Name::Kvm), None, "qemu-tcg"), Ok(None));
        assert_eq!(named(None, Some(MachineName::Q35), "kvm"), Ok(None));
        let sentence = ChoiceError::from(named(None, None, "vmware").expect_err("none"));
        assert!(sentence.to_string().contains("DORMIR_VMM"), "{sentence}");
    }

    #[test]
    fn each_is_known_by_its_whole_name() {
        let vmms = Vmm::ALL.map(Under::Vmm);
        for known in vmms
            .into_iter()
            .chain(SandboxMode::ALL.map(Under::Hyperlight))
        {
            assert_eq!(known.to_string().parse(), Ok(known));
        }
        let sentence = "qemu"
            .parse::<Under>()
            .expect_err("there is none")
            .to_string();
        assert!(sentence.contains("`qemu`: use kvm"), "{sentence}");
    }

    #[test]
    fn a_sandbox_is_used_only_if_asked_for() {
        for (name, under) in [
            (Name::Hyperlight, "hyperlight"),
            (Name::HyperlightInterrupts, "hyperlight-interrupts"),
        ] {
            assert_eq!(choose(Some(name), None, Some(RunError::KvmMissing)), under);
        }
    }
}
