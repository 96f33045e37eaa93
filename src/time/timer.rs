//! Timers: futures that end at a deadline.

use core::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use super::{
    Instant, TimerQueue,
    node::{NodeState, TimerNode},
};

/// A future that ends at its deadline, never before it. Timers that are due together wake their
/// tasks in the order of their deadlines; those with the same deadline in the order of their first
/// polls.
///
/// If the deadline has passed at the first poll, the timer ends with that poll, and no other task
/// runs in between: a loop around such timers should also await
/// [`yield_now`](crate::executor::yield_now).
///
/// # Cancel safety
///
/// Dropping a timer takes it out of the queue, and its waker is not woken afterwards. The alarm
/// that was set for it may still interrupt once, without effect.
///
/// # Contexts
///
/// Timers may be made, polled, reset and dropped in any context but NMI and machine-check handlers:
/// they use critical sections, which do not hold those off. For other vCPUs than the one that
/// serves the queue, see [`TimerQueue`].
///
/// # Examples
///
/// ```
/// use core::time::Duration;
/// use dormir::{block_on, platform::host::{self, Skip}, time::Timer};
///
/// host::init(); // A virtual clock, for the host. A guest waits by `idle::Halt`.
/// block_on(async { Timer::after(Duration::from_millis(5)).await }, Skip);
/// ```
///
/// The queue refers to a timer by its address, so the timer must be pinned before it is polled.
/// `await` does so, and so does a `select` that owns its futures, as that of the crate
/// `embassy-futures`:
///
/// ```
/// # dormir::platform::host::init();
/// use core::time::Duration;
/// use dormir::{block_on, platform::host::Skip, time::Timer};
/// use embassy_futures::select::{Either, select};
///
/// block_on(async {
///     match select(async { 42 }, Timer::after(Duration::from_secs(1))).await {
///         Either::First(answer) => assert_eq!(answer, 42),
///         Either::Second(()) => panic!("it took more than a second"),
///     }
/// }, Skip);
/// ```
///
/// For one that returns the other future, as that of `futures-util` does, the caller pins it:
///
/// ```
/// # dormir::platform::host::init();
/// use core::{pin::pin, time::Duration};
/// use dormir::{block_on, platform::host::Skip, time::Timer};
/// use futures_util::future::{Either, select};
///
/// block_on(async {
///     let job = pin!(async { 42 });
///     let timer = pin!(Timer::after(Duration::from_secs(1)));
///     match select(job, timer).await {
///         Either::Left((answer, _timer)) => assert_eq!(answer, 42),
///         Either::Right(((), _job)) => panic!("it took more than a second"),
///     }
/// }, Skip);
/// ```
#[must_use = "a timer does nothing until it is awaited"]
// The node comes first, so it has the timer's address: that saves instructions where both are
// needed.
#[repr(C)]
pub struct Timer {
    node: TimerNode,
    queue: &'static TimerQueue,
}

// SAFETY: the `Cell`s in the node are written by the timer's owner while the node is not linked,
// and in critical sections while it is; the queue is `Sync` and a waker is `Send`. So the timer may
// move (unpinned) or be polled and dropped (pinned) in another context than the one that made it.
unsafe impl Send for Timer {}

impl Timer {
    /// A timer on the global queue that ends `duration` after this call (not after its first poll).
    /// If that is beyond the range of [`Instant`], it never ends: the sum saturates at
    /// [`Instant::NEVER`].
    ///
    /// # Panics
    ///
    /// If no clock is installed.
    pub fn after(duration: Duration) -> Self {
        Self::at(Instant::now().saturating_add(duration))
    }

    /// A timer on the global queue that ends at `deadline`: at once if that has passed.
    pub fn at(deadline: Instant) -> Self {
        TimerQueue::global().timer(deadline)
    }

    /// A timer that does not end unless it is [reset](Self::reset), on the global queue. It is not
    /// put into the queue, and does not affect the alarm.
    pub fn never() -> Self {
        Self::at(Instant::NEVER)
    }

    /// The instant at which it ends; [`Instant::NEVER`] if it does not.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.node.deadline()
    }

    /// Sets a new deadline, whether the timer has ended or not. The new deadline takes effect at
    /// the next poll.
    ///
    /// # Examples
    ///
    /// ```
    /// use core::{pin::pin, time::Duration};
    /// use dormir::{block_on, time::{Instant, Timer}};
    /// use dormir::platform::host::{self, Skip};
    ///
    /// host::init(); // A virtual clock, for the host. A guest waits by `idle::Halt`.
    /// let second = Duration::from_secs(1);
    /// block_on(async {
    ///     let mut timer = pin!(Timer::after(second));
    ///     for _ in 0..3 {
    ///         timer.as_mut().await;
    ///         let next = timer.deadline().saturating_add(second);
    ///         timer.as_mut().reset(next);
    ///     }
    /// }, Skip);
    /// # assert_eq!(Instant::now(), Instant::from_nanos(3_000_000_000));
    /// ```
    pub fn reset(self: Pin<&mut Self>, deadline: Instant) {
        // SAFETY: if the node waits, `poll` linked it, to the timer's own queue.
        unsafe { self.queue.unlink(&self.node) };
        self.node.rewind(deadline);
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timer")
            .field("deadline", &self.deadline())
            .field("state", &self.node.state())
            .finish_non_exhaustive()
    }
}

impl TimerQueue {
    /// A timer on this queue that ends at `deadline`.
    #[inline(always)]
    pub const fn timer(&'static self, deadline: Instant) -> Timer {
        Timer {
            node: TimerNode::new(deadline),
            queue: self,
        }
    }
}

impl Future for Timer {
    type Output = ();

    /// # Panics
    ///
    /// If the queue has no clock.
    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match self.node.state() {
            NodeState::Idle if self.deadline() == Instant::NEVER => Poll::Pending,
            // The queue would find it too, but a future that is polled once and dropped, as in a
            // `select`, would never see its deadline.
            NodeState::Idle if self.deadline() <= self.queue.now() => {
                self.node.mark_fired();
                Poll::Ready(())
            }
            NodeState::Idle => {
                // SAFETY: the node is idle; the timer is pinned, so it stays in place until `drop`,
                // which unlinks it.
                unsafe { self.queue.link(&self.node, cx.waker()) };
                Poll::Pending
            }
            NodeState::Waiting => self.poll_again(cx.waker()),
            NodeState::Fired => Poll::Ready(()),
        }
    }
}

impl Timer {
    /// Polls a timer that is in the queue: another task may wait for it now.
    // Cold, so that the other states are tested first.
    #[cold]
    #[inline(never)]
    fn poll_again(&self, waker: &Waker) -> Poll<()> {
        if !critical_section::with(|cs| self.node.will_wake(waker, cs)) {
            // Foreign code, which clones and drops wakers, runs outside the sections.
            let waker = waker.clone();
            drop(critical_section::with(|cs| {
                self.node.exchange_waker(waker, cs)
            }));
        }
        if self.node.state() == NodeState::Fired {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

impl Drop for Timer {
    #[inline]
    fn drop(&mut self) {
        if self.node.is_waiting() {
            // SAFETY: if the node waits, `poll` linked it, to the timer's own queue.
            unsafe { self.queue.unlink(&self.node) };
        }
    }
}
