//! A loop's pause while embassy's driver has too few entries, so that early wakes leave the processor some rest.
//! Without the driver nothing is left of this.
#![cfg_attr(
    not(feature = "embassy-time"),
    allow(unused_variables, reason = "only the driver looks at the queue")
)]

use super::TimerQueue;
#[cfg(feature = "embassy-time")]
use super::embassy;

/// To be called after each pass, before the queue is turned. Without the driver `queue` is not called: an
/// atomic load that nothing uses would still be made.
#[inline(always)]
pub(crate) fn begin_if_needed<'a>(queue: impl FnOnce() -> &'a TimerQueue) {
    #[cfg(feature = "embassy-time")]
    embassy::between_passes(queue());
}

/// Whether there is to be no pass until the queue's next deadline, although something is ready.
#[inline(always)]
pub(crate) fn is_on(queue: &TimerQueue) -> bool {
    #[cfg(feature = "embassy-time")]
    return embassy::rests(queue);
    #[cfg(not(feature = "embassy-time"))]
    false
}

/// It was interrupted, or the loop ends.
#[inline(always)]
pub(crate) fn end(queue: &TimerQueue) {
    #[cfg(feature = "embassy-time")]
    embassy::end_rest(queue);
}
