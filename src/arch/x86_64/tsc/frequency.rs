//! How fast the TSC counts.

use super::read;
use crate::arch::x86_64::{cpuid, pit, pvclock};

/// Who said how fast the TSC counts.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main);
/// use dormir::{arch::x86_64::tsc::FrequencySource, platform::bare};
///
/// let machine = bare::machine().expect("the machine is set up");
/// dormir_guest::println!("TSC: {} Hz ({})", machine.tsc_hz, machine.tsc_source);
/// if machine.tsc_source == FrequencySource::Calibrated {
///     dormir_guest::println!("its clock may run some parts in a million fast or slow");
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrequencySource {
    /// The guest, in `platform::bare::Config`.
    Given,
    /// KVM's paravirtual clock.
    Pvclock,
    /// The hypervisor's CPUID leaf 0x40000010.
    HypervisorLeaf,
    /// The processor's CPUID leaf 0x15.
    CrystalLeaf,
    /// A measurement against another counter of known frequency.
    Calibrated,
}

impl core::fmt::Display for FrequencySource {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Given => "given",
            Self::Pvclock => "pvclock",
            Self::HypervisorLeaf => "CPUID 0x40000010",
            Self::CrystalLeaf => "CPUID 0x15",
            Self::Calibrated => "calibrated",
        })
    }
}

/// Finds the TSC's frequency in Hz: from the hypervisor, else from the processor, else measured
/// against the PIT. `None` if none of them is there.
///
/// # Safety
///
/// Ring 0, memory mapped one to one, one vCPU, and interrupts masked: channel 2 of the PIT is used.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main, owns_machine);
/// use dormir::arch::x86_64::tsc::{self, TscClock};
///
/// // SAFETY: ring 0, one vCPU, interrupts masked, memory mapped one to one.
/// let (hz, source) = unsafe { tsc::find_frequency() }.expect("the TSC's frequency is known");
/// dormir_guest::println!("TSC: {hz} Hz ({source})");
/// let clock = TscClock::start(hz);
/// # let _ = clock;
/// ```
#[must_use]
pub unsafe fn find_frequency() -> Option<(u64, FrequencySource)> {
    // SAFETY: the caller's promises are the ones asked for.
    if let Some(hz) = unsafe { pvclock::tsc_hz() } {
        return Some((hz, FrequencySource::Pvclock));
    }
    if let Some(hz) = cpuid::hypervisor_timing().tsc_hz {
        return Some((hz, FrequencySource::HypervisorLeaf));
    }
    if let Some(hz) = cpuid::crystal_timing().tsc_hz {
        return Some((hz, FrequencySource::CrystalLeaf));
    }
    // SAFETY: the caller's promises are the ones asked for.
    let hz = unsafe { pit::measure_hz(read) }?;
    Some((hz, FrequencySource::Calibrated))
}
