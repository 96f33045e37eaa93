//! CPUID: what the processor and the hypervisor report about themselves.

use core::{
    arch::x86_64::{__cpuid, CpuidResult},
    hint::black_box,
};

/// First CPUID leaf of a hypervisor. Its EAX is the last one.
const HYPERVISOR_BASE: u32 = 0x4000_0000;
/// Timing information: EAX is the TSC's frequency in kHz, EBX the local APIC timer's. VMware
/// defined this leaf; QEMU and the harness's VMM have it too.
const HYPERVISOR_TIMING: u32 = 0x4000_0010;
/// KVM's features, counted from the first of its leaves. EAX is a bit field (Linux,
/// `Documentation/virt/kvm/x86/cpuid.rst`).
const KVM_FEATURES: u32 = 1;

fn features() -> CpuidResult {
    __cpuid(1)
}

/// Whether there is a local APIC (CPUID.01H:EDX.9).
pub(crate) fn has_apic() -> bool {
    features().edx & (1 << 9) != 0
}

/// Whether the local APIC has registers that are MSRs (CPUID.01H:ECX.21).
pub(crate) fn has_x2apic() -> bool {
    features().ecx & (1 << 21) != 0
}

/// Whether the local APIC's timer has a TSC-deadline mode (CPUID.01H:ECX.24).
pub(crate) fn has_tsc_deadline() -> bool {
    features().ecx & (1 << 24) != 0
}

/// Whether a hypervisor reports itself (CPUID.01H:ECX.31).
pub(crate) fn has_hypervisor() -> bool {
    features().ecx & (1 << 31) != 0
}

/// Two frequencies in Hz, each `None` if it is not reported.
#[derive(Clone, Copy, Default)]
pub(crate) struct Timing {
    /// Of the time-stamp counter.
    pub(crate) tsc_hz: Option<u64>,
    /// Of the local APIC's timer, before its divider.
    pub(crate) apic_hz: Option<u64>,
}

/// The frequencies that the hypervisor reports, in leaf 0x40000010.
pub(crate) fn hypervisor_timing() -> Timing {
    if !has_hypervisor() || __cpuid(HYPERVISOR_BASE).eax < HYPERVISOR_TIMING {
        return Timing::default();
    }
    let leaf = __cpuid(HYPERVISOR_TIMING);
    let hz = |khz: u32| (khz != 0).then_some(u64::from(khz) * 1000);
    Timing {
        tsc_hz: hz(leaf.eax),
        apic_hz: hz(leaf.ebx),
    }
}

/// The frequencies that the processor reports, in leaf 0x15: EBX/EAX is the ratio of the TSC to the
/// crystal, ECX the crystal's frequency, which also drives the local APIC's timer (SDM vol. 3,
/// 12.5.4).
pub(crate) fn crystal_timing() -> Timing {
    if __cpuid(0).eax < 0x15 {
        return Timing::default();
    }
    let leaf = __cpuid(0x15);
    let (denominator, numerator, crystal) = (
        u64::from(leaf.eax),
        u64::from(leaf.ebx),
        u64::from(leaf.ecx),
    );
    if denominator == 0 || numerator == 0 || crystal == 0 {
        return Timing::default();
    }
    Timing {
        tsc_hz: Some(crystal * numerator / denominator),
        apic_hz: Some(crystal),
    }
}

/// KVM's feature bits; 0 if the hypervisor is not KVM.
///
/// KVM's leaves begin at 0x40000000, or at a later multiple of 0x100 if it also offers the leaves
/// of another hypervisor.
pub(crate) fn kvm_features() -> u32 {
    if !has_hypervisor() {
        return 0;
    }
    // Hidden from the optimiser, which else writes the loop's body sixteen times.
    let end = black_box(HYPERVISOR_BASE + 0x1000);
    (HYPERVISOR_BASE..end)
        .step_by(0x100)
        .find(|&base| {
            let leaf = __cpuid(base);
            leaf.ebx.to_le_bytes() == *b"KVMK"
                && leaf.ecx.to_le_bytes() == *b"VMKV"
                && leaf.edx.to_le_bytes() == *b"M\0\0\0"
        })
        .map_or(0, |base| __cpuid(base + KVM_FEATURES).eax)
}
