//! What the processor and the hypervisor say of themselves.

use core::arch::x86_64::{__cpuid, CpuidResult};

/// First CPUID leaf of a hypervisor; EAX answers the last one.
const HYPERVISOR_BASE: u32 = 0x4000_0000;
/// Timing information: EAX is the TSC's frequency in kHz, EBX the local APIC timer's. VMware defined
/// it; QEMU and the harness's VMM fill it in too.
const HYPERVISOR_TIMING: u32 = 0x4000_0010;
/// KVM's features, from the first of its leaves; EAX is a bit field (Linux,
/// `Documentation/virt/kvm/x86/cpuid.rst`).
const KVM_FEATURES: u32 = 1;

fn has(leaf: u32) -> bool {
    __cpuid(0).eax >= leaf
}

fn features() -> CpuidResult {
    __cpuid(1)
}

/// Whether there is a local APIC (CPUID.01H:EDX.9).
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main);
/// use dormir::{arch::x86_64::cpuid, platform::bare};
///
/// let machine = bare::machine().expect("the machine is set up");
/// assert_eq!(machine.apic.is_some(), cpuid::has_apic());
/// ```
#[must_use]
pub fn has_apic() -> bool {
    features().edx & (1 << 9) != 0
}

/// Whether the local APIC can be used through MSRs (CPUID.01H:ECX.21).
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main, owns_machine);
/// use dormir::{arch::x86_64::cpuid, platform::bare::{self, Config, InitError, TimerSource}};
///
/// let config = Config { timer: Some(TimerSource::X2apic), ..Config::default() };
/// // SAFETY: ring 0, one vCPU, interrupts masked, tables and pages as they must be; called once.
/// match unsafe { bare::init(config) } {
///     Ok(_) => assert!(cpuid::has_x2apic()),
///     Err(InitError::NoSuchTimer { .. }) => assert!(!cpuid::has_x2apic()),
///     Err(error) => panic!("{error}"),
/// }
/// ```
#[must_use]
pub fn has_x2apic() -> bool {
    features().ecx & (1 << 21) != 0
}

/// Whether the local APIC's timer can be set to a value of the TSC (CPUID.01H:ECX.24).
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main);
/// use dormir::{arch::x86_64::cpuid, platform::bare};
///
/// let machine = bare::machine().expect("the machine is set up");
/// if cpuid::has_tsc_deadline() {
///     assert_eq!(machine.timer, bare::TimerSource::TscDeadline, "it is the best");
/// }
/// ```
#[must_use]
pub fn has_tsc_deadline() -> bool {
    features().ecx & (1 << 24) != 0
}

/// Whether a hypervisor says that it is there (CPUID.01H:ECX.31).
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main);
/// use dormir::arch::x86_64::cpuid;
///
/// if !cpuid::has_hypervisor() {
///     dormir_guest::println!("on bare metal, or a hypervisor hides itself");
/// }
/// ```
#[must_use]
pub fn has_hypervisor() -> bool {
    features().ecx & (1 << 31) != 0
}

/// The frequencies of the TSC and of the local APIC's timer in Hz, each `None` if it is not said.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main);
/// use dormir::arch::x86_64::cpuid::{self, Timing};
///
/// let Timing { tsc_hz, apic_hz, .. } = cpuid::hypervisor_timing();
/// for (name, hz) in [("TSC", tsc_hz), ("local APIC's timer", apic_hz)] {
///     match hz {
///         Some(hz) => dormir_guest::println!("the {name} runs at {hz} Hz"),
///         None => dormir_guest::println!("the {name} has to be measured"),
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// Of the time-stamp counter.
    pub tsc_hz: Option<u64>,
    /// Of the local APIC's timer before its divider.
    pub apic_hz: Option<u64>,
}

/// What the hypervisor says in leaf 0x40000010.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main);
/// use dormir::arch::x86_64::{cpuid, tsc::TscClock};
///
/// if let Some(hz) = cpuid::hypervisor_timing().tsc_hz {
///     let clock = TscClock::start(hz);
/// #   let _ = clock;
/// }
/// ```
#[must_use]
pub fn hypervisor_timing() -> Timing {
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

/// What the processor says in leaf 0x15: EBX/EAX is the ratio of the TSC to the crystal, ECX the
/// crystal's frequency, which also drives the local APIC's timer (SDM vol. 3, 12.5.4).
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main);
/// use dormir::arch::x86_64::cpuid;
///
/// let timing = cpuid::crystal_timing();
/// // Both come from the one crystal, so both are said or neither.
/// assert_eq!(timing.tsc_hz.is_some(), timing.apic_hz.is_some());
/// ```
#[must_use]
pub fn crystal_timing() -> Timing {
    if !has(0x15) {
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

/// KVM's feature bits; 0 where the hypervisor is not KVM.
///
/// KVM's leaves begin at 0x40000000, or at a later multiple of 0x100 where it offers another
/// hypervisor's leaves too.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main);
/// use dormir::arch::x86_64::cpuid;
///
/// /// `KVM_FEATURE_PV_UNHALT`: the host can end a `hlt` when another vCPU asks for it.
/// const PV_UNHALT: u32 = 1 << 7;
/// if cpuid::kvm_features() & PV_UNHALT != 0 {
///     dormir_guest::println!("KVM, with paravirtual unhalt");
/// }
/// ```
#[must_use]
pub fn kvm_features() -> u32 {
    if !has_hypervisor() {
        return 0;
    }
    (HYPERVISOR_BASE..HYPERVISOR_BASE + 0x1000)
        .step_by(0x100)
        .find(|&base| {
            let leaf = __cpuid(base);
            leaf.ebx.to_le_bytes() == *b"KVMK"
                && leaf.ecx.to_le_bytes() == *b"VMKV"
                && leaf.edx.to_le_bytes() == *b"M\0\0\0"
        })
        .map_or(0, |base| __cpuid(base + KVM_FEATURES).eax)
}
