//! [`init`]: chooses timer and clock, and installs them.

use core::ops::RangeInclusive;

use super::{
    Config, FrequencySource, InitError, TimerSource,
    machine::{CLOCK, ChosenAlarm, MACHINE, Machine},
    tick,
};
use crate::{
    arch::x86_64::{
        alarm::{OneShotAlarm, PitAlarm, TscDeadlineAlarm},
        apic::{self, Apic},
        cpuid, idt, pic, pit, tsc,
        tsc::TscClock,
        vector,
    },
    time::{Alarm, TimerQueue},
};

/// The frequencies of a TSC for which [`Scale`](crate::time::Scale) is exact.
const TSC_HZ: RangeInclusive<u64> = 1_000_000..=100_000_000_000;

/// Sets up interrupt controllers, clock and alarm, and installs the latter two in the
/// [global queue](TimerQueue::global). Interrupts stay masked.
///
/// # Errors
///
/// See [`InitError`].
///
/// # Safety
///
/// Ring 0, one vCPU, interrupts masked, [`install_tables`](super::install_tables) was called,
/// memory is mapped one to one, the local APIC's page uncached, and nothing else drives PIC, PIT
/// and local APIC.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main, owns_machine);
/// use core::time::Duration;
/// use dormir::{block_on, idle::Halt, platform::bare::{self, Config}, time::Timer};
///
/// // SAFETY: ring 0, one vCPU, interrupts masked; `install_tables` was called; memory is mapped
/// // one to one, the local APIC's page uncached.
/// let machine = unsafe { bare::init(Config::new()) }?;
/// dormir_guest::println!("timer: {}", machine.timer);
/// x86_64::instructions::interrupts::enable();
/// block_on(async { Timer::after(Duration::from_millis(1)).await }, Halt);
/// # Ok::<(), bare::InitError>(())
/// ```
pub unsafe fn init(config: Config) -> Result<&'static Machine, InitError> {
    let queue = TimerQueue::global();
    if queue.has_clock() {
        return Err(InitError::AlreadyInitialized);
    }
    pic::init();
    let timer = choose(config.timer)?;
    let (tsc_hz, tsc_source) = match config.tsc_hz {
        Some(hz) if !TSC_HZ.contains(&hz) => {
            return Err(InitError::ImplausibleTscFrequency { hz });
        }
        Some(hz) => (hz, FrequencySource::Given),
        // SAFETY: the caller guarantees what `find_frequency` requires.
        None => unsafe { tsc::find_frequency() }.ok_or(InitError::NoTscFrequency)?,
    };
    // SAFETY: `choose` has checked that `timer` is present; the caller mapped the page.
    let apic = unsafe { enable_apic(timer) };
    // The last step that can fail: the statics below are set permanently.
    let timer_hz = match (timer, apic) {
        (TimerSource::Xapic | TimerSource::X2apic, Some(apic)) => apic_hz(apic, tsc_hz)?,
        (TimerSource::TscDeadline, Some(_)) => tsc_hz,
        _ => pit::HZ,
    };
    let by_pvclock = match tsc_source {
        // SAFETY: the caller guarantees what `start_pvclock` requires.
        FrequencySource::Pvclock => unsafe { TscClock::start_pvclock() },
        _ => None,
    };
    let clock = by_pvclock.unwrap_or_else(|| TscClock::start(tsc_hz));
    let clock = CLOCK.call_once(|| clock.for_queue(queue));
    let alarm = match (timer, apic) {
        (TimerSource::Xapic | TimerSource::X2apic, Some(apic)) => {
            ChosenAlarm::OneShot(OneShotAlarm::new(apic, clock, timer_hz))
        }
        (TimerSource::TscDeadline, Some(apic)) => {
            // SAFETY: `choose` has checked that the processor has a TSC-deadline timer.
            ChosenAlarm::TscDeadline(unsafe { TscDeadlineAlarm::new(apic, clock) })
        }
        _ => {
            pit::init();
            pic::unmask(0);
            ChosenAlarm::Pit(PitAlarm::new(clock))
        }
    };
    // SAFETY: the entry restores what it changes, and acknowledges what comes on its vector.
    unsafe { idt::set_handler(vector::PIT, tick::PIT_ENTRY) };
    if let Some(apic) = apic {
        // SAFETY: the same.
        unsafe { idt::set_handler(vector::APIC_TIMER, tick::apic_entry(apic)) };
    }
    let machine = Machine {
        timer,
        clock: clock.source(),
        tsc_hz,
        tsc_source,
        timer_hz,
        apic,
    };
    let (machine, alarm) = MACHINE.call_once(|| (machine, alarm));
    let alarm: &dyn Alarm = match alarm {
        ChosenAlarm::Pit(alarm) => alarm,
        ChosenAlarm::OneShot(alarm) => alarm,
        ChosenAlarm::TscDeadline(alarm) => alarm,
    };
    queue
        .install(clock, alarm)
        .map_err(|_| InitError::AlreadyInitialized)?;
    #[cfg(feature = "log")]
    log::info!(
        "timer: {timer}, {timer_hz} Hz; clock: {}; TSC: {tsc_hz} Hz, by {tsc_source}",
        machine.clock
    );
    Ok(machine)
}

/// The timer that the guest asks for, or else the best that is present.
fn choose(requested: Option<TimerSource>) -> Result<TimerSource, InitError> {
    if let Some(timer) = requested {
        return match timer.lack() {
            Some(lack) => Err(InitError::NoSuchTimer { timer, lack }),
            None => Ok(timer),
        };
    }
    TimerSource::BEST_FIRST
        .into_iter()
        .find(|timer| timer.lack().is_none())
        .ok_or(InitError::NoTimer)
}

/// Enables the local APIC, if there is one, in the mode that the timer needs. The PIT's interrupts
/// pass through it too.
///
/// # Safety
///
/// Ring 0, the APIC's page mapped uncached, and `timer` present.
unsafe fn enable_apic(timer: TimerSource) -> Option<Apic> {
    if !cpuid::has_apic() {
        return None;
    }
    // SAFETY: there is a local APIC.
    let is_x2apic = unsafe { apic::is_in_x2apic_mode() };
    let x2apic = match timer {
        TimerSource::X2apic => true,
        TimerSource::TscDeadline => cpuid::has_x2apic(),
        TimerSource::Xapic | TimerSource::Pit => is_x2apic,
    };
    Some(if x2apic {
        // SAFETY: the processor has an x2APIC: it is in that mode, or reports it.
        unsafe { Apic::enable_x2apic() }
    } else {
        // SAFETY: it is not in x2APIC mode, and the caller mapped the page.
        unsafe { Apic::enable_xapic() }
    })
}

fn apic_hz(apic: Apic, tsc_hz: u64) -> Result<u64, InitError> {
    let reported = match cpuid::hypervisor_timing().apic_hz {
        Some(hz) => Some(hz),
        // The timer of a hypervisor need not use the crystal that the processor's leaf describes.
        None if cpuid::has_hypervisor() => None,
        None => cpuid::crystal_timing().apic_hz,
    };
    reported
        .or_else(|| apic.measure_hz(tsc::read, tsc_hz))
        .ok_or(InitError::ApicTimerStopped)
}
