//! Time limits for futures.

use core::{
    fmt,
    future::{Future, IntoFuture},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use super::{Instant, Timer, TimerQueue};

/// Awaits `future`, but no longer than `limit` from this call on; on the global queue. A limit
/// beyond the range of [`Instant`] is no limit: the sum saturates at [`Instant::NEVER`].
///
/// For ties, cancel safety and contexts see [`WithDeadline`].
///
/// # Errors
///
/// The future returns [`TimedOut`] if the limit passes first.
///
/// # Panics
///
/// If no clock is installed.
///
/// # Examples
///
/// ```
/// use core::{future, time::Duration};
/// use dormir::{block_on, time::{Timer, with_timeout}};
/// use dormir::platform::host::{self, Skip};
///
/// host::init(); // A virtual clock, for the host. A guest waits by `idle::Halt`.
/// block_on(async {
///     let second = Duration::from_secs(1);
///     assert_eq!(with_timeout(second * 2, Timer::after(second)).await, Ok(()));
///     let error = with_timeout(second, future::pending::<()>()).await.unwrap_err();
///     println!("{error}");
/// }, Skip);
/// ```
///
/// A future that timed out is dropped. To continue with it, pass a pinned reference:
///
/// ```
/// use core::{pin::pin, time::Duration};
/// use dormir::{block_on, time::{Timer, with_timeout}};
/// use dormir::platform::host::{self, Skip};
///
/// host::init(); // A virtual clock, for the host. A guest waits by `idle::Halt`.
/// block_on(async {
///     let mut work = pin!(async { Timer::after(Duration::from_secs(3)).await; 42 });
///     while with_timeout(Duration::from_secs(1), work.as_mut()).await.is_err() {
///         println!("still at work");
///     }
/// }, Skip);
/// ```
pub fn with_timeout<F: IntoFuture>(limit: Duration, future: F) -> WithDeadline<F::IntoFuture> {
    with_deadline(Instant::now().saturating_add(limit), future)
}

/// Awaits `future`, but not beyond `deadline`; on the global queue. With [`Instant::NEVER`] there
/// is no limit, and no timer is put into the queue.
///
/// # Errors
///
/// The future returns [`TimedOut`] if the deadline passes first.
///
/// # Examples
///
/// One limit for several steps:
///
/// ```
/// use core::time::Duration;
/// use dormir::{block_on, time::{Instant, TimedOut, Timer, with_deadline}};
/// use dormir::platform::host::{self, Skip};
///
/// # async fn send() { Timer::after(Duration::from_millis(30)).await }
/// # async fn receive() -> u32 { Timer::after(Duration::from_millis(30)).await; 7 }
/// /// Returns an answer, or an error if there was none in time.
/// async fn ask(deadline: Instant) -> Result<u32, TimedOut> {
///     with_deadline(deadline, send()).await?;
///     with_deadline(deadline, receive()).await
/// }
///
/// host::init(); // A virtual clock, for the host. A guest waits by `idle::Halt`.
/// let deadline = Instant::now().saturating_add(Duration::from_millis(50));
/// assert!(block_on(ask(deadline), Skip).is_err());
/// assert_eq!(Instant::now(), deadline);
/// # assert_eq!(block_on(ask(Instant::NEVER), Skip), Ok(7));
/// ```
pub fn with_deadline<F: IntoFuture>(deadline: Instant, future: F) -> WithDeadline<F::IntoFuture> {
    TimerQueue::global().with_deadline(deadline, future)
}

impl TimerQueue {
    /// The same as the function [`with_deadline`], on this queue.
    pub fn with_deadline<F: IntoFuture>(
        &'static self,
        deadline: Instant,
        future: F,
    ) -> WithDeadline<F::IntoFuture> {
        WithDeadline {
            timer: self.timer(deadline),
            future: future.into_future(),
        }
    }
}

/// A future with a time limit, as returned by [`with_timeout`] and [`with_deadline`].
///
/// # Which wins
///
/// The future is polled first. If it is ready, its output is returned, even if the deadline has
/// passed: a future that is ready at once never times out, not even with a limit of zero. The clock
/// counts only if the future is pending.
///
/// # Cancel safety
///
/// Dropping it drops the future, and takes the timer out of the queue. It holds both, and nothing
/// on a heap. After [`TimedOut`] the future still exists until `WithDeadline` is dropped; an
/// `await` drops it at once.
///
/// It is as cancel safe as the future, which is cancelled when the limit passes.
///
/// # Contexts
///
/// Any but NMI and machine-check handlers, as with [`Timer`].
///
/// # Panics
///
/// Polling it panics if the future does; and if the future is pending, the deadline is not
/// [`Instant::NEVER`] and the queue has no clock.
///
/// # Examples
///
/// ```
/// use core::{future::Ready, time::Duration};
/// use dormir::{block_on, time::{WithDeadline, with_timeout}};
/// use dormir::platform::host::{self, Skip};
///
/// host::init(); // A virtual clock, for the host. A guest waits by `idle::Halt`.
/// let limited: WithDeadline<Ready<u32>> = with_timeout(Duration::ZERO, core::future::ready(7));
/// assert_eq!(block_on(limited, Skip), Ok(7));
/// ```
// An `async` block would do the same without unsafe code, but takes twice the future's size.
#[must_use = "a future does nothing until it is awaited"]
pub struct WithDeadline<F> {
    timer: Timer,
    future: F,
}

impl<F: Future> Future for WithDeadline<F> {
    type Output = Result<F::Output, TimedOut>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: the future is pinned whenever `self` is: nothing moves it out; `self` has no
        // `Drop` and no packed representation, and is `Unpin` only if the future is.
        let future = unsafe { self.as_mut().map_unchecked_mut(|this| &mut this.future) };
        if let Poll::Ready(output) = future.poll(cx) {
            return Poll::Ready(Ok(output));
        }
        // SAFETY: the same for the timer (which is never `Unpin`).
        let timer = unsafe { self.map_unchecked_mut(|this| &mut this.timer) };
        timer.poll(cx).map(|()| Err(TimedOut))
    }
}

