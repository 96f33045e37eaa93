//! Alarms: the timers that can interrupt at a deadline.

use x86_64::instructions::interrupts::without_interrupts;

use super::{
    apic::{Apic, timer},
    pit,
    tsc::TscClock,
};
use crate::time::{Alarm, Instant, Scale};

/// Channel 0 of the PIT, through the PIC. A deadline more than 54.9 ms away takes several
/// interrupts.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main, owns_machine);
/// use dormir::{
///     arch::x86_64::{alarm::PitAlarm, pic, pit, tsc, tsc::TscClock},
///     time::TimerQueue,
/// };
/// use spin::Once;
///
/// static CLOCK: Once<TscClock> = Once::new();
/// static ALARM: Once<PitAlarm> = Once::new();
///
/// // SAFETY: ring 0, one vCPU, interrupts masked, memory mapped one to one.
/// let (hz, _) = unsafe { tsc::find_frequency() }.expect("the TSC's frequency is known");
/// let clock = CLOCK.call_once(|| TscClock::start(hz).for_queue(TimerQueue::global()));
/// pic::init();
/// pit::init();
/// let alarm = ALARM.call_once(|| PitAlarm::new(clock));
/// TimerQueue::global().install(clock, alarm)?;
/// // Once there is a handler on `vector::PIT`:
/// pic::unmask(0);
/// # Ok::<(), dormir::time::AlreadyInstalled>(())
/// ```
#[derive(Debug)]
pub struct PitAlarm {
    clock: &'static TscClock,
    scale: Scale,
}

impl PitAlarm {
    /// An alarm by channel 0 of the PIT, which must be in one-shot mode ([`pit::init`]).
    #[must_use]
    pub fn new(clock: &'static TscClock) -> Self {
        Self {
            clock,
            scale: Scale::new(1_000_000_000, pit::HZ),
        }
    }
}

impl Alarm for PitAlarm {
    fn set(&self, at: Instant) {
        // The count begins at the write. An interrupt before it would make the alarm late.
        without_interrupts(|| {
            if let Some(countdown) = self.clock.until(at) {
                let ticks = self.scale.up(countdown.nanos);
                pit::set(u16::try_from(ticks).unwrap_or(pit::LONGEST));
            }
        });
    }

    fn off(&self) {
        pit::off();
    }
}

/// The local APIC's timer in one-shot mode. A deadline beyond its 32-bit count takes several
/// interrupts.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main, owns_machine);
/// use dormir::{
///     arch::x86_64::{alarm::OneShotAlarm, apic::Apic, tsc, tsc::TscClock},
///     time::TimerQueue,
/// };
/// use spin::Once;
///
/// static CLOCK: Once<TscClock> = Once::new();
/// static ALARM: Once<OneShotAlarm> = Once::new();
///
/// // SAFETY: ring 0, one vCPU, interrupts masked, memory mapped one to one.
/// let (tsc_hz, _) = unsafe { tsc::find_frequency() }.expect("the TSC's frequency is known");
/// let clock = CLOCK.call_once(|| TscClock::start(tsc_hz).for_queue(TimerQueue::global()));
/// // SAFETY: there is a local APIC, not in x2APIC mode, and its page is mapped, uncached.
/// let apic = unsafe { Apic::enable_xapic() };
/// let hz = apic.measure_hz(tsc::read, tsc_hz).expect("the timer counts");
/// let alarm = ALARM.call_once(|| OneShotAlarm::new(apic, clock, hz));
/// TimerQueue::global().install(clock, alarm)?;
/// # Ok::<(), dormir::time::AlreadyInstalled>(())
/// ```
#[derive(Debug)]
pub struct OneShotAlarm {
    apic: Apic,
    clock: &'static TscClock,
    scale: Scale,
}

impl OneShotAlarm {
    /// Puts the timer into one-shot mode. It counts `hz` times a second.
    ///
    /// # Panics
    ///
    /// If `hz` is zero.
    #[must_use]
    pub fn new(apic: Apic, clock: &'static TscClock, hz: u64) -> Self {
        apic.one_shot_mode();
        Self {
            apic,
            clock,
            scale: Scale::new(1_000_000_000, hz),
        }
    }
}

impl Alarm for OneShotAlarm {
    fn set(&self, at: Instant) {
        // Masked for the same reason as the PIT.
        without_interrupts(|| {
            if let Some(countdown) = self.clock.until(at) {
                let ticks = self.scale.up(countdown.nanos);
                self.apic
                    .start_count(u32::try_from(ticks).unwrap_or(u32::MAX));
            }
        });
    }

    fn off(&self) {
        self.apic.start_count(0);
    }
}

/// The local APIC's timer in TSC-deadline mode: one MSR write, 64 bits wide.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main, owns_machine);
/// use core::arch::x86_64::__cpuid;
/// use dormir::{
///     arch::x86_64::{alarm::TscDeadlineAlarm, apic::Apic, tsc, tsc::TscClock},
///     time::TimerQueue,
/// };
/// use spin::Once;
///
/// static CLOCK: Once<TscClock> = Once::new();
/// static ALARM: Once<TscDeadlineAlarm> = Once::new();
///
/// // CPUID.01H:ECX.24.
/// if __cpuid(1).ecx & (1 << 24) == 0 {
///     return; // The processor has no TSC-deadline timer.
/// }
/// // SAFETY: ring 0, one vCPU, interrupts masked, memory mapped one to one.
/// let (hz, _) = unsafe { tsc::find_frequency() }.expect("the TSC's frequency is known");
/// let clock = CLOCK.call_once(|| TscClock::start(hz).for_queue(TimerQueue::global()));
/// // SAFETY: there is a local APIC, not in x2APIC mode, and its page is mapped, uncached.
/// let apic = unsafe { Apic::enable_xapic() };
/// // SAFETY: CPUID reports a TSC-deadline timer.
/// let alarm = ALARM.call_once(|| unsafe { TscDeadlineAlarm::new(apic, clock) });
/// TimerQueue::global().install(clock, alarm).expect("it has no clock yet");
/// ```
#[derive(Debug)]
pub struct TscDeadlineAlarm {
    clock: &'static TscClock,
}

impl TscDeadlineAlarm {
    /// Puts the timer into TSC-deadline mode.
    ///
    /// A deadline is a value of the TSC. See [`TscClock`] for what happens if the TSC is set back.
    ///
    /// # Safety
    ///
    /// The processor has a TSC-deadline timer.
    #[must_use]
    pub unsafe fn new(apic: Apic, clock: &'static TscClock) -> Self {
        apic.tsc_deadline_mode();
        Self { clock }
    }
}

impl Alarm for TscDeadlineAlarm {
    fn set(&self, at: Instant) {
        if let Some(countdown) = self.clock.until(at) {
            // SAFETY: `new`'s caller guarantees that the MSR exists.
            unsafe { timer::set_tsc_deadline(countdown.tsc) };
        }
    }

    fn off(&self) {
        // SAFETY: as in `set`.
        unsafe { timer::set_tsc_deadline(0) };
    }
}
