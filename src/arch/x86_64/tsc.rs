//! The clock: the time-stamp counter, in nanoseconds.

use core::arch::x86_64::_rdtsc;

use super::{cpuid, pit, pvclock};
use crate::time::{Clock, Instant, Scale};

/// Nanoseconds in a second.
const NANOS_HZ: u64 = 1_000_000_000;

/// Reads the time-stamp counter.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main);
/// use dormir::arch::x86_64::tsc;
///
/// let start = tsc::read();
/// # let work = || core::hint::black_box(1);
/// work();
/// dormir_guest::println!("the work took {} ticks", tsc::read() - start);
/// ```
#[must_use]
#[inline]
pub fn read() -> u64 {
    // SAFETY: every x86-64 processor has RDTSC, and ring 0 may always execute it.
    unsafe { _rdtsc() }
}

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

/// The TSC as a [`Clock`] that starts at zero.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main);
/// use dormir::{arch::x86_64::tsc::TscClock, platform::bare, time::Clock};
///
/// let machine = bare::machine().expect("the machine is set up");
/// let clock = TscClock::start(machine.tsc_hz);
/// let (earlier, later) = (clock.now(), clock.now());
/// assert!(earlier <= later);
/// ```
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
    ///
    /// # Examples
    ///
    /// ```
    /// # dormir_guest::entry!(main);
    /// use dormir::{arch::x86_64::{tsc, tsc::TscClock}, time::Instant};
    ///
    /// let before = tsc::read();
    /// // 3 GHz.
    /// let clock = TscClock::start(3_000_000_000);
    /// // What was before its start is at its start.
    /// assert_eq!(clock.at(before), Instant::START);
    /// ```
    #[must_use]
    pub fn start(hz: u64) -> Self {
        Self {
            start: read(),
            to_nanos: Scale::new(hz, NANOS_HZ),
        }
    }

    /// The time at which the TSC had this value.
    ///
    /// # Examples
    ///
    /// ```
    /// # dormir_guest::entry!(main);
    /// use core::time::Duration;
    /// use dormir::{
    ///     arch::x86_64::{tsc, tsc::TscClock},
    ///     block_on, idle::Halt, platform::bare, time::Timer,
    /// };
    ///
    /// let machine = bare::machine().expect("the machine is set up");
    /// let clock = TscClock::start(machine.tsc_hz);
    /// block_on(async { Timer::after(Duration::from_millis(1)).await }, Halt);
    /// let latency = clock.at(tsc::read()).saturating_since(clock.at(bare::last_timer_interrupt()));
    /// dormir_guest::println!("awake {latency:?} after the interrupt");
    /// ```
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
