//! What is measured under which VMM, and how long that takes.

use dormir_harness::vmm::{Accelerator, MachineType, RunError, Vmm, kvm, qemu};
use std::time::Duration;

/// How many connections fetch pages at once.
pub(crate) const CONNECTIONS: [usize; 3] = [1, 8, 100];

/// The memory of each guest, in MiB, unless the least is looked for.
pub(crate) const MEMORY_MIB: u32 = 256;

/// The VMMs, unless others are named.
const USUAL: [Vmm; 3] = [
    Vmm::Qemu(Accelerator::Tcg, MachineType::Q35),
    Vmm::Qemu(Accelerator::Tcg, MachineType::Microvm),
    Vmm::Kvm,
];

/// The VMMs that are measured, and sentences on those that cannot be.
///
/// # Errors
///
/// One that was named cannot be used, or none can.
pub(crate) fn usable(named: &[Vmm]) -> Result<(Vec<Vmm>, Vec<String>), RunError> {
    let probe = |vmm: Vmm| match vmm {
        Vmm::Kvm => kvm::probe().map(drop),
        Vmm::Qemu(Accelerator::Kvm, _) => kvm::probe().and_then(|_| qemu::probe()).map(drop),
        Vmm::Qemu(Accelerator::Tcg, _) => qemu::probe().map(drop),
    };
    if !named.is_empty() {
        named.iter().try_for_each(|&vmm| probe(vmm))?;
        return Ok((named.to_vec(), Vec::new()));
    }
    let (mut vmms, mut left_out) = (Vec::new(), Vec::new());
    let mut lack = None;
    for vmm in USUAL {
        match probe(vmm) {
            Ok(()) => vmms.push(vmm),
            Err(error) => {
                left_out.push(format!("{vmm} is left out: {error}"));
                lack = Some(error);
            }
        }
    }
    match lack {
        Some(error) if vmms.is_empty() => Err(error),
        _ => Ok((vmms, left_out)),
    }
}

/// Those of the VMMs under which pages are counted, and a sentence if there are others: where KVM
/// emulates instructions, a rate says nothing, and takes minutes.
pub(crate) fn rated(vmms: &[Vmm], named: &[Vmm]) -> (Vec<Vmm>, Option<String>) {
    let emulates = || {
        let found = kvm::probe().ok();
        found.and_then(|kvm| kvm.hardware_assisted) == Some(false)
    };
    let is_rated = |vmm: &Vmm| named.contains(vmm) || *vmm != Vmm::Kvm || !emulates();
    let rated: Vec<Vmm> = vmms.iter().copied().filter(is_rated).collect();
    let others = (rated.len() < vmms.len()).then(|| {
        "kvm: pages are left out, since KVM here emulates instructions: pass --vmm kvm for them"
            .into()
    });
    (rated, others)
}

/// About how long all of it takes, on a machine with nothing else to do: under so many VMMs, of
/// which pages are counted under some.
pub(crate) fn estimate(
    vmms: usize,
    rated: usize,
    servers: usize,
    rounds: u32,
    span: Duration,
) -> Duration {
    /// A boot, and what comes before anything counts.
    const BOOT: Duration = Duration::from_secs(4);
    /// Reads from a disk.
    const DISK: Duration = Duration::from_secs(5);
    /// Instructions, exits, memory, the serial line.
    const OTHERS: Duration = Duration::from_secs(60);

    let pages = (BOOT + span * CONNECTIONS.len() as u32) * (servers * rated) as u32;
    let disks = DISK * (2 * vmms) as u32;
    (pages + disks) * rounds + OTHERS * vmms as u32
}
