//! Two tasks that wake each other, for any runtime.

use core::{
    cell::RefCell,
    future::Future,
    pin::Pin,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    task::{Context, Poll, Waker},
};

use critical_section::Mutex;
use dormir_bench_guest::stopwatch::stamp;

use crate::{rounds::take_wake, stamps, turn};

/// The wakers of the two tasks.
static WAKERS: [Mutex<RefCell<Option<Waker>>>; PING_PONG_TASKS] =
    [const { Mutex::new(RefCell::new(None)) }; PING_PONG_TASKS];

/// The TSC just before the last wake; 0 if there was no wake.
static BEFORE: AtomicU64 = AtomicU64::new(0);

/// How many wakes remain.
static REMAINING: AtomicUsize = AtomicUsize::new(0);

/// One of the two tasks: the other wakes it, and it wakes the other.
pub(crate) struct StampedPingPong {
    index: usize,
}

/// The number of tasks.
pub(crate) const PING_PONG_TASKS: usize = 2;

/// Makes two tasks that wake each other `wakes` times in total and then complete.
pub(crate) fn two(wakes: usize) -> [StampedPingPong; PING_PONG_TASKS] {
    REMAINING.store(wakes, Ordering::Relaxed);
    BEFORE.store(0, Ordering::Relaxed);
    for waker in &WAKERS {
        critical_section::with(|cs| waker.borrow_ref_mut(cs).take());
    }
    [0, 1].map(|index| StampedPingPong { index })
}

fn waker_of(index: usize) -> Option<Waker> {
    critical_section::with(|cs| WAKERS[index].borrow_ref(cs).clone())
}

impl Future for StampedPingPong {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let now = stamp();
        let before = BEFORE.swap(0, Ordering::Relaxed);
        if before != 0 {
            take_wake(before, now);
        } else {
            let waker = cx.waker().clone();
            critical_section::with(|cs| WAKERS[self.index].borrow_ref_mut(cs).replace(waker));
        }
        // The second task starts: by then both have stored their wakers.
        let Some(other) = waker_of(1 - self.index) else {
            return Poll::Pending;
        };
        let remaining = REMAINING.load(Ordering::Relaxed);
        if remaining == 0 {
            // The other task finds the same; its wake then reaches a task that has completed.
            other.wake();
            turn::end_one();
            return Poll::Ready(());
        }
        REMAINING.store(remaining - 1, Ordering::Relaxed);
        stamps::clear();
        let before = stamp();
        BEFORE.store(before, Ordering::Relaxed);
        other.wake_by_ref();
        Poll::Pending
    }
}
