//! KVM's paravirtual clock: here only for the TSC's frequency.

use core::cell::UnsafeCell;

use x86_64::registers::model_specific::Msr;

use super::cpuid;

/// `MSR_KVM_SYSTEM_TIME_NEW` (Linux, `Documentation/virt/kvm/x86/msr.rst`).
const SYSTEM_TIME: u32 = 0x4b56_4d01;
/// `KVM_FEATURE_CLOCKSOURCE2`: the MSR above is there.
const FEATURE_CLOCKSOURCE2: u32 = 1 << 3;
/// In the MSR: the structure is to be kept up to date.
const ENABLE: u64 = 1;

/// `struct pvclock_vcpu_time_info`, written by KVM.
#[repr(C, align(64))]
struct TimeInfo {
    version: u32,
    _pad: u32,
    tsc_timestamp: u64,
    system_time: u64,
    tsc_to_system_mul: u32,
    tsc_shift: i8,
    flags: u8,
    _pad2: [u8; 2],
}

struct Shared(UnsafeCell<TimeInfo>);

// SAFETY: the guest reads it with volatile reads only, while KVM does not write it (see `tsc_hz`).
unsafe impl Sync for Shared {}

static TIME_INFO: Shared = Shared(UnsafeCell::new(TimeInfo {
    version: 0,
    _pad: 0,
    tsc_timestamp: 0,
    system_time: 0,
    tsc_to_system_mul: 0,
    tsc_shift: 0,
    flags: 0,
    _pad2: [0; 2],
}));

/// The TSC's frequency in Hz as KVM gives it; `None` if the hypervisor is not KVM or has no clock.
///
/// # Safety
///
/// Ring 0, memory mapped one to one, and not called on two vCPUs at a time.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main, owns_machine);
/// use dormir::arch::x86_64::{cpuid, pvclock, tsc::TscClock};
///
/// // SAFETY: ring 0, one vCPU, memory mapped one to one.
/// let hz = unsafe { pvclock::tsc_hz() }.or(cpuid::hypervisor_timing().tsc_hz);
/// if let Some(hz) = hz {
///     let clock = TscClock::start(hz);
/// #   let _ = clock;
/// }
/// ```
#[must_use]
pub unsafe fn tsc_hz() -> Option<u64> {
    if cpuid::kvm_features() & FEATURE_CLOCKSOURCE2 == 0 {
        return None;
    }
    let mut msr = Msr::new(SYSTEM_TIME);
    let address = TIME_INFO.0.get() as u64;
    // SAFETY: the feature bit says that the MSR exists. The address is that of a static of the
    // structure's size and alignment; the caller says that it is the physical one.
    unsafe { msr.write(address | ENABLE) };
    // KVM fills the structure in before the vCPU goes on after the write.
    // SAFETY: in bounds and aligned; volatile, since KVM writes it.
    let info = unsafe { TIME_INFO.0.get().read_volatile() };
    // SAFETY: as above; 0 ends the updates, so nothing writes the static from now on.
    unsafe { msr.write(0) };
    frequency(info.tsc_to_system_mul, info.tsc_shift)
}

/// The structure says ns = (ticks << shift) * mul >> 32, where a negative shift goes right.
fn frequency(mul: u32, shift: i8) -> Option<u64> {
    if mul == 0 {
        return None;
    }
    let scaled = (1_000_000_000u64 << 32) / u64::from(mul);
    match shift {
        0..=31 => Some(scaled >> shift),
        -31..=-1 => Some(scaled << -shift),
        _ => None,
    }
}
