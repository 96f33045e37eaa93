//! Wakers and `block_on`.

use core::{
    cell::Cell,
    future::{Future, poll_fn},
    task::{Poll, Waker},
    time::Duration,
};

use dormir::{block_on, idle::Halt, time::Timer};

use crate::{Case, probes::yield_now};

pub(crate) const CASES: &[Case] = &[
    ("waker-after-its-future", after_its_future),
    ("nested-block-on", nested),
    ("nested-block-on-takes-no-wake", nested_takes_no_wake),
    ("self-wake", self_wake),
];

/// A waker that outlives its future costs the next one a poll at most, and does no harm.
fn after_its_future() {
    let kept = block_on(poll_fn(|cx| Poll::Ready(cx.waker().clone())), Halt);
    kept.wake_by_ref();
    let polls = Cell::new(0);
    let mut nap = core::pin::pin!(Timer::after(Duration::from_millis(5)));
    block_on(
        poll_fn(|cx| {
            polls.set(polls.get() + 1);
            if polls.get() == 1 {
                kept.wake_by_ref();
            }
            nap.as_mut().poll(cx)
        }),
        Halt,
    );
    kept.wake();
    assert_eq!(
        polls.get(),
        3,
        "polls: at first, for the stale wake, for the timer"
    );
}

fn nested() {
    let answer = block_on(
        async {
            Timer::after(Duration::from_millis(1)).await;
            let inner = block_on(
                async {
                    Timer::after(Duration::from_millis(1)).await;
                    20
                },
                Halt,
            );
            Timer::after(Duration::from_millis(1)).await;
            inner + 22
        },
        Halt,
    );
    assert_eq!(answer, 42);
}

/// A wake that comes for the outer future while an inner `block_on` runs is not swallowed by it.
fn nested_takes_no_wake() {
    let mut polls = 0;
    block_on(
        poll_fn(|cx| {
            polls += 1;
            if polls > 1 {
                return Poll::Ready(());
            }
            let outer: Waker = cx.waker().clone();
            block_on(
                async {
                    outer.wake();
                    // Clears the flag that the outer wake set, several times over.
                    for _ in 0..3 {
                        yield_now().await;
                    }
                },
                Halt,
            );
            Poll::Pending
        }),
        // Would sleep for good if the wake were gone.
        Halt,
    );
}

/// A task that wakes itself is polled again without a halt.
fn self_wake() {
    block_on(
        async {
            for _ in 0..1000 {
                yield_now().await;
            }
        },
        Halt,
    );
}
