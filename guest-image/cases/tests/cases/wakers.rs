//! Tests of wakers and `block_on`.

use core::{
    future::poll_fn,
    task::{Poll, Waker},
    time::Duration,
};

use dormir::{block_on, idle::Halt, time::Timer};

use crate::probes::yield_now;

/// A waker that outlives its future may cause spurious polls in a later `block_on`, and is
/// otherwise harmless.
#[dormir_guest::test]
fn after_its_future() {
    let kept = block_on(poll_fn(|cx| Poll::Ready(cx.waker().clone())), Halt);
    kept.wake_by_ref();
    let mut polls = 0;
    block_on(
        poll_fn(|_| {
            polls += 1;
            kept.wake_by_ref();
            // Nothing else wakes this one.
            if polls == 10 {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        }),
        Halt,
    );
    kept.wake();
    block_on(async { Timer::after(Duration::from_millis(5)).await }, Halt);
}

#[dormir_guest::test]
fn nested_block_on() {
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

/// An inner `block_on` does not consume a wake of the outer future.
#[dormir_guest::test]
fn nested_block_on_takes_no_wake() {
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
        // Would sleep forever if the wake were lost.
        Halt,
    );
}

/// A task that wakes itself is polled again without a halt.
#[dormir_guest::test]
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
