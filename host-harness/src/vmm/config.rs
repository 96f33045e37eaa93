//! Which VMM runs a guest, and with what limits.

use std::{fmt, str::FromStr, time::Duration};

use super::{device::Device, gdb::GdbListener, input::GuestInput};
use crate::stop::StopToken;

/// The longest command line of a guest, in bytes.
pub const MAX_ARGUMENTS_LENGTH: usize = dormir_abi::MAX_COMMAND_LINE;

/// A virtual machine monitor and, for QEMU, its accelerator and machine type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Vmm {
    /// The harness's own VMM, on `/dev/kvm`.
    Kvm,
    /// `qemu-system-x86_64`.
    Qemu(Accelerator, MachineType),
}

/// What executes the guest's code under QEMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Accelerator {
    /// `/dev/kvm`.
    Kvm,
    /// QEMU's own translator, which needs no hardware support.
    Tcg,
}

/// QEMU's machine type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MachineType {
    /// A full PC with firmware.
    Q35,
    /// A machine without PCI, designed for micro-VMs.
    Microvm,
}

impl Vmm {
    /// Every VMM.
    pub const ALL: [Self; 5] = [
        Self::Kvm,
        Self::Qemu(Accelerator::Tcg, MachineType::Q35),
        Self::Qemu(Accelerator::Tcg, MachineType::Microvm),
        Self::Qemu(Accelerator::Kvm, MachineType::Q35),
        Self::Qemu(Accelerator::Kvm, MachineType::Microvm),
    ];
}

/// Writes the name that tests and the command line use: `kvm`, `qemu-tcg/q35`, `qemu-kvm/microvm`.
impl fmt::Display for Vmm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kvm => "kvm",
            Self::Qemu(Accelerator::Tcg, MachineType::Q35) => "qemu-tcg/q35",
            Self::Qemu(Accelerator::Tcg, MachineType::Microvm) => "qemu-tcg/microvm",
            Self::Qemu(Accelerator::Kvm, MachineType::Q35) => "qemu-kvm/q35",
            Self::Qemu(Accelerator::Kvm, MachineType::Microvm) => "qemu-kvm/microvm",
        })
    }
}

/// Parses what [`Display`](fmt::Display) writes.
impl FromStr for Vmm {
    type Err = UnknownVmmError;

    fn from_str(name: &str) -> Result<Self, UnknownVmmError> {
        Self::ALL
            .into_iter()
            .find(|vmm| vmm.to_string() == name)
            .ok_or_else(|| UnknownVmmError(name.to_owned()))
    }
}

/// A name that is not one of [`Vmm::ALL`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no VMM named `{0}`: use kvm, qemu-tcg/q35, qemu-tcg/microvm, qemu-kvm/q35 or \
     qemu-kvm/microvm"
)]
pub struct UnknownVmmError(String);

/// How a guest is run.
#[derive(Clone, Debug)]
pub struct RunConfig {
    /// The VMM that runs it.
    pub vmm: Vmm,
    /// The guest's RAM in MiB.
    pub memory_mib: u32,
    /// The guest's time limit, its start included.
    pub timeout: Duration,
    /// The guest's command line: its arguments, separated by blanks.
    pub arguments: String,
    /// The limit of the guest's console output, in bytes.
    pub console_limit: u64,
    /// Whether the harness's own VMM creates a PIT (QEMU's machines always have one). A PIT makes
    /// the VM slower to shut down, so only a guest that needs one should have it.
    pub pit: bool,
    /// Whether QEMU TCG counts time in instructions (`-icount shift=0,sleep=off`), so that every
    /// run executes the same instructions. Refused with any other VMM.
    pub count_instructions: bool,
    /// Whether the harness's own VMM single-steps through the guest's instructions where the guest
    /// asks for it ([`dormir_abi::port::STEPS`]). Refused with any other VMM.
    pub steps: bool,
    /// Where a debugger can attach. The guest is stopped before its first instruction until one
    /// lets it run. The time limit counts only while none is attached, from when the last one
    /// left. Refused with [`steps`](Self::steps).
    pub gdb: Option<GdbListener>,
    /// What the guest reads from its serial line (`dormir_guest::serial`), or from its virtio
    /// console if it has one. What it writes there appears on its console.
    pub input: Option<GuestInput>,
    /// The guest's virtio devices, in this order. With QEMU's q35 they are on PCI; else the guest
    /// finds them by words of its command line, such as `virtio_mmio.device=512@0xd0000000:5`.
    pub devices: Vec<Device>,
    /// Stops the run from another thread, or on Ctrl-C.
    pub stop: StopToken,
}

impl RunConfig {
    /// Whether what the guest reads goes to its serial line.
    pub(super) fn has_serial_input(&self) -> bool {
        self.input.is_some() && !self.has_virtio_console()
    }

    pub(super) fn has_virtio_console(&self) -> bool {
        self.devices.contains(&Device::Console)
    }

    /// The defaults: 64 MiB, 60 s, no arguments, 16 MiB of console output, no PIT, no steps, no
    /// debugger, no input, no devices.
    #[must_use]
    pub fn new(vmm: Vmm) -> Self {
        Self {
            vmm,
            memory_mib: 64,
            timeout: Duration::from_secs(60),
            arguments: String::new(),
            console_limit: 16 << 20,
            pit: false,
            count_instructions: false,
            steps: false,
            gdb: None,
            input: None,
            devices: Vec::new(),
            stop: StopToken::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_vmm_is_found_by_its_name() {
        for vmm in Vmm::ALL {
            assert_eq!(vmm.to_string().parse(), Ok(vmm));
        }
        let error = "qemu".parse::<Vmm>().unwrap_err();
        assert!(error.to_string().contains("`qemu`"), "{error}");
    }
}
