//! Wakers that outlive their tasks, and the hook of wakes.

use super::*;
use core::future::{pending, poll_fn};
#[cfg(feature = "embassy-time")]
use core::task::RawWakerVTable;
use std::{
    cell::RefCell,
    rc::Rc,
    sync::{Condvar, atomic::AtomicBool},
    time::Duration,
};

type Kept = Rc<RefCell<Vec<Waker>>>;

/// Keeps a waker of the task that polls it.
async fn keep(kept: &Kept) {
    poll_fn(|cx| {
        kept.borrow_mut().push(cx.waker().clone());
        Poll::Ready(())
    })
    .await;
}

/// Does all that can be done with a waker.
fn use_up(waker: &Waker) {
    let clone = waker.clone();
    assert!(clone.will_wake(waker));
    clone.wake_by_ref();
    clone.wake();
    drop(waker.clone());
}

#[test]
fn stale_wakers_do_no_harm() {
    tasks! {
        async fn ends(kept: Kept), pool = 1 { keep(&kept).await; }
        async fn waits(kept: Kept), pool = 2 { keep(&kept).await; pending().await }
        async fn counts(polls: Arc<AtomicUsize>), pool = 1 {
            poll_fn(|_| { polls.fetch_add(1, Ordering::SeqCst); Poll::Pending }).await
        }
    }
    let executor = executor::<Up64>();
    let mut runner = executor.enter().unwrap();
    let (spawner, kept) = (runner.spawner(), Kept::default());
    let use_all = || kept.borrow().iter().for_each(use_up);
    // One task has ended and still has its handle, one was aborted, and one will be dropped by its
    // runner.
    let ended = spawner.spawn(ends(kept.clone())).unwrap();
    let aborted = spawner.spawn(waits(kept.clone())).unwrap();
    spawner.spawn_detached(waits(kept.clone())).unwrap();
    runner.pass();
    aborted.abort();
    use_all();
    runner.pass();
    assert_eq!((executor.tasks(), executor.core.ended()), (1, 2));
    use_all();
    runner.pass();
    assert_eq!((end_of(ended), end_of(aborted)), (Ok(()), Err(Aborted)));
    drop(runner);
    use_all();
    let mut runner = executor.enter().unwrap();
    runner.run(NeverIdle);
    assert_eq!((executor.tasks(), kept.borrow().len()), (0, 3));
    // The slots are used again. Stale wakers cost their tasks at most one poll in a pass.
    let polls = Arc::default();
    let handle = runner.spawner().spawn(counts(Arc::clone(&polls))).unwrap();
    runner.pass();
    for _ in 0..3 {
        use_all();
        runner.pass();
        runner.pass();
    }
    assert_eq!(polls.load(Ordering::SeqCst), 4);
    handle.abort();
    use_all();
    runner.run(NeverIdle);
    assert_eq!(end_of(handle), Err(Aborted));
}

/// Otherwise a timer of embassy-time could wake the wrong task.
#[cfg(feature = "embassy-time")]
#[test]
fn a_waker_is_not_taken_for_that_of_the_task_that_is_polled() {
    tasks! {
        async fn asks(kept: Kept, functions: &'static RawWakerVTable), pool = 2 {
            keep(&kept).await;
            let is_known = |waker: &Waker| {
                // A clone may have another copy of the functions, and is not known then.
                // SAFETY: these are for the data of tasks' wakers.
                let waker = unsafe { Waker::new(waker.data(), functions) };
                current::deadline_slot_of(&waker).is_some()
            };
            let wakers = kept.borrow();
            let (own, others) = wakers.split_last().expect("it was kept");
            assert!(is_known(own) && !others.iter().any(is_known));
        }
    }
    alone(|| {
        let executor = executor::<Up64>();
        let mut runner = executor.enter().unwrap();
        let (spawner, kept) = (runner.spawner(), Kept::default());
        let functions = executor.core.wakers();
        for _ in 0..2 {
            let task = asks(kept.clone(), functions);
            spawner.spawn_detached(task).unwrap();
        }
        runner.run(NeverIdle);
        assert_eq!(kept.borrow().len(), 2);
    });
}

#[test]
fn stale_wakers_and_abort_handles_leave_an_output_alone() {
    tasks! {
        async fn ends(kept: Kept, counted: Counted) -> Counted, pool = 1 {
            keep(&kept).await;
            counted
        }
    }
    let executor = executor::<Up64>();
    let mut runner = executor.enter().unwrap();
    let (kept, drops) = (Kept::default(), Drops::default());
    for round in 0..5 {
        let handle = runner
            .spawner()
            .spawn(ends(kept.clone(), drops.counted()))
            .unwrap();
        let abort = handle.abort_handle();
        runner.pass();
        // A visit between the task's end and the drop of its handle.
        kept.borrow().iter().for_each(use_up);
        abort.abort();
        runner.pass();
        assert_eq!(drops.count(), round);
        drop(handle);
        assert_eq!(drops.count(), round + 1);
        abort.abort();
        kept.borrow().iter().for_each(use_up);
        runner.pass();
        assert_eq!(drops.count(), round + 1);
    }
}

