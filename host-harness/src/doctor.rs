//! `cargo vm doctor`: reports what this machine has, what it lacks, what each lack costs, and what
//! set-up would do about it. Installs nothing.

use crate::{
    process,
    setup::{self, Needs},
    stop::StopToken,
    toolchain::{GuestToolchain, GuestToolchainError},
    vmm::{
        Accelerator, Vmm,
        kvm::{self, KvmInfo},
        qemu,
    },
    workspace::{Workspace, WorkspaceError},
};
use std::fmt;

/// What was found on this machine. A lack is a sentence that says what is missing and how to fix
/// that.
#[derive(Clone, Debug)]
pub(crate) struct Findings {
    kvm: Result<KvmInfo, String>,
    qemu: Result<String, String>,
    /// Whether the VMMs' system calls pass a gate.
    gate: bool,
    toolchain: Result<GuestToolchain, GuestToolchainError>,
    /// What set-up would do, one sentence for each lack.
    set_up: Vec<String>,
}

impl Findings {
    /// Inspects this machine.
    pub(crate) fn gather(stop: &StopToken) -> Result<Self, WorkspaceError> {
        let workspace = Workspace::locate()?;
        let all = Needs {
            qemu: true,
            passt: true,
            browser: true,
        };
        Ok(Self {
            kvm: kvm::probe().map_err(|error| error.to_string()),
            qemu: qemu::probe()
                .map(|version| format!("usable, version {version}"))
                .map_err(|error| error.to_string()),
            gate: process::has_gates(),
            toolchain: GuestToolchain::detect(&workspace),
            set_up: setup::outlook(&workspace, all, stop),
        })
    }

    /// Returns whether guests can be built here and run under at least one VMM.
    pub(crate) fn can_run_guests(&self) -> bool {
        self.toolchain.is_ok() && self.default().is_some()
    }

    fn usable(&self, vmm: Vmm) -> bool {
        match vmm {
            Vmm::Kvm => self.kvm.is_ok(),
            Vmm::Qemu(Accelerator::Kvm, _) => self.kvm.is_ok() && self.qemu.is_ok(),
            Vmm::Qemu(Accelerator::Tcg, _) => self.qemu.is_ok(),
        }
    }

    /// Returns the default VMM: the first that is usable.
    fn default(&self) -> Option<Vmm> {
        Vmm::ALL.into_iter().find(|vmm| self.usable(*vmm))
    }
}

/// Writes a section for each subject: its name at the left, one finding per line.
impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut section = |name: &str, lines: &[String]| {
            lines.iter().enumerate().try_for_each(|(index, line)| {
                writeln!(f, "{:10}{line}", if index == 0 { name } else { "" })
            })
        };
        section("KVM", &self.kvm_lines())?;
        section("QEMU", &self.qemu_lines())?;
        section("sandbox", &self.gate_lines())?;
        section("guests", &self.toolchain_lines())?;
        section("set-up", &self.set_up_lines())?;
        section("VMMs", &self.vmm_lines())
    }
}

impl Findings {
    fn kvm_lines(&self) -> Vec<String> {
        match &self.kvm {
            Ok(info) => {
                let module = info.module.unwrap_or("a module that is not known");
                let mut lines = vec![format!("usable, by {module}")];
                lines.push(match info.hardware_assisted {
                    Some(true) => {
                        "hardware-assisted: times are those of hardware virtualisation".into()
                    }
                    Some(false) => "not hardware-assisted: KVM emulates a guest's kernel code one \
                                    instruction at a time, so times say nothing about hardware; \
                                    measure on a machine with kvm_intel or kvm_amd"
                        .into(),
                    None => {
                        "it is not known whether this KVM is hardware-assisted: find out which \
                         module this kernel has before you trust any time"
                            .into()
                    }
                });
                if !info.tsc_deadline {
                    lines.push(
                        "no TSC-deadline timer: guests use the local APIC's one-shot timer, which \
                         counts more coarsely; a newer kernel may have it"
                            .into(),
                    );
                }
                lines
            }
            Err(lack) => vec![
                lack.clone(),
                "costs: no guest under kvm or qemu-kvm, only under QEMU's translator, which is \
                 slower and counts no exits; `cargo vm bench --counts` leaves out most of the \
                 costs of a sleep"
                    .into(),
            ],
        }
    }

    fn qemu_lines(&self) -> Vec<String> {
        match &self.qemu {
            Ok(version) => vec![version.clone()],
            Err(lack) => vec![
                lack.clone(),
                "costs: no guest under QEMU, so `cargo vm test` fails".into(),
            ],
        }
    }

