//! What comes from outside and lets tasks go on: timers that fire, events that are signalled. For metrics, which
//! tell passes that follow from it from passes that tasks cause among themselves.

#[cfg(feature = "metrics")]
use core::sync::atomic::{AtomicU64, Ordering};

#[cfg(feature = "metrics")]
static CAUSES: AtomicU64 = AtomicU64::new(0);

/// A timer has fired, or an event was signalled.
#[inline(always)]
pub(crate) fn note() {
    #[cfg(feature = "metrics")]
    CAUSES.fetch_add(1, Ordering::Relaxed);
}

/// How often that was.
#[cfg(feature = "metrics")]
pub(crate) fn causes() -> u64 {
    CAUSES.load(Ordering::Relaxed)
}