#[test]
fn an_abort_handle_does_not_abort_a_later_task_in_the_same_slot() {
    tasks! { async fn task() -> u8, pool = 1 { turns(1).await; 8 } }
    let executor = executor::<Up64>();
    let mut runner = executor.enter().unwrap();
    let mut old: Vec<AbortHandle> = Vec::new();
    for _ in 0..10 {
        let handle = runner.spawner().spawn(task()).unwrap();
        old.iter().for_each(AbortHandle::abort);
        runner.pass();
        old.iter().for_each(AbortHandle::abort);
        old.push(handle.abort_handle());
        runner.run(NeverIdle);
        assert_eq!(end_of(handle), Ok(8));
        old.iter().for_each(AbortHandle::abort);
    }
    assert_eq!((executor.tasks(), executor.core.ended()), (0, 0));
}

#[test]
fn a_handle_that_returned_the_end_aborts_nothing() {
    tasks! { async fn task() -> u8, pool = 1 { 8 } }
    let executor = executor::<Up64>();
    let mut runner = executor.enter().unwrap();
    let mut handle = runner.spawner().spawn(task()).unwrap();
    runner.pass();
    assert!(poll_once(&mut handle).is_ready());
    let next = runner.spawner().spawn(task()).unwrap();
    assert!(handle.is_finished());
    handle.abort();
    handle.abort_handle().abort();
    drop(handle);
    runner.pass();
    assert_eq!(end_of(next), Ok(8));
}

#[test]
fn the_hook_is_called_once_for_each_task_that_becomes_ready() {
    static HOOKED: AtomicUsize = AtomicUsize::new(0);
    tasks! { async fn task(kept: Kept), pool = 2 { keep(&kept).await; pending().await } }
    let executor = executor::<Up4096>();
    executor.on_wake(|| {
        HOOKED.fetch_add(1, Ordering::SeqCst);
    });
    let hooked = || HOOKED.swap(0, Ordering::SeqCst);
    let mut runner = executor.enter().unwrap();
    let kept = Kept::default();
    let handle = runner.spawner().spawn(task(kept.clone())).unwrap();
    assert_eq!(hooked(), 1, "a spawn is a wake");
    runner.run_until_idle();
    assert_eq!(hooked(), 0);
    let waker = kept.borrow()[0].clone();
    waker.wake_by_ref();
    assert_eq!(hooked(), 1);
    waker.wake_by_ref();
    kept.borrow()[0].wake_by_ref();
    assert_eq!(hooked(), 0, "it was ready");
    runner.run_until_idle();
    waker.wake();
    assert_eq!(hooked(), 1);
    runner.run_until_idle();
    handle.abort();
    assert_eq!(hooked(), 1, "an abort is a wake");
    runner.run_until_idle();
    // The task has ended.
    kept.borrow()[0].wake_by_ref();
    assert_eq!(hooked(), 1);
    assert_eq!(end_of(handle), Err(Aborted));
    runner.run_until_idle();
}

/// Wakers that were made before would not call the hook.
#[test]
fn on_wake_panics_if_it_is_called_too_late() {
    static HOOKED: AtomicUsize = AtomicUsize::new(0);
    tasks! { async fn task(), pool = 1 {} }
    fn count() {
        HOOKED.fetch_add(1, Ordering::SeqCst);
    }
    let refuses = |executor: &'static Executor<Up64>| {
        let late = std::panic::AssertUnwindSafe(|| executor.on_wake(|| ()));
        let panic = std::panic::catch_unwind(late).expect_err("it is too late");
        let text = panic.downcast_ref::<&str>().expect("a message");
        assert!(text.contains("before `enter`"), "{text}");
    };
    let (hooked, entered, remote) = (executor(), executor(), executor());
    hooked.on_wake(count);
    refuses(hooked);
    drop(entered.enter().unwrap());
    refuses(entered);
    let _ = remote.remote();
    refuses(remote);
    // The first hook stays.
    hooked.remote().spawn_detached(task()).unwrap();
    assert_eq!(HOOKED.load(Ordering::SeqCst), 1);
    hooked.enter().unwrap().run(NeverIdle);
}

/// A loop sleeps by other means, as `run_until_idle` describes it, and loses no wake of another
/// thread.
#[test]
fn a_loop_that_sleeps_until_the_hook_loses_no_wake() {
    static BELL: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());
    static DONE: AtomicBool = AtomicBool::new(false);
    const ROUNDS: usize = if cfg!(miri) { 30 } else { 3_000 };
    tasks! {
        async fn echo(value: usize) -> usize, pool = 4 { turns(value % 3).await; value }
    }
    fn ring() {
        *BELL.0.lock().unwrap() = true;
        BELL.1.notify_one();
    }
    let executor = executor::<Up4096>();
    executor.on_wake(ring);
    let runner = thread::spawn(move || {
        let mut runner = executor.enter().unwrap();
        while !DONE.load(Ordering::SeqCst) {
            runner.run_until_idle();
            let rung = BELL.0.lock().unwrap();
            let limit = Duration::from_secs(20);
            let (mut rung, waited) = BELL
                .1
                .wait_timeout_while(rung, limit, |rung| !*rung)
                .unwrap();
            assert!(!waited.timed_out(), "a wake was lost");
            *rung = false;
        }
    });
    for value in 0..ROUNDS {
        let mut handle = executor.remote().spawn(echo(value)).unwrap();
        // The joiner is woken by the runner's thread.
        let unpark = Unpark::this_thread();
        let end = loop {
            if let Poll::Ready(end) = poll_with(&mut handle, &unpark) {
                break end;
            }
            thread::park_timeout(Duration::from_secs(20));
        };
        assert_eq!(end, Ok(value));
    }
    DONE.store(true, Ordering::SeqCst);
    ring();
    runner.join().expect("the runner's thread ends");
}