    fn gate_lines(&self) -> Vec<String> {
        if self.gate {
            return vec!["VMMs open nothing and start nothing once a guest runs".into()];
        }
        vec![
            "QEMU is not confined here: a gate for its system calls needs Linux 5.9, and no sandbox \
             around this process that has one (`SECCOMP_RET_USER_NOTIF`); our own VMM closes itself \
             in"
                .into(),
            "costs: a guest that breaks out of QEMU can do what you can do".into(),
        ]
    }

    fn toolchain_lines(&self) -> Vec<String> {
        match &self.toolchain {
            Ok(toolchain) => vec![toolchain.to_string()],
            Err(lack) => vec![lack.to_string(), "costs: no demo and no VM test".into()],
        }
    }

    fn set_up_lines(&self) -> Vec<String> {
        match self.set_up.as_slice() {
            [] => vec![
                "nothing is missing: compiler, QEMU, passt for networks, a browser for pages"
                    .into(),
            ],
            lacks => lacks.to_vec(),
        }
    }

    fn vmm_lines(&self) -> Vec<String> {
        let default = self.default();
        let line = |vmm: Vmm| {
            let state = match (self.usable(vmm), default == Some(vmm)) {
                (true, true) => "usable, and the default",
                (true, false) => "usable",
                (false, _) => "not usable",
            };
            format!("{:18}{state}", vmm.to_string())
        };
        Vmm::ALL.into_iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toolchain::Compiler;

    fn healthy() -> Findings {
        Findings {
            kvm: Ok(KvmInfo {
                module: Some("kvm_intel"),
                hardware_assisted: Some(true),
                tsc_deadline: true,
            }),
            qemu: Ok("usable, version 7.2.0".into()),
            gate: true,
            toolchain: Ok(GuestToolchain::Target(Compiler::for_test())),
            set_up: Vec::new(),
        }
    }

    fn state(findings: &Findings, vmm: &str) -> String {
        let drawn = findings.to_string();
        let line = drawn.lines().find_map(|line| line[10..].strip_prefix(vmm));
        line.expect("every VMM has its line").trim().to_owned()
    }

    #[test]
    fn where_all_is_well_our_own_vmm_is_the_default() {
        let mut findings = healthy();
        assert!(findings.can_run_guests());
        assert_eq!(state(&findings, "kvm "), "usable, and the default");
        assert_eq!(state(&findings, "qemu-tcg/q35"), "usable");
        assert!(!findings.to_string().contains("costs"), "{findings}");
        assert!(
            findings
                .to_string()
                .contains("set-up    nothing is missing")
        );
        findings.set_up = vec!["for passt: would run this".into()];
        assert!(!findings.to_string().contains("nothing is missing"));
    }

    #[test]
    fn without_kvm_qemu_translates() {
        let mut findings = healthy();
        findings.kvm = Err("there is no /dev/kvm".into());
        assert!(findings.can_run_guests());
        assert_eq!(state(&findings, "kvm "), "not usable");
        assert_eq!(state(&findings, "qemu-kvm/microvm"), "not usable");
        assert_eq!(state(&findings, "qemu-tcg/q35"), "usable, and the default");
        let drawn = findings.to_string();
        assert!(drawn.contains("there is no /dev/kvm\n"), "{drawn}");
        assert_eq!(drawn.matches("costs: ").count(), 1, "{drawn}");
    }

    #[test]
    fn without_a_gate_guests_run_and_it_is_said() {
        let mut findings = healthy();
        findings.gate = false;
        assert_eq!(state(&findings, "qemu-tcg/q35"), "usable");
        let drawn = findings.to_string();
        assert!(drawn.contains("QEMU is not confined"), "{drawn}");
        assert_eq!(drawn.matches("costs: ").count(), 1, "{drawn}");
    }

    #[test]
    fn without_qemu_our_own_vmm_is_left() {
        let mut findings = healthy();
        findings.qemu = Err("there is no QEMU".into());
        assert!(findings.can_run_guests());
        assert_eq!(state(&findings, "kvm "), "usable, and the default");
        assert_eq!(state(&findings, "qemu-kvm/q35"), "not usable");
    }

    #[test]
    fn without_any_vmm_or_compiler_no_guest_can_run() {
        let mut none = healthy();
        none.kvm = Err("no".into());
        none.qemu = Err("no".into());
        assert!(!none.can_run_guests());
        assert!(!none.to_string().contains("default"), "{none}");
        let mut unbuilt = healthy();
        unbuilt.toolchain = Err(GuestToolchainError::default());
        assert!(!unbuilt.can_run_guests());
    }

    #[test]
    fn emulated_kvm_comes_with_a_warning_about_times() {
        let mut findings = healthy();
        findings.kvm = Ok(KvmInfo {
            module: Some("kvm_pvm"),
            hardware_assisted: Some(false),
            tsc_deadline: true,
        });
        let drawn = findings.to_string();
        assert!(drawn.contains("say nothing about hardware"), "{drawn}");
    }
}
