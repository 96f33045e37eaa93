//! The vCPU's initial state: its CPUID, and the registers of [`dormir_abi::direct_entry`].

use kvm_bindings::{
    CpuId, KVM_MAX_CPUID_ENTRIES, kvm_cpuid_entry2, kvm_dtable, kvm_regs, kvm_segment,
};
use kvm_ioctls::{Cap, Kvm, VcpuFd};

use super::boot::{GDT, GDT_ENTRIES, PML4, START_INFO};
use crate::vmm::error::RunError;

/// Protected mode, paging, write protection, native FPU errors, and the two bits that are always
/// set (ET, MP).
const CR0: u64 = 0x8001_0033;
/// Physical address extension, and the FPU state that SSE needs.
const CR4: u64 = 0x620;
/// Long mode, enabled and active.
const EFER: u64 = 0x500;
/// RFLAGS with interrupts masked; bit 1 is always set.
const RFLAGS: u64 = 0x2;

/// The leaf in which hypervisors report the frequencies of the TSC and of the APIC's bus.
const TIMING_LEAF: u32 = 0x4000_0010;
/// The first leaf of a hypervisor: its highest leaf in EAX, and its name.
const HYPERVISOR_LEAF: u32 = 0x4000_0000;
/// KVM counts the APIC timer's bus in nanoseconds.
const APIC_BUS_KHZ: u32 = 1_000_000;

const ECX_X2APIC: u32 = 1 << 21;
const ECX_TSC_DEADLINE: u32 = 1 << 24;
const ECX_HYPERVISOR: u32 = 1 << 31;

/// Sets the vCPU's CPUID and registers.
pub(super) fn set_up(kvm: &Kvm, vcpu: &VcpuFd, entry: u64) -> Result<(), RunError> {
    let supported = kvm
        .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
        .map_err(RunError::kvm("report which processor features it supports"))?;
    let mut leaves = supported.as_slice().to_vec();
    // Without a stable TSC there is no frequency to report, and the guest must calibrate.
    let tsc_khz = vcpu.get_tsc_khz().unwrap_or(0);
    complete_cpuid(
        &mut leaves,
        kvm.check_extension(Cap::TscDeadlineTimer),
        tsc_khz,
    );
    let cpuid = CpuId::from_entries(&leaves)
        .map_err(|_| RunError::KvmLacks("a CPUID of fewer than 256 leaves"))?;
    vcpu.set_cpuid2(&cpuid)
        .map_err(RunError::kvm("set the vCPU's features"))?;
    set_special_registers(vcpu)?;
    vcpu.set_regs(&kvm_regs {
        rip: entry,
        rdi: START_INFO.0,
        rflags: RFLAGS,
        ..Default::default()
    })
    .map_err(RunError::kvm("set the vCPU's registers"))
}

/// Turns the CPUID that KVM supports into the one that this guest sees.
fn complete_cpuid(leaves: &mut Vec<kvm_cpuid_entry2>, tsc_deadline: bool, tsc_khz: u32) {
    for leaf in leaves.iter_mut() {
        match leaf.function {
            0x1 => {
                // KVM hides this bit, since it depends on the interrupt controller: ours is in the
                // kernel, which supports the mode if the capability says so.
                leaf.ecx &= !ECX_TSC_DEADLINE;
                if tsc_deadline {
                    leaf.ecx |= ECX_TSC_DEADLINE;
                }
                // The in-kernel APIC supports x2APIC on every host.
                leaf.ecx |= ECX_X2APIC;
                // Tells the guest that the hypervisor's leaves exist.
                leaf.ecx |= ECX_HYPERVISOR;
                // The APIC ID is that of the host's processor that answered. Ours is 0.
                leaf.ebx &= 0x00ff_ffff;
            }
            // The x2APIC ID, for the same reason.
            0xb | 0x1f => leaf.edx = 0,
            // Otherwise a guest must not read the timing leaf.
            HYPERVISOR_LEAF => leaf.eax = leaf.eax.max(TIMING_LEAF),
            // The leaf between, 0x40000001, announces pvclock: KVM's value is kept.
            _ => {}
        }
    }
    if tsc_khz != 0 {
        leaves.retain(|leaf| leaf.function != TIMING_LEAF);
        leaves.push(kvm_cpuid_entry2 {
            function: TIMING_LEAF,
            eax: tsc_khz,
            ebx: APIC_BUS_KHZ,
            ..Default::default()
        });
    }
}

