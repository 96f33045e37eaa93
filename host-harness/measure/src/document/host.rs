//! The machine that measured.

use serde::{Deserialize, Serialize};

/// What must be known of a machine to judge its figures. `None` is what is not there or not known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Host {
    pub(crate) cpu: Option<String>,
    pub(crate) kernel: Option<String>,
    pub(crate) kvm_module: Option<String>,
    /// Whether the processor's virtualisation executes guests.
    pub(crate) hardware_assisted: Option<bool>,
    /// How long KVM polls before it lets a halted vCPU's thread sleep.
    pub(crate) halt_poll_ns: Option<u64>,
    pub(crate) qemu: Option<String>,
}

impl Host {
    /// A made-up machine, whose KVM emulates.
    #[cfg(test)]
    pub(crate) fn for_test() -> Self {
        Self {
            cpu: Some("A processor".into()),
            kernel: None,
            kvm_module: Some("kvm_pvm".into()),
            hardware_assisted: Some(false),
            halt_poll_ns: Some(200_000),
            qemu: None,
        }
    }

    /// What a reader must know before anything else: a sentence, if one of these VMMs uses KVM and
    /// that is not the processor's own.
    pub(crate) fn warning<'a>(&self, mut vmms: impl Iterator<Item = &'a str>) -> Option<String> {
        let module = self.kvm_module.as_deref().unwrap_or("an unknown module");
        match self.hardware_assisted {
            _ if !vmms.any(|vmm| vmm.contains("kvm") || vmm.contains("hyperlight")) => None,
            Some(true) => None,
            Some(false) => Some(format!(
                "KVM here is not hardware-assisted ({module} emulates a guest's kernel code one \
                 instruction at a time): under whatever uses KVM, times count instructions and say \
                 nothing about hardware."
            )),
            None => Some(
                "Whether KVM here is hardware-assisted is not known: trust no time under what uses \
                 KVM before you have found out which module this kernel has."
                    .into(),
            ),
        }
    }

    /// All of it in one sentence.
    pub(crate) fn sentence(&self) -> String {
        let or = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".into());
        let polled = self
            .halt_poll_ns
            .map_or("unknown".into(), |ns| ns.to_string());
        let qemu = self.qemu.as_ref();
        let qemu = qemu.map_or(String::new(), |version| format!(" QEMU: {version}."));
        format!(
            "CPU: {}. Kernel: {}. KVM: {}, halt_poll_ns {polled}.{qemu}",
            or(&self.cpu),
            or(&self.kernel),
            or(&self.kvm_module)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(hardware_assisted: Option<bool>) -> Host {
        Host {
            cpu: Some("A processor".into()),
            kernel: Some("6.1.0".into()),
            kvm_module: Some("kvm_pvm".into()),
            hardware_assisted,
            halt_poll_ns: None,
            qemu: None,
        }
    }

    #[test]
    fn only_figures_from_an_emulating_kvm_come_with_a_warning() {
        let of = |assisted, vmms: &[&str]| host(assisted).warning(vmms.iter().copied());
        assert_eq!(of(Some(true), &["kvm"]), None);
        assert_eq!(of(Some(false), &["qemu-tcg/q35"]), None);
        let warning = of(Some(false), &["qemu-tcg/q35", "qemu-kvm/q35"]).expect("one");
        assert!(
            warning.contains("not hardware-assisted (kvm_pvm"),
            "{warning}"
        );
        assert!(of(None, &["kvm"]).is_some());
        assert!(of(Some(false), &["hyperlight-interrupts"]).is_some());
    }

    #[test]
    fn what_is_not_known_is_said_to_be() {
        let sentence = host(None).sentence();
        assert!(
            sentence.contains("A processor") && sentence.contains("halt_poll_ns unknown"),
            "{sentence}"
        );
    }
}
