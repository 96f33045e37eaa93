//! How wakers are assigned: the polled task uses its own slot, all others the table.

use std::{
    boxed::Box,
    cell::RefCell,
    future::{self, Future},
    pin::pin,
    ptr,
    rc::Rc,
    string::ToString,
    sync::atomic::{AtomicPtr, AtomicUsize, Ordering},
    task::{Context, Poll, RawWaker, RawWakerVTable, Waker},
    thread,
    vec::Vec,
};

use embassy_time::{Duration, Instant, Timer, with_timeout};
use futures_util::{
    future::{FutureExt, join},
    stream::{FuturesUnordered, StreamExt},
};

use super::{ms, run};
use crate::{
    block_on,
    executor::{Executor, Shared, Up64, Up4096, yield_now},
    platform::host::{self, Skip},
    tasks,
    test_support::alone,
    time::embassy::{AlreadyAdded, MoreWakers, OTHER_WAKERS, early_wakes, most_wakers},
};

/// Each task has a slot of its own, for any number of tasks: only other wakers share the table.
#[test]
fn tasks_use_no_entries_of_the_table() {
    alone(|| {
        const TASKS: usize = 20 * OTHER_WAKERS;
        tasks! {
            async fn sleeper(number: usize, ended: Rc<RefCell<Vec<usize>>>), pool = TASKS {
                let deadline = Instant::from_millis(number as u64 * 7 % 1009);
                Timer::at(deadline).await;
                assert_eq!(Instant::now(), deadline);
                yield_now().await;
                Timer::after(ms(2000)).await;
                ended.borrow_mut().push(number);
            }
        }
        static EXECUTOR: Executor<Up4096> = Executor::new(Shared);
        let ended = Rc::default();
        run(&EXECUTOR, |spawner| {
            for number in 0..TASKS {
                let task = sleeper(number, Rc::clone(&ended));
                spawner.spawn_detached(task).unwrap();
            }
        });
        assert_eq!(ended.borrow().len(), TASKS);
        assert!(ended.borrow().is_sorted_by_key(|number| number * 7 % 1009));
        assert_eq!(early_wakes(), 0);
    });
}

/// A `block_on` in a task has its own waker, and the task's is recognized afterwards.
#[test]
fn a_block_on_in_a_task_has_timers_too() {
    alone(|| {
        tasks! {
            async fn outer(), pool = 1 {
                Timer::after(ms(1)).await;
                block_on(join(Timer::after(ms(4)), Timer::after(ms(2))), Skip);
                assert_eq!(Instant::now(), Instant::from_millis(5));
                Timer::after(ms(1)).await;
                assert_eq!(Instant::now(), Instant::from_millis(6));
            }
        }
        static EXECUTOR: Executor<Up64> = Executor::new(Shared);
        run(&EXECUTOR, |spawner| {
            spawner.spawn_detached(outer()).unwrap()
        });
        assert_eq!(early_wakes(), 0);
    });
}

/// The wakers of an executor with a hook have other functions.
#[test]
fn tasks_with_a_wake_hook_are_recognized() {
    alone(|| {
        const TASKS: usize = 2 * OTHER_WAKERS;
        tasks! {
            async fn sleeper(), pool = TASKS {
                Timer::after(ms(1)).await;
                Timer::after(ms(1)).await;
                assert_eq!(Instant::now(), Instant::from_millis(2));
            }
        }
        static EXECUTOR: Executor<Up4096> = Executor::new(Shared);
        EXECUTOR.on_wake(|| ());
        run(&EXECUTOR, |spawner| {
            for _ in 0..TASKS {
                spawner.spawn_detached(sleeper()).unwrap();
            }
        });
        assert_eq!(early_wakes(), 0);
    });
}

