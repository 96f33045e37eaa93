//! One future, on the stack, to its end.

use core::{
    future::Future,
    pin::pin,
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll, RawWaker, RawWakerVTable, Waker},
};

use crate::{idle::Idle, time::TimerQueue};

/// The ready flag of every `block_on`.
///
/// It is a static, so that a waker can never dangle: one that outlives its future sets the flag of
/// whatever `block_on` runs next, and costs that one a poll.
static READY: AtomicBool = AtomicBool::new(false);

/// A future that is being run by itself, on the stack: whether it was woken.
///
/// The flag is set from the beginning, and set again when this goes: what it took may have been an outer
/// future's wake.
pub(crate) struct Woken;

impl Woken {
    pub(crate) fn begin() -> Self {
        READY.store(true, Ordering::Release);
        Self
    }

    /// Whether the future is to be polled. The flag is cleared before the poll: a wake that comes during it
    /// counts for the next one.
    pub(crate) fn take(&self) -> bool {
        READY.swap(false, Ordering::Acquire)
    }

    pub(crate) fn is_set(&self) -> bool {
        READY.load(Ordering::Acquire)
    }

    /// Sets the flag. Lock-free and without memory: may be called in any context, NMI included.
    pub(crate) fn waker(&self) -> Waker {
        const VTABLE: RawWakerVTable = RawWakerVTable::new(|_| RAW, wake, wake, |_| ());
        const RAW: RawWaker = RawWaker::new(core::ptr::null(), &VTABLE);

        fn wake(_: *const ()) {
            // Not "if it is not set": a look could be older than what the waker has just written for the
            // task, and the task would be polled without seeing that.
            READY.store(true, Ordering::Release);
        }

        // SAFETY: the functions ignore the data pointer, touch nothing but a static atomic, and so keep
        // the contract of `RawWakerVTable` in any number, thread or context.
        unsafe { Waker::from_raw(RAW) }
    }
}

impl Drop for Woken {
    fn drop(&mut self) {
        READY.store(true, Ordering::Release);
    }
}

/// Runs `future` to its end, waiting by `idle` whenever it is not ready, and serves the timers of the
/// [global queue](TimerQueue::global) meanwhile.
///
/// The future is pinned on the stack. Interrupts may be masked or not: they are as they were when
/// `block_on` returns (but `idle` unmasks them while it halts). The alarm is off then.
///
/// It runs that future alone, not the tasks of an [`Executor`](crate::executor::Executor).
///
/// Calls may be nested: an inner call that returns has the outer future polled once more, because the
/// inner one may have taken a wake that was meant for it. Until the inner call returns, the outer
/// future is not polled.
///
/// With interrupts masked, they are let in while the vCPU halts and at no other time: a future that is
/// always ready then keeps its own timers waiting. And since halting unmasks them, a critical section
/// around `block_on` would not be one.
///
/// # Contexts
///
/// For the main line of one vCPU. It must not be called from an interrupt handler, nor on two vCPUs
/// (or host threads) at a time: all calls share one ready flag and one timer queue.
///
/// # Examples
///
/// ```
/// # let idle = dormir::platform::host::Skip;
/// let answer = dormir::block_on(async { 6 * 7 }, idle);
/// assert_eq!(answer, 42);
/// ```
pub fn block_on<F: Future>(future: F, mut idle: impl Idle) -> F::Output {
    let queue = TimerQueue::global();
    let mut future = pin!(future);
    let woken = Woken::begin();
    let waker = woken.waker();
    let mut context = Context::from_waker(&waker);
    loop {
        if woken.take()
            && let Poll::Ready(output) = future.as_mut().poll(&mut context)
        {
            queue.disarm();
            return output;
        }
        let next = queue.turn();
        let idle_still = || !woken.is_set() && queue.is_settled();
        if idle_still() {
            // The look that counts is the one that `idle` takes with interrupts masked.
            idle.wait(next, &idle_still);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Instant;
    use core::{future::poll_fn, sync::atomic::AtomicU32};
    use std::{thread, time};

    /// Waits by asking, as a policy without an alarm does.
    struct Ask;

    impl Idle for Ask {
        fn wait(&mut self, _until: Option<Instant>, idle: &dyn Fn() -> bool) {
            while idle() {
                core::hint::spin_loop();
            }
        }
    }

    /// What a waker has written before its wake is seen by the poll after it, however close it comes to
    /// the poll for the wake before. (The one test here: all `block_on` calls share the flag.)
    #[test]
    fn a_wake_from_another_thread_is_not_lost() {
        const ROUNDS: u32 = 200_000;
        const DONE: u32 = u32::MAX;
        static WRITTEN: AtomicU32 = AtomicU32::new(0);
        static SEEN: AtomicU32 = AtomicU32::new(0);
        let waker = Woken::begin().waker();
        let other = thread::spawn(move || {
            let write_and_wake = |value| {
                WRITTEN.store(value, Ordering::Release);
                waker.wake_by_ref();
            };
            let mut lost = None;
            for round in 1..=ROUNDS {
                write_and_wake(2 * round);
                write_and_wake(2 * round + 1);
                let start = time::Instant::now();
                while SEEN.load(Ordering::Acquire) <= 2 * round && lost.is_none() {
                    core::hint::spin_loop();
                    if start.elapsed() > time::Duration::from_secs(10) {
                        lost = Some(round);
                    }
                }
            }
            write_and_wake(DONE);
            lost
        });
        block_on(
            poll_fn(|_| {
                let written = WRITTEN.load(Ordering::Acquire);
                SEEN.store(written, Ordering::Release);
                if written == DONE {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            }),
            Ask,
        );
        assert_eq!(
            other.join().expect("the other thread ends"),
            None,
            "round of a lost wake"
        );
    }
}
