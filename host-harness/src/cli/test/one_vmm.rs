//! Selects the tests of one VMM, which are named `VMM::CASE`.

use crate::{
    cli::choose::{NoSuchVmmError, Under},
    hyperlight,
    vmm::{Accelerator, Vmm, kvm},
};
use std::{error::Error, str::FromStr};

/// A VMM by its name; QEMU with one of its machine types, or with all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OneVmm {
    /// What the names of its tests contain, and no other names.
    filter: String,
    /// The VMM, or one of several with this name.
    under: Under,
}

impl OneVmm {
    /// Returns the arguments of `cargo test`, with the features of the tests in VMs.
    pub(super) fn arguments(&self) -> [&str; 5] {
        ["--all-features", "--test", "vm", "--", &self.filter]
    }

    /// Checks whether it can be used, as far as that depends on KVM.
    pub(super) fn probe(&self) -> Result<(), Box<dyn Error>> {
        match self.under {
            Under::Hyperlight(_) => hyperlight::probe()?,
            Under::Vmm(Vmm::Qemu(Accelerator::Tcg, _)) => {}
            Under::Vmm(_) => kvm::probe().map(drop)?,
        }
        Ok(())
    }

    pub(super) fn needs_qemu(&self) -> bool {
        matches!(self.under, Under::Vmm(Vmm::Qemu(..)))
    }

    /// QEMU has a network of its own.
    pub(super) fn needs_passt(&self) -> bool {
        matches!(self.under, Under::Vmm(Vmm::Kvm))
    }
}

impl FromStr for OneVmm {
    type Err = NoSuchVmmError;

    fn from_str(name: &str) -> Result<Self, NoSuchVmmError> {
        if let Ok(under) = name.parse() {
            let filter = format!("{name}::");
            return Ok(Self { filter, under });
        }
        // The part before the machine type.
        let filter = format!("{name}/");
        let is_one = |vmm: &Vmm| vmm.to_string().starts_with(&filter);
        match Vmm::ALL.into_iter().find(is_one) {
            Some(vmm) => Ok(Self {
                filter,
                under: Under::Vmm(vmm),
            }),
            None => Err(NoSuchVmmError(name.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hyperlight::SandboxMode;

    /// A name selects the tests of the VMMs that it names, and no others.
    #[test]
    fn a_name_chooses_its_own_tests() {
        let vmms = Vmm::ALL.iter().map(Vmm::to_string);
        let every: Vec<String> = vmms
            .chain(SandboxMode::ALL.iter().map(SandboxMode::to_string))
            .collect();
        for (name, expected) in [
            ("kvm", &["kvm"][..]),
            ("qemu-tcg", &["qemu-tcg/q35", "qemu-tcg/microvm"]),
            ("qemu-kvm", &["qemu-kvm/q35", "qemu-kvm/microvm"]),
            ("qemu-kvm/q35", &["qemu-kvm/q35"]),
            ("hyperlight", &["hyperlight"]),
            ("hyperlight-interrupts", &["hyperlight-interrupts"]),
        ] {
            let one: OneVmm = name.parse().expect("a VMM");
            let chosen = |vmm: &&String| format!("{vmm}::basic").contains(&one.filter);
            let chosen: Vec<_> = every.iter().filter(chosen).collect();
            assert_eq!(chosen, expected, "{name}");
        }
    }

    #[test]
    fn only_qemu_needs_qemu() {
        for (name, needs) in [
            ("kvm", false),
            ("qemu-tcg", true),
            ("qemu-kvm/microvm", true),
            ("hyperlight", false),
        ] {
            let one: OneVmm = name.parse().expect("a VMM");
            assert_eq!(one.needs_qemu(), needs, "{name}");
            assert_eq!(one.needs_passt(), name == "kvm");
        }
    }

    #[test]
    fn an_unknown_name_is_refused() {
        for name in ["", "qemu", "qemu-tcg/", "KVM", "hyper"] {
            let sentence = name.parse::<OneVmm>().expect_err(name).to_string();
            assert!(sentence.contains(&format!("`{name}`")), "{sentence}");
        }
    }
}
