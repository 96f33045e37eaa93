//! The timer future.

use core::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use super::{
    Instant, TimerQueue,
    node::{NodeState, TimerNode},
};

/// A future that ends at its deadline: never before it, and with the poll that the timer's interrupt
/// brings about. Timers that are due together wake their tasks in the order of their deadlines; those with
/// the same deadline in the order in which they began to wait, which is when they were first polled.
///
/// One whose deadline has passed at its first poll ends with that poll, without a turn for others: a loop
/// around such timers awaits [`yield_now`](crate::executor::yield_now) too.
///
/// # Cancel safety
///
/// Dropping a timer takes it out of the queue; its waker is not woken afterwards. The alarm that was
/// set for it may still interrupt, once, to no effect.
///
/// # Contexts
///
/// Timers may be made, polled, reset and dropped in any context but an NMI or machine-check handler:
/// they use critical sections, which do not hold those off. On another vCPU than the one that serves the queue,
/// see [`TimerQueue`].
///
/// # Examples
///
/// ```
/// # dormir::platform::host::init();
/// # use core::time::Duration;
/// # use dormir::{block_on, platform::host::Skip, time::Timer};
/// block_on(async { Timer::after(Duration::from_millis(5)).await }, Skip);
/// ```
///
/// The queue knows a timer by its address, so it must be pinned before it is polled. `await` does that by
/// itself; a `select` (here that of the crate `futures-util`) asks for it:
///
/// ```
/// # dormir::platform::host::init();
/// # use dormir::platform::host::Skip;
/// use core::{pin::pin, time::Duration};
/// use dormir::{block_on, time::Timer};
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
// The node first: so it has the timer's address, which saves instructions wherever both are needed.
#[repr(C)]
pub struct Timer {
    node: TimerNode,
    queue: &'static TimerQueue,
}

// SAFETY: the `Cell`s in the node are written by the timer's owner while the node is not linked, and
// in critical sections while it is; the queue is `Sync` and a waker is `Send`. So the timer may move
// (unpinned) or be polled and dropped (pinned) in another context than the one that made it.
unsafe impl Send for Timer {}

impl Timer {
    /// A timer that ends `duration` after this call, on the global queue. A span beyond the range of
    /// [`Instant`] never ends: the sum saturates at [`Instant::NEVER`].
    ///
    /// # Panics
    ///
    /// If no clock is installed.
    ///
    /// # Examples
    ///
    /// ```
    /// use core::time::Duration;
    /// use dormir::{block_on, time::Timer};
    ///
    /// # dormir::platform::host::init();
    /// # let idle = dormir::platform::host::Skip;
    /// # // In a guest: `let idle = dormir::idle::Halt;`
    /// block_on(async {
    ///     let timeout = Timer::after(Duration::from_millis(5));
    ///     // It counts from its making, not from the await.
    ///     Timer::after(Duration::from_millis(3)).await;
    ///     timeout.await;
    /// }, idle);
    /// # assert_eq!(dormir::time::Instant::now(), dormir::time::Instant::from_nanos(5_000_000));
    /// ```
    pub fn after(duration: Duration) -> Self {
        Self::at(Instant::now().saturating_add(duration))
    }

    /// A timer that ends at `deadline`, on the global queue: at once where that has passed.
    ///
    /// # Examples
    ///
    /// ```
    /// use core::time::Duration;
    /// use dormir::{block_on, time::{Instant, Timer}};
    ///
    /// # dormir::platform::host::init();
    /// # let idle = dormir::platform::host::Skip;
    /// # // In a guest: `let idle = dormir::idle::Halt;`
    /// let deadline = Instant::now().saturating_add(Duration::from_millis(5));
    /// block_on(async { Timer::at(deadline).await }, idle);
    /// assert!(Instant::now() >= deadline);
    /// ```
    pub fn at(deadline: Instant) -> Self {
        TimerQueue::global().timer(deadline)
    }

