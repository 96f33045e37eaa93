//! A second alarm, besides the one that dormir uses itself.

use alloc::boxed::Box;

use dormir::{
    arch::x86_64::{
        alarm::{OneShotAlarm, PitAlarm, TscDeadlineAlarm},
        tsc::TscClock,
    },
    platform::bare::{Machine, TimerSource},
    time::Alarm,
};

/// Makes an alarm of the same type as that of `bare::init`, which keeps its own private, from what
/// `bare::init` has found.
///
/// # Errors
///
/// The machine lacks the timer's local APIC.
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
