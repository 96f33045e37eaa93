//! The clock and the alarm of the timer cases: the same for every runtime, and as cheap as
//! possible.

use core::{
    arch::x86_64::_rdtsc,
    sync::atomic::{AtomicU64, Ordering},
};

/// How far the clock is ahead of the TSC.
static AHEAD: AtomicU64 = AtomicU64::new(0);

/// What the alarm is set to.
static ALARM: AtomicU64 = AtomicU64::new(u64::MAX);

/// Returns the time in nanoseconds: the TSC, which advances by one per instruction, plus [`AHEAD`].
#[inline]
pub(crate) fn now() -> u64 {
    // SAFETY: every x86-64 processor has RDTSC.
    let tsc = unsafe { _rdtsc() };
    tsc + AHEAD.load(Ordering::Relaxed)
}

/// Moves the clock ahead to `instant`, which must be in the future.
pub(crate) fn advance_to(instant: u64) {
    let left = instant.checked_sub(now()).expect("it is in the future");
    AHEAD.fetch_add(left, Ordering::Relaxed);
}

/// Sets the alarm. The cases call its handler themselves.
#[inline]
pub(crate) fn set_alarm(at: u64) {
    ALARM.store(at, Ordering::Relaxed);
}

/// Returns what the alarm is set to.
pub(crate) fn alarm() -> u64 {
    ALARM.load(Ordering::Relaxed)
}