impl<F: fmt::Debug> fmt::Debug for WithDeadline<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WithDeadline")
            .field("deadline", &self.timer.deadline())
            .field("future", &self.future)
            .finish_non_exhaustive()
    }
}

/// The time limit passed before the future ended.
///
/// # Examples
///
/// ```
/// use core::{future, time::Duration};
/// use dormir::{block_on, time::{TimedOut, with_timeout}};
/// use dormir::platform::host::{self, Skip};
///
/// host::init(); // A virtual clock, for the host. A guest waits by `idle::Halt`.
/// let limited = with_timeout(Duration::from_secs(1), future::pending::<()>());
/// let error: TimedOut = block_on(limited, Skip).unwrap_err();
/// assert!(error.to_string().contains("time limit"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct TimedOut;

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the time limit passed before the future ended: give it more time, or check what it \
             waits for",
        )
    }
}

impl core::error::Error for TimedOut {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::testing::{Recording, at, queue, settle};
    use core::{
        future::{pending, poll_fn, ready},
        mem::size_of_val,
        pin::pin,
        task::Waker,
    };
    use std::{boxed::Box, rc::Rc, string::ToString};

    fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn what_is_ready_at_once_never_times_out() {
        let (queue, clock) = queue();
        clock.advance_to(at(100), queue);
        for deadline in [at(0), at(100), at(101), Instant::NEVER] {
            let mut limited = pin!(queue.with_deadline(deadline, ready(7)));
            assert_eq!(poll(limited.as_mut()), Poll::Ready(Ok(7)));
        }
        assert_eq!(settle(queue), None, "no timer was needed");
    }

    #[test]
    fn what_is_pending_at_its_deadline_has_timed_out() {
        let (queue, clock) = queue();
        let recording = Recording::default();
        let waker = recording.waker(1);
        let mut limited = pin!(queue.with_deadline(at(10), pending::<()>()));
        let mut context = Context::from_waker(&waker);
        assert!(limited.as_mut().poll(&mut context).is_pending());
        assert_eq!(settle(queue), Some(at(10)));
        clock.advance_to(at(9), queue);
        assert!(limited.as_mut().poll(&mut context).is_pending());
        clock.advance_to(at(10), queue);
        settle(queue);
        assert_eq!(recording.take(), [1]);
        assert_eq!(
            limited.as_mut().poll(&mut context),
            Poll::Ready(Err(TimedOut))
        );
        // And without a first poll before it.
        let late = pin!(queue.with_deadline(at(10), pending::<()>()));
        assert_eq!(poll(late), Poll::Ready(Err(TimedOut)));
    }

    #[test]
    fn its_error_says_what_to_do() {
        let message = TimedOut.to_string();
        assert!(message.contains("give it more time"), "{message}");
    }

    #[test]
    fn the_future_wins_where_both_are_ready() {
        let (queue, clock) = queue();
        let mut inner = Box::pin(queue.timer(at(10)));
        let mut limited = pin!(queue.with_deadline(at(10), inner.as_mut()));
        assert!(poll(limited.as_mut()).is_pending());
        settle(queue);
        clock.advance_to(at(50), queue);
        settle(queue);
        assert_eq!(poll(limited.as_mut()), Poll::Ready(Ok(())));
    }

    #[test]
    fn dropping_drops_the_future_and_unlinks_the_timer() {
        let (queue, _clock) = queue();
        let held = Rc::new(());
        let holds = Rc::clone(&held);
        let mut limited = Box::pin(queue.with_deadline(
            at(10),
            poll_fn(move |_| {
                let _holds = &holds;
                Poll::<()>::Pending
            }),
        ));
        assert!(poll(limited.as_mut()).is_pending());
        assert_eq!(settle(queue), Some(at(10)));
        drop(limited);
        assert_eq!(Rc::strong_count(&held), 1);
        assert_eq!(settle(queue), None);
    }

    #[test]
    fn one_that_ended_in_time_leaves_no_timer() {
        let (queue, clock) = queue();
        {
            let mut limited = pin!(queue.with_deadline(at(1000), queue.timer(at(10))));
            assert!(poll(limited.as_mut()).is_pending());
            assert_eq!(settle(queue), Some(at(10)));
            clock.advance_to(at(10), queue);
            assert_eq!(settle(queue), Some(at(1000)));
            assert_eq!(poll(limited.as_mut()), Poll::Ready(Ok(())));
        }
        assert_eq!(settle(queue), None);
    }

    #[test]
    fn without_end_it_disturbs_no_other() {
        let (queue, clock) = queue();
        let forever = queue.now().saturating_add(Duration::MAX);
        let mut limited = pin!(queue.with_deadline(forever, pending::<()>()));
        assert!(poll(limited.as_mut()).is_pending());
        assert_eq!(settle(queue), None);
        clock.advance_to(at(u64::MAX - 1), queue);
        assert!(poll(limited.as_mut()).is_pending());
    }

    #[test]
    fn it_holds_the_future_once() {
        let (queue, _clock) = queue();
        let large = [0_u8; 1000];
        let future = poll_fn(move |_| Poll::Ready(large[0]));
        let alone = size_of_val(&future) + size_of_val(&queue.timer(at(0)));
        let limited = queue.with_deadline(at(0), future);
        assert!(size_of_val(&limited) <= alone.next_multiple_of(8));
    }
}
