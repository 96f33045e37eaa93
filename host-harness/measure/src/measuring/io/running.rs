//! A server that runs, under whichever VMM.

use super::{
    Bounds, GuestError,
    load::Connections,
    own_vmm::OwnVmm,
    qemu::{Machine, Qemu},
    servers::Boot,
    wait_for,
};
use dormir_harness::vmm::{Device, PortForward, VcpuCounters, Vmm, free_port};
use std::time::{Duration, Instant};

/// What servers print once they serve.
const SERVES: &str = "serves http://10.0.2.15:80";

/// How long one may take until then, unless that is looked for.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// A server that has answered once.
#[derive(Debug)]
pub(super) struct Running {
    guest: Guest,
    port: u16,
    /// From the start of its VMM to the end of its first answer.
    pub(super) first_answer: Duration,
}

#[derive(Debug)]
enum Guest {
    Qemu(Qemu),
    Own(OwnVmm),
}

impl Running {
    /// Boots a server, and fetches a page; waits for at most `limit` until it serves.
    pub(super) fn boot(
        boot: &Boot,
        vmm: Vmm,
        memory_mib: u32,
        counts: bool,
        limit: Duration,
        bounds: &Bounds,
    ) -> Result<Self, GuestError> {
        bounds.check()?;
        let port = free_port().map_err(GuestError::Resource)?;
        let guest = match vmm {
            Vmm::Kvm => {
                let forward = PortForward {
                    host: port,
                    guest: 80,
                };
                let network = Device::Net {
                    forwards: vec![forward],
                    restrict: true,
                };
                Guest::Own(OwnVmm::start(&boot.kernel, memory_mib, network)?)
            }
            Vmm::Qemu(accelerator, machine) => {
                let machine = Machine {
                    accelerator,
                    machine,
                    memory_mib,
                    port: Some(port),
                    disk: None,
                    counts,
                };
                Guest::Qemu(machine.start(boot)?)
            }
        };
        let (console, started) = match &guest {
            Guest::Qemu(guest) => (guest.console(), guest.started()),
            Guest::Own(guest) => (guest.console(), guest.started()),
        };
        if let Err(error) = wait_for(console, SERVES, limit, bounds) {
            return Err(match guest {
                Guest::Own(guest) => guest.instead_of(error),
                Guest::Qemu(_) => error,
            });
        }
        Connections::open(port, 1, bounds).map_err(GuestError::Fetch)?;
        let first_answer = Instant::now() - started;
        Ok(Self {
            guest,
            port,
            first_answer,
        })
    }

    /// Opens connections.
    pub(super) fn connect(&self, count: usize, bounds: &Bounds) -> Result<Connections, GuestError> {
        let connections = Connections::open(self.port, count, bounds);
        // What was stopped did not fail.
        bounds.check()?;
        connections.map_err(GuestError::Fetch)
    }

    /// The memory of the guest's process, if it has one of its own.
    pub(super) fn resident(&self) -> Option<u64> {
        match &self.guest {
            Guest::Qemu(guest) => guest.resident(),
            Guest::Own(_) => None,
        }
    }

    /// How many instructions the guest has executed, under a QEMU that counts them.
    pub(super) fn instructions(&mut self) -> Result<u64, GuestError> {
        match &mut self.guest {
            Guest::Qemu(guest) => guest.instructions(),
            Guest::Own(_) => Err(GuestError::Monitor("our own VMM counts none".into())),
        }
    }

    /// Ends the guest, and returns what was counted of it under our own VMM.
    pub(super) fn counters(self) -> Result<VcpuCounters, GuestError> {
        match self.guest {
            Guest::Own(guest) => guest.counters(),
            Guest::Qemu(_) => Err(GuestError::Monitor("QEMU tells no exits".into())),
        }
    }
}
