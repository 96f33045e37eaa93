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

/// The VMMs that are measured, and sentences on those that cannot be. Under our own VMM
/// a network is tried out, before anything is measured without it.
///
/// # Errors
///
/// One that was named cannot be used, or none can.
pub(crate) fn usable(named: &[Vmm]) -> Result<(Vec<Vmm>, Vec<String>), RunError> {
    choose(named, |vmm| match vmm {
        Vmm::Kvm => kvm::probe().and_then(|_| kvm::probe_network()),
        Vmm::Qemu(Accelerator::Kvm, _) => kvm::probe().and_then(|_| qemu::probe()).map(drop),
        Vmm::Qemu(Accelerator::Tcg, _) => qemu::probe().map(drop),
    })
}

fn choose(
    named: &[Vmm],
    probe: impl Fn(Vmm) -> Result<(), RunError>,
) -> Result<(Vec<Vmm>, Vec<String>), RunError> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use dormir_harness::vmm::{DeviceError, NetError};

    #[test]
    fn what_cannot_be_used_is_left_out_unless_it_was_named() {
        let without_passt = |vmm| match vmm {
            Vmm::Kvm => Err(RunError::Device(DeviceError::Net(NetError::PasstMissing))),
            Vmm::Qemu(..) => Ok(()),
        };
        let (vmms, left_out) = choose(&[], without_passt).expect("QEMU is there");
        assert_eq!(vmms, USUAL[..2]);
        assert_eq!(left_out.len(), 1);
        assert!(left_out[0].starts_with("kvm is left out: "), "{left_out:?}");
        assert!(left_out[0].contains("no passt"), "{left_out:?}");
        let error = choose(&[USUAL[0], Vmm::Kvm], without_passt);
        let error = error.expect_err("it was named").to_string();
        assert!(error.contains("no passt"), "{error}");
        let missing = || RunError::Device(DeviceError::Net(NetError::PasstMissing));
        choose(&[], |_| Err(missing())).expect_err("there is none");
        let all = choose(&[], |_| Ok(())).expect("all are there");
        assert_eq!(all, (USUAL.to_vec(), Vec::new()));
    }
}
