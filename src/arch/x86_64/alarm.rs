//! The alarms: which timer interrupts, and how it is told when.

use super::{apic, apic::Apic, pit, tsc, tsc::TscClock};
use crate::time::{Alarm, Clock, Instant, Scale};

/// How long until `at`, in ticks of a counter that counts at least once; `None` if it has passed.
fn ticks_until(at: Instant, now: Instant, scale: Scale) -> Option<u64> {
    let nanos = at.as_nanos().checked_sub(now.as_nanos())?;
    Some(scale.up(nanos).max(1))
}

/// Channel 0 of the PIT, through the PIC. A deadline more than 54.9 ms ahead is reached in steps.
#[derive(Debug)]
pub struct PitAlarm {
    clock: TscClock,
    scale: Scale,
}

impl PitAlarm {
    /// The PIT's channel 0 must be in one-shot mode ([`pit::init`]).
    #[must_use]
    pub fn new(clock: TscClock) -> Self {
        Self {
            clock,
            scale: Scale::new(1_000_000_000, pit::HZ),
        }
    }
}

impl Alarm for PitAlarm {
    fn set(&self, at: Instant) {
        if let Some(ticks) = ticks_until(at, self.clock.now(), self.scale) {
            pit::set(u16::try_from(ticks).unwrap_or(pit::LONGEST));
        }
    }

    fn off(&self) {
        pit::off();
    }
}

/// The local APIC's timer in one-shot mode. A deadline beyond its 32-bit count is reached in steps.
#[derive(Debug)]
pub struct OneShotAlarm {
    apic: Apic,
    clock: TscClock,
    scale: Scale,
}

impl OneShotAlarm {
    /// Puts the timer, which counts `hz` times a second, into one-shot mode.
    ///
    /// # Panics
    ///
    /// If `hz` is zero.
    #[must_use]
    pub fn new(apic: Apic, clock: TscClock, hz: u64) -> Self {
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
        if let Some(ticks) = ticks_until(at, self.clock.now(), self.scale) {
            self.apic
                .start_count(u32::try_from(ticks).unwrap_or(u32::MAX));
        }
    }

    fn off(&self) {
        self.apic.start_count(0);
    }
}

/// The local APIC's timer in TSC-deadline mode: one MSR write, 64 bits wide.
#[derive(Debug)]
pub struct TscDeadlineAlarm {
    clock: TscClock,
    scale: Scale,
}

impl TscDeadlineAlarm {
    /// Puts the timer into TSC-deadline mode, for a TSC of frequency `tsc_hz`.
    ///
    /// # Safety
    ///
    /// The processor has a TSC-deadline timer.
    ///
    /// # Panics
    ///
    /// If `tsc_hz` is zero.
    #[must_use]
    pub unsafe fn new(apic: Apic, clock: TscClock, tsc_hz: u64) -> Self {
        apic.tsc_deadline_mode();
        Self {
            clock,
            scale: Scale::new(1_000_000_000, tsc_hz),
        }
    }
}

impl Alarm for TscDeadlineAlarm {
    fn set(&self, at: Instant) {
        let now = tsc::read();
        if let Some(ticks) = ticks_until(at, self.clock.at(now), self.scale) {
            // One tick more, since the clock rounds down: an interrupt that came before the clock
            // shows `at` would have to be asked for again.
            let deadline = now.saturating_add(ticks).saturating_add(1);
            // SAFETY: `new`'s caller said that the MSR exists.
            unsafe { apic::set_tsc_deadline(deadline) };
        }
    }

    fn off(&self) {
        // SAFETY: as in `set`.
        unsafe { apic::set_tsc_deadline(0) };
    }
}
