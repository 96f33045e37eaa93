//! An alarm beside dormir's own.

use alloc::boxed::Box;

use dormir::{
    arch::x86_64::{
        alarm::{OneShotAlarm, PitAlarm, TscDeadlineAlarm},
        tsc::TscClock,
    },
    platform::bare::{Machine, TimerSource},
    time::Alarm,
};

/// An alarm of the type of `bare::init`'s, which that keeps to itself, made in the same way by what it has found
/// out.
///
/// # Errors
///
/// What the machine lacks.
pub fn another(
    found: &Machine,
    clock: &'static TscClock,
) -> Result<&'static dyn Alarm, &'static str> {
    Ok(match (found.timer, found.apic) {
        (TimerSource::Pit, _) => Box::leak(Box::new(PitAlarm::new(clock))),
        (TimerSource::TscDeadline, Some(apic)) => {
            // SAFETY: `bare::init` has seen the processor's TSC-deadline bit.
            let alarm = unsafe { TscDeadlineAlarm::new(apic, clock) };
            Box::leak(Box::new(alarm))
        }
        (_, Some(apic)) => Box::leak(Box::new(OneShotAlarm::new(apic, clock, found.timer_hz))),
        (_, None) => return Err("the timer's local APIC is missing"),
    })
}
