//! The stamps on the way of a wake: values of the TSC, the last of each kind.

use core::sync::atomic::{AtomicU64, Ordering};

use dormir::arch::x86_64::tsc;

/// At the first instructions of the timer's interrupt. 0: there was none.
pub(crate) static HANDLER: AtomicU64 = AtomicU64::new(0);

/// Where a task has been made ready. 0: none was.
static WAKE: AtomicU64 = AtomicU64::new(0);

/// Forgets the stamps.
pub(crate) fn clear() {
    HANDLER.store(0, Ordering::Relaxed);
    WAKE.store(0, Ordering::Relaxed);
}

/// A runtime calls this when it has made a task ready: dormir as the hook of its executor, embassy as its
/// pender.
#[inline]
pub(crate) fn wake() {
    WAKE.store(tsc::read(), Ordering::Relaxed);
}

/// The stamp of the interrupt, if there was one.
pub(crate) fn handler() -> Option<u64> {
    Some(HANDLER.load(Ordering::Relaxed)).filter(|&stamp| stamp != 0)
}

/// The stamp of the wake, if there was one.
pub(crate) fn woken() -> Option<u64> {
    Some(WAKE.load(Ordering::Relaxed)).filter(|&stamp| stamp != 0)
}
