//! A count of causes from outside that let tasks go on: timers that fire, events that are
//! signalled. Metrics use it to tell passes with such a cause from passes that tasks cause among
//! themselves.

#[cfg(feature = "metrics")]
use core::sync::atomic::{AtomicU64, Ordering};

#[cfg(feature = "metrics")]
static CAUSES: AtomicU64 = AtomicU64::new(0);

/// Counts a cause: a timer has fired, or an event was signalled.
#[inline(always)]
pub(crate) fn note() {
    #[cfg(feature = "metrics")]
    CAUSES.fetch_add(1, Ordering::Relaxed);
}

/// The number of causes so far.
#[cfg(feature = "metrics")]
pub(crate) fn causes() -> u64 {
    CAUSES.load(Ordering::Relaxed)
}
