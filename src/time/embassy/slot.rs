//! An entry of the queue that lies in a static and belongs to one waker.

use core::task::Waker;

use crate::time::{Instant, TimerQueue, node::TimerNode};

/// A node with the earliest deadline at which its waker is to be woken. Tasks have one each, beside their
/// places, and so have the entries of the [table](super::table).
///
/// It may be used from any context that the queue may be used from: each operation is one critical section.
pub(crate) struct DeadlineSlot(TimerNode);

// SAFETY: what the node holds in `Cell`s is used in critical sections only, here and by the queue.
unsafe impl Sync for DeadlineSlot {}
// SAFETY: the same. (Only a slot that was never used can be moved at all.)
unsafe impl Send for DeadlineSlot {}

impl DeadlineSlot {
    /// All zero.
    pub(crate) const fn new() -> Self {
        Self(TimerNode::new(Instant::START))
    }

    /// Has `waker` be woken at `deadline`, unless it is to be woken earlier. The queue forgets the deadline
    /// when it wakes it.
    ///
    /// # Safety
    ///
    /// All calls for one slot, here and of [`clear`](Self::clear), are with the same queue. To clone and to
    /// drop the waker runs no foreign code: it is done in a critical section.
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
                // SAFETY: the caller says that it is this queue.
                unsafe { queue.unlink(&self.0) };
            }
            self.0.rewind(deadline);
            // SAFETY: the node lies in a static, and is never linked to another queue.
            unsafe { queue.link(&self.0, waker) };
        });
    }

    /// Forgets the deadline.
    ///
    /// # Safety
    ///
    /// As [`schedule`](Self::schedule).
    pub(crate) unsafe fn clear(&self, queue: &TimerQueue) {
        // Without a critical section for those that never had a deadline.
        if self.0.is_waiting() {
            // SAFETY: the caller says that it is this queue.
            critical_section::with(|_| unsafe { queue.unlink(&self.0) });
        }
    }
}
