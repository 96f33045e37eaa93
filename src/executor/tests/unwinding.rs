//! Panics that unwind, as they do on a host: nothing is dropped twice, no wake is lost, no slot is
//! lost.

use super::*;
use core::{
    future::{Ready, poll_fn, ready},
    pin::Pin,
};
use std::{
    task::{RawWaker, RawWakerVTable},
    vec,
};

/// Unwinds when it is dropped.
struct Unwinding(Drops);

impl Drop for Unwinding {
    fn drop(&mut self) {
        drop(self.0.counted());
        unwind();
    }
}

/// A future that returns its output at once, or never, and unwinds when it is dropped.
struct UnwindingFuture<T> {
    output: Option<T>,
    _unwinding: Unwinding,
}

impl<T: Unpin> Future for UnwindingFuture<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<T> {
        self.output.take().map_or(Poll::Pending, Poll::Ready)
    }
}

/// Asserts that all 64 slots can be used, twice: the executor has lost none.
fn assert_all_slots_are_free(executor: &'static Executor<Up64>, runner: &mut Runner<Up64>) {
    tasks! { async fn fills(), pool = 64 { turns(1).await; } }
    assert_eq!((executor.tasks(), executor.core.ended()), (0, 0));
    let spawner = runner.spawner();
    for _ in 0..2 {
        (0..64).for_each(|_| spawner.spawn_detached(fills()).expect("a slot"));
        runner.pass();
        assert_eq!(executor.tasks(), 64);
        runner.run(NeverIdle);
        assert_eq!((executor.tasks(), executor.core.ended()), (0, 0));
    }
}

#[test]
fn a_task_that_panics_is_dropped_and_the_others_keep_their_wakes() {
    tasks! {
        async fn bad(drops: Drops), pool = 1 { let _counted = drops.counted(); unwind(); }
        async fn good(polled: Arc<AtomicUsize>), pool = 4096 {
            polled.fetch_add(1, Ordering::SeqCst);
        }
    }
    let executor = executor::<Up4096>();
    let mut runner = executor.enter().unwrap();
    let spawner = runner.spawner();
    let (polled, drops) = (Arc::new(AtomicUsize::new(0)), Drops::default());
    for number in 0..300 {
        if number == 100 {
            let bad = spawner.spawn(bad(drops.clone())).unwrap();
            assert!(unwinds(|| runner.pass()));
            assert_eq!((end_of(bad), drops.count()), (Err(Aborted), 1));
            assert_eq!(polled.swap(0, Ordering::SeqCst), 100);
        }
        spawner.spawn_detached(good(polled.clone())).unwrap();
    }
    // Between other tasks, of the same word and of others.
    let bad = spawner.spawn(bad(drops.clone())).unwrap();
    for _ in 0..300 {
        spawner.spawn_detached(good(polled.clone())).unwrap();
    }
    assert!(unwinds(|| runner.pass()));
    assert_eq!(polled.load(Ordering::SeqCst), 200);
    assert!(!executor.ready.is_empty(), "300 are ready");
    runner.run(NeverIdle);
    assert_eq!(polled.load(Ordering::SeqCst), 500);
    assert_eq!((end_of(bad), drops.count()), (Err(Aborted), 2));
    assert_eq!((executor.tasks(), executor.core.ended()), (0, 0));
}

#[test]
fn an_output_of_a_detached_task_may_panic_when_dropped() {
    tasks! { fn task(output: Unwinding) -> Ready<Unwinding>, pool = 1 { ready(output) } }
    let executor = executor::<Up64>();
    let mut runner = executor.enter().unwrap();
    let drops = Drops::default();
    for round in 1..=3 {
        runner
            .spawner()
            .spawn_detached(task(Unwinding(drops.clone())))
            .unwrap();
        assert!(unwinds(|| runner.pass()));
        assert_eq!(drops.count(), round);
        assert_eq!((executor.tasks(), executor.core.ended()), (0, 0));
    }
    assert_all_slots_are_free(executor, &mut runner);
}

#[test]
fn an_output_may_panic_when_dropped_with_its_handle() {
    tasks! { fn task(output: Unwinding) -> Ready<Unwinding>, pool = 1 { ready(output) } }
    let executor = executor::<Up64>();
    let mut runner = executor.enter().unwrap();
    let drops = Drops::default();
    for round in 1..=3 {
        let handle = runner
            .spawner()
            .spawn(task(Unwinding(drops.clone())))
            .unwrap();
        runner.pass();
        assert!(unwinds(|| drop(handle)));
        assert_eq!(drops.count(), round);
    }
    assert_all_slots_are_free(executor, &mut runner);
    // The same after the runner was dropped.
    let handle = runner
        .spawner()
        .spawn(task(Unwinding(drops.clone())))
        .unwrap();
    runner.pass();
    drop(runner);
    assert!(unwinds(|| drop(handle)));
    assert_eq!(drops.count(), 4);
    assert_all_slots_are_free(executor, &mut executor.enter().unwrap());
}

#[test]
fn if_the_drop_of_an_ended_future_panics_its_output_is_dropped() {
    tasks! {
        fn task(output: Counted, unwinding: Unwinding) -> UnwindingFuture<Counted>, pool = 1 {
            UnwindingFuture { output: Some(output), _unwinding: unwinding }
        }
    }
    let executor = executor::<Up64>();
    let mut runner = executor.enter().unwrap();
    let (outputs, futures) = (Drops::default(), Drops::default());
    for joined in [true, false] {
        let task = task(outputs.counted(), Unwinding(futures.clone()));
        let handle = runner.spawner().spawn(task).unwrap();
        // Dropped, if it is not joined.
        let handle = joined.then_some(handle);
        assert!(unwinds(|| runner.pass()));
        assert!(handle.is_none_or(|handle| end_of(handle).is_err()));
    }
    assert_eq!((outputs.count(), futures.count()), (2, 2));
    assert_all_slots_are_free(executor, &mut runner);
}

