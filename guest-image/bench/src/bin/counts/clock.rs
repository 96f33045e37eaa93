//! The clock and the alarm of the cases with timers: the same, and as cheap as they can be, for every
//! runtime.

use core::{
    arch::x86_64::_rdtsc,
    sync::atomic::{AtomicU64, Ordering},
};

/// How far the clock is ahead of the TSC.
static AHEAD: AtomicU64 = AtomicU64::new(0);

/// What the alarm is set to.
static ALARM: AtomicU64 = AtomicU64::new(u64::MAX);

/// The time in nanoseconds: the TSC, which counts each instruction as one, moved ahead.
#[inline]
pub(crate) fn now() -> u64 {
    // SAFETY: every x86-64 processor has RDTSC.
    let tsc = unsafe { _rdtsc() };
    tsc + AHEAD.load(Ordering::Relaxed)
}

/// Lets the time pass until `instant`, which is still to come.
pub(crate) fn advance_to(instant: u64) {
    let left = instant.checked_sub(now()).expect("it is still to come");
    AHEAD.fetch_add(left, Ordering::Relaxed);
}

/// Sets the alarm, whose interrupt the cases make by hand.
#[inline]
pub(crate) fn set_alarm(at: u64) {
    ALARM.store(at, Ordering::Relaxed);
}

/// What the alarm is set to.
pub(crate) fn alarm() -> u64 {
    ALARM.load(Ordering::Relaxed)
}
