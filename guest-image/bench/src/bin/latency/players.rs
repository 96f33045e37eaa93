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

/// The players' wakers.
static WAKERS: [Mutex<RefCell<Option<Waker>>>; PLAYERS] =
    [const { Mutex::new(RefCell::new(None)) }; PLAYERS];

/// The TSC just before the last wake; 0 if there was none.
static BEFORE: AtomicU64 = AtomicU64::new(0);

/// How many wakes are still to be made.
static LEFT: AtomicUsize = AtomicUsize::new(0);

/// Is woken by the other, and wakes the other.
pub(crate) struct Player {
    index: usize,
}

/// How many there are.
pub(crate) const PLAYERS: usize = 2;

/// Two of them, which wake each other so many times and then end.
pub(crate) fn two(wakes: usize) -> [Player; PLAYERS] {
    LEFT.store(wakes, Ordering::Relaxed);
    BEFORE.store(0, Ordering::Relaxed);
    for waker in &WAKERS {
        critical_section::with(|cs| waker.borrow_ref_mut(cs).take());
    }
    [0, 1].map(|index| Player { index })
}

fn waker_of(index: usize) -> Option<Waker> {
    critical_section::with(|cs| WAKERS[index].borrow_ref(cs).clone())
}

impl Future for Player {
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
        // The second player begins: by then both have left their wakers.
        let Some(other) = waker_of(1 - self.index) else {
            return Poll::Pending;
        };
        let left = LEFT.load(Ordering::Relaxed);
        if left == 0 {
            // The other one sees the same, and wakes nobody who has not ended.
            other.wake();
            turn::end_one();
            return Poll::Ready(());
        }
        LEFT.store(left - 1, Ordering::Relaxed);
        stamps::clear();
        let before = stamp();
        BEFORE.store(before, Ordering::Relaxed);
        other.wake_by_ref();
        Poll::Pending
    }
}