/// A waker with a task's data and another vtable is not the task's: the task's earlier deadline
/// must not replace its own, since only its vtable knows what to wake.
#[test]
fn a_waker_around_a_tasks_waker_is_not_the_tasks() {
    static WAKES: AtomicUsize = AtomicUsize::new(0);
    static INNER: AtomicPtr<Waker> = AtomicPtr::new(ptr::null_mut());
    fn wake() {
        WAKES.fetch_add(1, Ordering::SeqCst);
        // SAFETY: the test has stored it permanently.
        unsafe { &*INNER.load(Ordering::SeqCst) }.wake_by_ref();
    }
    static AROUND: RawWakerVTable = RawWakerVTable::new(
        |data| RawWaker::new(data, &AROUND),
        |_| wake(),
        |_| wake(),
        |_| (),
    );
    alone(|| {
        tasks! {
            async fn observed(), pool = 1 {
                let mut own = pin!(Timer::after(ms(3)).fuse());
                let mut other = pin!(Timer::after(ms(5)));
                let mut is_first = true;
                future::poll_fn(|cx| {
                    let _ = own.as_mut().poll(cx);
                    if !std::mem::take(&mut is_first) && WAKES.load(Ordering::SeqCst) == 0 {
                        return Poll::Pending;
                    }
                    let inner = Box::into_raw(Box::new(cx.waker().clone()));
                    INNER.store(inner, Ordering::SeqCst);
                    // SAFETY: the functions ignore the data.
                    let around = unsafe { Waker::new(cx.waker().data(), &AROUND) };
                    other.as_mut().poll(&mut Context::from_waker(&around))
                }).await;
                assert_eq!(Instant::now(), Instant::from_millis(5));
            }
        }
        static EXECUTOR: Executor<Up64> = Executor::new(Shared);
        run(&EXECUTOR, |spawner| {
            spawner.spawn_detached(observed()).unwrap()
        });
        assert_eq!(WAKES.load(Ordering::SeqCst), 1);
    });
}

/// Nor must a task's deadline replace that of another task whose waker it uses.
#[test]
fn a_task_may_ask_for_another_one() {
    alone(|| {
        tasks! {
            async fn asking(others: Rc<RefCell<Option<Waker>>>), pool = 1 {
                let mut own = pin!(Timer::after(ms(3)));
                future::poll_fn(|cx| {
                    let poll = own.as_mut().poll(cx);
                    if let Some(other) = others.borrow_mut().take() {
                        embassy_time_driver::schedule_wake(5000, &other);
                    }
                    poll
                }).await;
                assert_eq!(Instant::now(), Instant::from_millis(3));
            }
            async fn silent(waker: Rc<RefCell<Option<Waker>>>), pool = 1 {
                let mut is_first = true;
                future::poll_fn(|cx| {
                    if std::mem::take(&mut is_first) {
                        *waker.borrow_mut() = Some(cx.waker().clone());
                        return Poll::Pending;
                    }
                    Poll::Ready(())
                }).await;
                assert_eq!(Instant::now(), Instant::from_millis(5));
            }
        }
        static EXECUTOR: Executor<Up64> = Executor::new(Shared);
        let waker = Rc::<RefCell<Option<Waker>>>::default();
        run(&EXECUTOR, |spawner| {
            spawner.spawn_detached(silent(Rc::clone(&waker))).unwrap();
            spawner.spawn_detached(asking(Rc::clone(&waker))).unwrap();
        });
    });
}

/// A handler or another thread may use a task's waker. That is not a poll of the task, so the waker
/// is one of the others there.
#[test]
fn a_tasks_waker_may_be_used_elsewhere() {
    alone(|| {
        tasks! {
            async fn sleeper(), pool = 1 {
                let mut is_first = true;
                future::poll_fn(|cx| {
                    let waker = cx.waker().clone();
                    if std::mem::take(&mut is_first) {
                        let ask = move || embassy_time_driver::schedule_wake(2000, &waker);
                        thread::spawn(ask).join().unwrap();
                        return Poll::Pending;
                    }
                    Poll::Ready(())
                }).await;
                assert_eq!(Instant::now(), Instant::from_millis(2));
            }
            async fn asking_for_it(waker: Rc<RefCell<Option<Waker>>>), pool = 1 {
                future::poll_fn(|cx| {
                    let is_first = waker.borrow().is_none();
                    *waker.borrow_mut() = Some(cx.waker().clone());
                    if is_first { Poll::Pending } else { Poll::Ready(()) }
                }).await;
                assert_eq!(Instant::now(), Instant::from_millis(7));
            }
        }
        static EXECUTOR: Executor<Up64> = Executor::new(Shared);
        run(&EXECUTOR, |spawner| {
            spawner.spawn_detached(sleeper()).unwrap()
        });
        // Between polls.
        let waker = Rc::<RefCell<Option<Waker>>>::default();
        let mut runner = EXECUTOR.enter().unwrap();
        let task = asking_for_it(Rc::clone(&waker));
        runner.spawner().spawn_detached(task).unwrap();
        assert_eq!(runner.run_until_idle().next_deadline, None);
        embassy_time_driver::schedule_wake(7000, waker.borrow().as_ref().unwrap());
        runner.run(Skip);
        assert_eq!(early_wakes(), 0);
    });
}

