//! The servers that are measured beside one another, and what boots them.

use dormir_harness::vmm::{MachineType, Vmm};
use std::path::PathBuf;

/// A server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    /// dormir's guest with picoserve.
    Picoserve,
    /// dormir's guest with an answer written by hand.
    ByHand,
    /// Debian's cloud kernel, with Tokio and hyper.
    Linux,
}

impl Server {
    pub(crate) const ALL: [Self; 3] = [Self::Picoserve, Self::ByHand, Self::Linux];

    /// Its name in tables and documents.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Picoserve => "dormir, picoserve",
            Self::ByHand => "dormir, by hand",
            Self::Linux => "Linux, Tokio and hyper",
        }
    }

    /// The guest program, if it is one of dormir's.
    pub(crate) fn program(self) -> Option<&'static str> {
        match self {
            Self::Picoserve => Some("bench-picoserve"),
            Self::ByHand => Some("bench-by-hand"),
            Self::Linux => None,
        }
    }

    /// Our own VMM boots dormir's guests alone.
    pub(crate) fn runs_under(self, vmm: Vmm) -> bool {
        self != Self::Linux || vmm != Vmm::Kvm
    }
}

/// What is booted.
#[derive(Clone, Debug)]
pub(crate) struct Boot {
    pub(super) kernel: PathBuf,
    /// Linux' file system.
    pub(super) initrd: Option<PathBuf>,
    /// Its command line.
    pub(super) arguments: &'static str,
}

impl Boot {
    /// A guest of dormir's.
    pub(super) fn guest(elf: PathBuf) -> Self {
        Self {
            kernel: elf,
            initrd: None,
            arguments: "",
        }
    }

    /// Whether the machine has ACPI. On microvm Linux finds its devices by it alone, and dormir by
    /// its command line, which QEMU writes where there is none.
    pub(super) fn wants_acpi(&self, machine: MachineType) -> bool {
        machine == MachineType::Q35 || self.initrd.is_some()
    }
}

/// A server with what boots it.
#[derive(Clone, Debug)]
pub(crate) struct Contestant {
    pub(crate) server: Server,
    pub(crate) boot: Boot,
}
