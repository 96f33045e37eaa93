//! The clock: the time-stamp counter, in nanoseconds.

use core::arch::x86_64::_rdtsc;

use super::{cpuid, pit, pvclock};
use crate::time::{Clock, Instant, Scale};

/// Nanoseconds in a second.
const NANOS_HZ: u64 = 1_000_000_000;

/// Reads the time-stamp counter.
#[must_use]
#[inline]
pub fn read() -> u64 {
    // SAFETY: every x86-64 processor has RDTSC, and ring 0 may always execute it.
    unsafe { _rdtsc() }
}

/// Who said how fast the TSC counts.
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

/// The TSC as a [`Clock`] that starts at zero.
#[derive(Clone, Copy, Debug)]
pub struct TscClock {
    start: u64,
    to_nanos: Scale,
}

impl TscClock {
    /// A clock that starts now, for a TSC of this frequency.
    ///
    /// # Panics
    ///
    /// If `hz` is zero.
    #[must_use]
    pub fn start(hz: u64) -> Self {
        Self {
            start: read(),
            to_nanos: Scale::new(hz, NANOS_HZ),
        }
    }

    /// The time at which the TSC had this value.
    #[must_use]
    #[inline]
    pub fn at(&self, tsc: u64) -> Instant {
        Instant::from_nanos(self.to_nanos.down(tsc.saturating_sub(self.start)))
    }
}

impl Clock for TscClock {
    #[inline]
    fn now(&self) -> Instant {
        self.at(read())
    }
}
