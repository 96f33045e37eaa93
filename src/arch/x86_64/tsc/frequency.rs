//! The frequency of the TSC.

use super::{counter::read, pvclock};
use crate::arch::x86_64::{cpuid, pit};

/// The source of the TSC's frequency.
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
///     dormir_guest::println!("the clock may be some parts in a million too fast or too slow");
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum FrequencySource {
    /// [`platform::bare::Config`](crate::platform::bare::Config), from the guest.
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

/// Finds the TSC's frequency in Hz: reported by the hypervisor, else by the processor, else
/// measured against the PIT. Returns `None` if none of these is possible.
///
/// # Safety
///
/// Ring 0, memory mapped one to one, one vCPU, interrupts masked, and nothing else uses channel 2
/// of the PIT during the call.
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
/// dormir_guest::println!("{clock:?}");
/// ```
#[must_use]
pub unsafe fn find_frequency() -> Option<(u64, FrequencySource)> {
    // SAFETY: the caller guarantees what `tsc_hz` requires.
    if let Some(hz) = unsafe { pvclock::tsc_hz() } {
        return Some((hz, FrequencySource::Pvclock));
    }
    if let Some(hz) = cpuid::hypervisor_timing().tsc_hz {
        return Some((hz, FrequencySource::HypervisorLeaf));
    }
    if let Some(hz) = cpuid::crystal_timing().tsc_hz {
        return Some((hz, FrequencySource::CrystalLeaf));
    }
    // SAFETY: the caller guarantees what `measure_hz` requires.
    let hz = unsafe { pit::measure_hz(read) }?;
    Some((hz, FrequencySource::Calibrated))
}