    /// A timer that does not end, unless it is [reset](Self::reset), on the global queue. It is not put
    /// into the queue, and has no part in what the alarm is set to.
    ///
    /// # Examples
    ///
    /// ```
    /// use core::{pin::pin, time::Duration};
    /// use dormir::{block_on, time::{Instant, Timer}};
    ///
    /// # dormir::platform::host::init();
    /// # let idle = dormir::platform::host::Skip;
    /// # // In a guest: `let idle = dormir::idle::Halt;`
    /// // For a branch that is not always used: one that has no deadline yet.
    /// let mut timer = pin!(Timer::never());
    /// assert_eq!(timer.deadline(), Instant::NEVER);
    /// timer.as_mut().reset(Instant::now().saturating_add(Duration::from_secs(1)));
    /// block_on(timer, idle);
    /// ```
    pub fn never() -> Self {
        Self::at(Instant::NEVER)
    }

    /// When it ends; [`Instant::NEVER`] if it does not.
    ///
    /// # Examples
    ///
    /// ```
    /// use dormir::time::{Instant, Timer};
    ///
    /// let timer = Timer::at(Instant::from_nanos(7));
    /// assert_eq!(timer.deadline(), Instant::from_nanos(7));
    /// ```
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.node.deadline()
    }

    /// Gives the timer a new deadline, whether it has ended or not. If it is being awaited, it must
    /// be polled again for the new deadline to count.
    ///
    /// # Examples
    ///
    /// ```
    /// use core::{pin::pin, time::Duration};
    /// use dormir::{block_on, time::{Instant, Timer}};
    ///
    /// # dormir::platform::host::init();
    /// # let idle = dormir::platform::host::Skip;
    /// # // In a guest: `let idle = dormir::idle::Halt;`
    /// let second = Duration::from_secs(1);
    /// block_on(async {
    ///     let mut timer = pin!(Timer::after(second));
    ///     for _ in 0..3 {
    ///         timer.as_mut().await;
    ///         let next = timer.deadline().saturating_add(second);
    ///         timer.as_mut().reset(next);
    ///     }
    /// }, idle);
    /// # assert_eq!(Instant::now(), Instant::from_nanos(3_000_000_000));
    /// ```
    pub fn reset(self: Pin<&mut Self>, deadline: Instant) {
        // SAFETY: who waits was linked by `poll`, to the timer's own queue.
        unsafe { self.queue.unlink(&self.node) };
        self.node.rewind(deadline);
    }
}

impl TimerQueue {
    /// A timer on this queue that ends at `deadline`.
    ///
    /// # Examples
    ///
    /// ```
    /// use dormir::{
    ///     executor::{Executor, Shared, Up64}, platform::host::VirtualClock,
    ///     time::{Instant, Timer, TimerQueue},
    /// };
    ///
    /// dormir::task! { async fn wait(timer: Timer), pool = 1 { timer.await } }
    ///
    /// static CLOCK: VirtualClock = VirtualClock::new();
    /// static TIMERS: TimerQueue = TimerQueue::new();
    /// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
    ///
    /// TIMERS.install(&CLOCK, &CLOCK)?;
    /// let timer = TIMERS.timer(Instant::from_nanos(5));
    /// let mut runner = EXECUTOR.enter()?.with_timers(&TIMERS);
    /// runner.spawner().spawn_detached(wait(timer))?;
    /// assert_eq!(runner.run_until_idle().next_deadline, Some(Instant::from_nanos(5)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
            // Though the queue would find it: a future that is polled once and dropped, as in a `select`,
            // must not miss its deadline for good.
            NodeState::Idle if self.deadline() <= self.queue.now() => {
                self.node.mark_fired();
                Poll::Ready(())
            }
            NodeState::Idle => {
                // SAFETY: the node is idle; the timer is pinned, so it stays in place until `drop`, which
                // unlinks it.
                unsafe { self.queue.link(&self.node, cx.waker()) };
                Poll::Pending
            }
            NodeState::Waiting => self.poll_again(cx.waker()),
            NodeState::Fired => Poll::Ready(()),
        }
    }
}

impl Timer {
    /// A poll of a timer that is in the queue: it may be another task that waits for it now.
    // Cold, so that the other states are asked for first.
    #[cold]
    #[inline(never)]
    fn poll_again(&self, waker: &Waker) -> Poll<()> {
        if !critical_section::with(|cs| self.node.will_wake(waker, cs)) {
            // Foreign code, to clone a waker and to drop one, runs outside the sections.
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
            // SAFETY: who waits was linked by `poll`, to the timer's own queue.
            unsafe { self.queue.unlink(&self.node) };
        }
    }
}
