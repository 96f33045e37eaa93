//! A pause of the run loop while embassy's driver has too few entries, so that early wakes do not
//! keep the vCPU busy. Without the driver it compiles to nothing.
#![cfg_attr(
    not(feature = "embassy-time"),
    allow(unused_variables, reason = "only the driver uses the queue")
)]

use super::TimerQueue;
#[cfg(feature = "embassy-time")]
use super::embassy;

/// To be called after each pass, before the queue is turned. Without the driver `queue` is not
/// called: an atomic load that nothing uses would still be made.
#[inline(always)]
pub(crate) fn begin_if_needed<'a>(queue: impl FnOnce() -> &'a TimerQueue) {
    #[cfg(feature = "embassy-time")]
    embassy::between_passes(queue());
}

/// Whether the loop must not begin a pass until the queue's next deadline, although something is
/// ready.
#[inline(always)]
pub(crate) fn is_on(queue: &TimerQueue) -> bool {
    #[cfg(feature = "embassy-time")]
    return embassy::pauses(queue);
    #[cfg(not(feature = "embassy-time"))]
    false
}

/// Ends the pause: an interrupt came, or the loop ends.
#[inline(always)]
pub(crate) fn end(queue: &TimerQueue) {
    #[cfg(feature = "embassy-time")]
    embassy::end_pause(queue);
}
