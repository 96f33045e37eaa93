//! The timer future.

use core::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use super::{Instant, TimerQueue, queue::Node};

/// A future that ends at its deadline: never before it, and with the poll that the timer's interrupt
/// brings about.
///
/// # Cancel safety
///
/// Dropping a timer takes it out of the queue; its waker is not woken afterwards. The alarm that was
/// set for it may still interrupt, once, to no effect.
///
/// # Contexts
///
/// Timers may be made, polled, reset and dropped in any context but an NMI or machine-check handler:
/// they use critical sections, which do not hold those off.
///
/// ```
/// # dormir::platform::host::init();
/// # use core::time::Duration;
/// # use dormir::{block_on, platform::host::Skip, time::Timer};
/// block_on(async { Timer::after(Duration::from_millis(5)).await }, Skip);
/// ```
#[must_use = "a timer does nothing until it is awaited"]
pub struct Timer {
    queue: &'static TimerQueue,
    node: Node,
}

// SAFETY: the `Cell`s in the node are written by the timer's owner while the node is not linked, and
// in critical sections while it is; the queue is `Sync` and a waker is `Send`. So the timer may move
// (unpinned) or be polled and dropped (pinned) in another context than the one that made it.
unsafe impl Send for Timer {}

impl Timer {
    /// A timer that ends `duration` after this call, on the global queue. A span beyond the range of
    /// [`Instant`] never ends.
    ///
    /// # Panics
    ///
    /// If no clock is installed.
    pub fn after(duration: Duration) -> Self {
        Self::at(Instant::now().saturating_add(duration))
    }

    /// A timer that ends at `deadline`, on the global queue: at once where that has passed.
    pub fn at(deadline: Instant) -> Self {
        TimerQueue::global().timer(deadline)
    }

    /// When it ends.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.node.deadline()
    }

    /// Gives the timer a new deadline, whether it has ended or not. If it is being awaited, it must
    /// be polled again for the new deadline to count.
    pub fn reset(self: Pin<&mut Self>, deadline: Instant) {
        // SAFETY: a linked node was linked by `poll`, to the timer's own queue.
        unsafe { self.queue.unlink(&self.node) };
        self.node.rewind(deadline);
    }
}

impl TimerQueue {
    /// A timer on this queue that ends at `deadline`.
    pub const fn timer(&'static self, deadline: Instant) -> Timer {
        Timer {
            queue: self,
            node: Node::new(deadline),
        }
    }
}

impl Future for Timer {
    type Output = ();

    /// # Panics
    ///
    /// If the queue has no clock.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = self.node.deadline();
        if self.node.is_idle() {
            if deadline == Instant::NEVER {
                return Poll::Pending;
            }
            if self.queue.now() >= deadline {
                self.node.mark_fired();
                return Poll::Ready(());
            }
        }
        // SAFETY: the timer is pinned, so the node stays in place until `drop`, which unlinks it; it
        // is linked to no other queue, since `queue` never changes.
        if unsafe { self.queue.link(&self.node, cx.waker()) } {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // SAFETY: a linked node was linked by `poll`, to the timer's own queue.
        unsafe { self.queue.unlink(&self.node) };
    }
}
