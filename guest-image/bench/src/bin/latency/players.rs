//! Two tasks that wake each other, for any runtime.

use core::{
    cell::RefCell,
    future::Future,
    pin::Pin,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    task::{Context, Poll, Waker},
};

use critical_section::Mutex;
use dormir::arch::x86_64::tsc;

use crate::{samples, stamps};

/// The players' wakers.
static WAKERS: [Mutex<RefCell<Option<Waker>>>; 2] = [const { Mutex::new(RefCell::new(None)) }; 2];

/// The TSC just before the last wake; 0 if there was none.
static BEFORE: AtomicU64 = AtomicU64::new(0);

/// How many wakes are still to be made.
static LEFT: AtomicUsize = AtomicUsize::new(0);

/// Is woken by the other, and wakes the other.
pub(crate) struct Player {
    index: usize,
}

/// Two of them, which wake each other so many times and then end.
pub(crate) fn two(wakes: usize) -> [Player; 2] {
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
        let now = tsc::read();
        let before = BEFORE.swap(0, Ordering::Relaxed);
        if before != 0 {
            samples::take_wake(before, now);
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
            return Poll::Ready(());
        }
        LEFT.store(left - 1, Ordering::Relaxed);
        stamps::clear();
        let before = tsc::read();
        BEFORE.store(before, Ordering::Relaxed);
        other.wake_by_ref();
        Poll::Pending
    }
}
