//! A queue node in a static, for the deadlines of one waker.

use core::task::Waker;

use crate::time::{Instant, TimerQueue, node::TimerNode};

/// A node with the earliest deadline of its waker. Each task slot of an executor has one, and each
/// entry of the [table](super::table).
///
/// It may be used in any context in which the queue may be used: each operation is one critical
/// section.
pub(crate) struct DeadlineSlot(TimerNode);

// SAFETY: the node's `Cell`s are used in critical sections only, here and by the queue.
unsafe impl Sync for DeadlineSlot {}
// SAFETY: the same. (And only a slot that was never used can be moved.)
unsafe impl Send for DeadlineSlot {}

impl DeadlineSlot {
    /// All zero.
    pub(crate) const fn new() -> Self {
        Self(TimerNode::new(Instant::START))
    }

    /// Makes the queue wake `waker` at `deadline`, unless the slot has an earlier deadline. The
    /// wake frees the slot.
    ///
    /// # Safety
    ///
    /// All calls for one slot, of this method and of [`clear`](Self::clear), are with the same
    /// queue. Cloning and dropping the waker runs no foreign code: it happens in a critical
    /// section.
    pub(crate) unsafe fn schedule(
        &'static self,
        queue: &TimerQueue,
        deadline: Instant,
        waker: &Waker,
    ) {
        critical_section::with(|_| {
            if self.0.is_waiting() {
                if self.0.deadline() <= deadline {
                    return;
                }
                // SAFETY: the caller promises that it is this queue.
                unsafe { queue.unlink(&self.0) };
            }
            self.0.rewind(deadline);
            // SAFETY: the node lies in a static, and is never linked to another queue.
            unsafe { queue.link(&self.0, waker) };
        });
    }

    /// Removes the deadline.
    ///
    /// # Safety
    ///
    /// As [`schedule`](Self::schedule).
    pub(crate) unsafe fn clear(&self, queue: &TimerQueue) {
        // No critical section for slots without a deadline.
        if self.0.is_waiting() {
            // SAFETY: the caller promises that it is this queue.
            critical_section::with(|_| unsafe { queue.unlink(&self.0) });
        }
    }
}