/// Sleeps of 0 to `number` milliseconds, each with a waker of its own: they end in order, none
/// early, and if there is room for all, none late.
async fn naps(number: u64, late: Duration) {
    let start = Instant::now();
    let naps = (0..number)
        .map(|nap| nap * 11 % number)
        .map(|nap| async move {
            Timer::at(start + ms(nap)).await;
            let took = start.elapsed();
            assert!(took >= ms(nap) && took <= ms(nap) + late, "{nap}: {took:?}");
            nap
        });
    let naps: Vec<_> = naps.collect::<FuturesUnordered<_>>().collect().await;
    assert!(naps.into_iter().eq(0..number));
}

/// `FuturesUnordered` polls each future with a waker of its own.
#[test]
fn futures_with_wakers_of_their_own_end_in_order() {
    const MANY: u64 = 3 * OTHER_WAKERS as u64 + 1;
    alone(|| {
        tasks! {
            async fn few(), pool = 1 { naps(OTHER_WAKERS as u64, ms(0)).await }
            async fn many(), pool = 1 {
                // If the table cannot grow, a wake may come during a pause.
                naps(MANY, if cfg!(feature = "alloc") { ms(0) } else { ms(1) }).await
            }
        }
        static EXECUTOR: Executor<Up64> = Executor::new(Shared);
        run(&EXECUTOR, |spawner| {
            spawner.spawn_detached(few()).unwrap();
        });
        block_on(naps(OTHER_WAKERS as u64 - 1, ms(0)), Skip);
        assert_eq!(early_wakes(), 0);
        run(&EXECUTOR, |spawner| {
            spawner.spawn_detached(many()).unwrap();
        });
        assert!(early_wakes() > 0, "it was full");
    });
}

/// The same for sleeps that are dropped: their entries do not stay taken.
#[test]
fn entries_of_dropped_futures_are_evicted() {
    alone(|| {
        host::init();
        let hours = || (0..OTHER_WAKERS).map(|_| Timer::after(Duration::from_secs(3600)));
        for round in 0..5 {
            let sleeps = hours().collect::<FuturesUnordered<_>>().collect::<Vec<_>>();
            let limited = async { assert!(with_timeout(ms(1), sleeps).await.is_err()) };
            block_on(limited, Skip);
            assert_eq!(Instant::now(), Instant::from_millis(round + 1));
            // Each is evicted once; a full table that can grow also wakes those that have just
            // come.
            let once = round * OTHER_WAKERS as u64;
            let most = once * if cfg!(feature = "alloc") { 2 } else { 1 };
            assert!((once..=most).contains(&early_wakes()), "{}", early_wakes());
        }
    });
}

/// A program that adds the entries it needs.
#[test]
fn more_wakers_use_the_added_room() {
    const MORE: usize = 100;
    static FIRST: MoreWakers<1> = MoreWakers::new();
    static SECOND: MoreWakers<{ MORE - 1 }> = MoreWakers::new();
    alone(|| {
        host::init();
        assert_eq!(FIRST.add(), Ok(()));
        let refused = FIRST.add().unwrap_err();
        assert_eq!(refused, AlreadyAdded);
        assert!(
            refused.to_string().contains("add each `MoreWakers` once"),
            "{refused}"
        );
        block_on(naps(OTHER_WAKERS as u64 + 1, ms(0)), Skip);
        // Also after the first ones were used.
        assert_eq!(SECOND.add(), Ok(()));
        let all = OTHER_WAKERS + MORE;
        for _ in 0..3 {
            block_on(naps(all as u64, ms(0)), Skip);
            assert_eq!(early_wakes(), 0);
        }
        // The first of these does not wait.
        assert_eq!(most_wakers(), all - 1);
    });
}