#[test]
fn if_the_drop_of_an_aborted_future_panics_it_is_aborted() {
    tasks! {
        fn task(unwinding: Unwinding) -> UnwindingFuture<u32>, pool = 1 {
            UnwindingFuture { output: None, _unwinding: unwinding }
        }
    }
    let executor = executor::<Up64>();
    let mut runner = executor.enter().unwrap();
    let drops = Drops::default();
    for joined in [true, false] {
        let handle = runner
            .spawner()
            .spawn(task(Unwinding(drops.clone())))
            .unwrap();
        runner.pass();
        handle.abort();
        // Dropped, if it is not joined.
        let handle = joined.then_some(handle);
        assert!(unwinds(|| runner.pass()));
        assert!(handle.is_none_or(|handle| end_of(handle) == Err(Aborted)));
    }
    assert_eq!(drops.count(), 2);
    assert_all_slots_are_free(executor, &mut runner);
}

#[test]
fn a_leaving_runner_drops_all_local_futures_even_if_one_panics() {
    tasks! {
        fn bad(unwinding: Unwinding) -> UnwindingFuture<u32>, pool = 1 {
            UnwindingFuture { output: None, _unwinding: unwinding }
        }
        async fn waits(counted: Counted), pool = 2 {
            let _counted = counted;
            poll_fn(|_| Poll::Pending).await
        }
    }
    let executor = executor::<Up64>();
    let mut runner = executor.enter().unwrap();
    let spawner = runner.spawner();
    let drops = Drops::default();
    let before = spawner.spawn(waits(drops.counted())).unwrap();
    let bad = spawner.spawn(bad(Unwinding(drops.clone()))).unwrap();
    let after = spawner.spawn(waits(drops.counted())).unwrap();
    runner.pass();
    assert!(unwinds(|| drop(runner)));
    assert_eq!(drops.count(), 3);
    assert_eq!(end_of(before), Err(Aborted));
    assert_eq!(end_of(bad), Err(Aborted));
    assert_eq!(end_of(after), Err(Aborted));
    let mut runner = executor.enter().expect("the runner is gone");
    assert_all_slots_are_free(executor, &mut runner);
}

/// A waker whose wake unwinds.
fn unwinding_waker() -> Waker {
    const VTABLE: RawWakerVTable = RawWakerVTable::new(|_| RAW, |_| unwind(), |_| unwind(), |_| ());
    const RAW: RawWaker = RawWaker::new(ptr::null(), &VTABLE);
    // SAFETY: the functions ignore the data pointer.
    unsafe { Waker::from_raw(RAW) }
}

#[test]
fn a_joiner_whose_waker_panics_still_gets_the_output() {
    tasks! { async fn task(counted: Counted) -> Counted, pool = 1 { counted } }
    let executor = executor::<Up64>();
    let mut runner = executor.enter().unwrap();
    let (waker, drops) = (unwinding_waker(), Drops::default());
    for round in 0..3 {
        let mut handle = runner.spawner().spawn(task(drops.counted())).unwrap();
        assert!(poll_with(&mut handle, &waker).is_pending());
        assert!(unwinds(|| runner.pass()));
        assert!(handle.is_finished());
        assert_eq!(drops.count(), round, "the output is there");
        drop(end_of(handle).unwrap());
        assert_eq!(drops.count(), round + 1);
    }
    assert_all_slots_are_free(executor, &mut runner);
}

#[test]
fn a_joiner_whose_waker_panics_still_gets_aborted() {
    tasks! { async fn task(), pool = 1 { poll_fn(|_| Poll::Pending).await } }
    let executor = executor::<Up64>();
    let mut runner = executor.enter().unwrap();
    let waker = unwinding_waker();
    for _ in 0..3 {
        let mut handle = runner.spawner().spawn(task()).unwrap();
        runner.pass();
        assert!(poll_with(&mut handle, &waker).is_pending());
        handle.abort();
        assert!(unwinds(|| runner.pass()));
        assert_eq!(end_of(handle), Err(Aborted));
    }
    assert_all_slots_are_free(executor, &mut runner);
}

/// Many tasks panic, each in a pass of its own.
#[test]
fn each_panic_ends_one_task() {
    tasks! {
        async fn task(number: usize) -> usize, pool = 64 {
            if number.is_multiple_of(2) { unwind() } else { number }
        }
    }
    let executor = executor::<Up64>();
    let mut runner = executor.enter().unwrap();
    let spawner = runner.spawner();
    let handles: Vec<_> = (0..64)
        .map(|number| spawner.spawn(task(number)).unwrap())
        .collect();
    let mut panics = 0;
    while unwinds(|| runner.run(NeverIdle)) {
        panics += 1;
    }
    assert_eq!(panics, 32);
    let ends: Vec<_> = handles
        .into_iter()
        .map(|handle| end_of(handle).ok())
        .collect();
    let expected: Vec<_> = (0..64)
        .map(|number| (number % 2 == 1).then_some(number))
        .collect();
    assert_eq!(ends, expected);
    assert_eq!(vec![executor.tasks(), executor.core.ended()], [0, 0]);
}