fn set_special_registers(vcpu: &VcpuFd) -> Result<(), RunError> {
    let mut registers = vcpu
        .get_sregs()
        .map_err(RunError::kvm("read the vCPU's special registers"))?;
    registers.cr0 = CR0;
    registers.cr3 = PML4.0;
    registers.cr4 = CR4;
    registers.efer = EFER;
    let data = segment(2);
    registers.cs = segment(1);
    (registers.ds, registers.es, registers.ss) = (data, data, data);
    (registers.fs, registers.gs) = (data, data);
    registers.gdt = kvm_dtable {
        base: GDT.0,
        limit: (size_of_val(&GDT_ENTRIES) - 1) as u16,
        ..Default::default()
    };
    // No interrupt table: a fault before the guest has loaded its own ends in a triple fault at
    // once, and does not run code from address 0.
    registers.idt = kvm_dtable::default();
    vcpu.set_sregs(&registers)
        .map_err(RunError::kvm("set the vCPU's special registers"))
}

/// Returns the register's hidden part, as if loaded from the descriptor with this index.
fn segment(index: u16) -> kvm_segment {
    let descriptor = GDT_ENTRIES[usize::from(index)];
    let bit = |position: u32| (descriptor >> position & 1) as u8;
    kvm_segment {
        base: 0,
        limit: 0xffff_ffff,
        selector: index * 8,
        type_: (descriptor >> 40 & 0xf) as u8,
        s: bit(44),
        dpl: (descriptor >> 45 & 3) as u8,
        present: bit(47),
        avl: bit(52),
        l: bit(53),
        db: bit(54),
        g: bit(55),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(leaves: &[kvm_cpuid_entry2], function: u32) -> &kvm_cpuid_entry2 {
        leaves
            .iter()
            .find(|leaf| leaf.function == function)
            .unwrap()
    }

    fn supported() -> Vec<kvm_cpuid_entry2> {
        let entry = |function, eax, ebx| kvm_cpuid_entry2 {
            function,
            eax,
            ebx,
            ..Default::default()
        };
        vec![
            entry(1, 0, 0x0302_0800),
            entry(HYPERVISOR_LEAF, 0x4000_0001, 0),
            entry(0x4000_0001, 0x0100_0079, 0),
        ]
    }

    #[test]
    fn the_deadline_bit_follows_the_capability() {
        for present in [true, false] {
            let mut leaves = supported();
            complete_cpuid(&mut leaves, present, 1);
            assert_eq!(leaf(&leaves, 1).ecx & ECX_TSC_DEADLINE != 0, present);
        }
    }

    #[test]
    fn a_guest_finds_the_frequencies_and_pvclock() {
        let mut leaves = supported();
        complete_cpuid(&mut leaves, true, 2_400_000);
        assert_eq!(leaf(&leaves, HYPERVISOR_LEAF).eax, TIMING_LEAF);
        let timing = leaf(&leaves, TIMING_LEAF);
        assert_eq!((timing.eax, timing.ebx), (2_400_000, 1_000_000));
        assert_eq!(leaf(&leaves, 0x4000_0001).eax, 0x0100_0079);
        assert_eq!(leaf(&leaves, 1).ebx, 0x0002_0800, "the APIC id is 0");
    }

    #[test]
    fn without_a_frequency_there_is_no_leaf_for_it() {
        let mut leaves = supported();
        complete_cpuid(&mut leaves, true, 0);
        assert!(leaves.iter().all(|leaf| leaf.function != TIMING_LEAF));
    }

    #[test]
    fn the_segments_are_those_of_64_bit_code() {
        let code = segment(1);
        assert_eq!((code.selector, code.type_, code.l, code.db), (8, 0xb, 1, 0));
        let data = segment(2);
        assert_eq!((data.selector, data.type_, data.l, data.db), (16, 3, 0, 1));
        assert_eq!((code.present, data.present, code.s, data.s), (1, 1, 1, 1));
    }
}
