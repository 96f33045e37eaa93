//! The timer that storms: the one that is not dormir's alarm.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use dormir::{
    arch::x86_64::{apic::Apic, pic, pit, tsc, vector},
    platform::bare::{self, TimerSource},
};
use spin::Once;

/// The local APIC, if its timer storms.
static APIC: Once<Apic> = Once::new();
static HZ: AtomicU32 = AtomicU32::new(0);
static TICKS: AtomicU32 = AtomicU32::new(0);
static IS_PIT: AtomicBool = AtomicBool::new(false);

/// Chooses and sets up the timer.
pub(crate) fn choose() -> Result<(), &'static str> {
    let machine = bare::machine().ok_or("the machine is not set up")?;
    let hz = if machine.timer == TimerSource::Pit {
        let apic = machine.apic.ok_or("there is no local APIC")?;
        let hz = apic.measure_hz(tsc::read, machine.tsc_hz);
        apic.one_shot_mode();
        APIC.call_once(|| apic);
        hz.ok_or("the local APIC's timer does not count")?
    } else {
        if !pit::is_present() {
            return Err("there is no PIT");
        }
        IS_PIT.store(true, Ordering::Relaxed);
        pic::unmask(0);
        pit::HZ
    };
    HZ.store(u32::try_from(hz).unwrap_or(u32::MAX), Ordering::Relaxed);
    Ok(())
}

/// The vector that it interrupts on.
pub(crate) fn vector() -> u8 {
    if IS_PIT.load(Ordering::Relaxed) {
        vector::PIT
    } else {
        vector::APIC_TIMER
    }
}

/// From [`arm`] to the interrupt.
pub(crate) fn set_period(nanos: u64) {
    let ticks = nanos * u64::from(HZ.load(Ordering::Relaxed)) / 1_000_000_000;
    let ticks = u32::try_from(ticks).unwrap_or(u32::MAX).max(1);
    TICKS.store(ticks, Ordering::Relaxed);
}

/// Makes it interrupt once.
pub(crate) fn arm() {
    let ticks = TICKS.load(Ordering::Relaxed);
    match APIC.get() {
        Some(apic) => apic.start_count(ticks),
        None => pit::set(u16::try_from(ticks).unwrap_or(u16::MAX)),
    }
}

/// Ends its interrupt.
pub(crate) fn end_of_interrupt() {
    match APIC.get() {
        Some(apic) => apic.end_of_interrupt(),
        None => pic::end_of_interrupt(0),
    }
}
