//! Tasks that run another executor, or `block_on`; and what `current_task` returns meanwhile.
//!
//! The current task is one for all threads, so each test runs in a process of its own.

use super::*;
use core::future::{pending, poll_fn, ready};
use std::sync::mpsc;

/// Asserts that the current task's name ends like this.
#[track_caller]
fn assert_current(name: &str) {
    let current = current_task().expect("a task is being polled");
    assert!(
        current.ends_with(name),
        "{current} is current instead of {name}"
    );
}

#[test]
fn the_current_task_is_the_one_that_is_polled_or_dropped() {
    struct Named(&'static str);
    impl Drop for Named {
        fn drop(&mut self) {
            assert_current(self.0);
        }
    }
    tasks! {
        async fn first(), pool = 1 {
            let _named = Named("::first");
            assert_current("::first");
            turns(1).await;
            assert_current("::first");
        }
        async fn left(), pool = 1 { let _named = Named("::left"); pending().await }
        async fn second(), pool = 1 {
            let _named = Named("::second");
            assert_current("::second");
            pending().await
        }
    }
    alone(|| {
        let executor = executor::<Up64>();
        let mut runner = executor.enter().unwrap();
        let spawner = runner.spawner();
        assert_eq!(current_task(), None);
        spawner.spawn_detached(first()).unwrap();
        let second = spawner.spawn(second()).unwrap();
        assert_eq!(current_task(), None);
        runner.pass();
        assert_eq!(current_task(), None);
        runner.run_until_idle();
        assert_eq!(current_task(), None);
        second.abort();
        runner.run(NeverIdle);
        assert_eq!(current_task(), None);
        // A task that is dropped with the runner.
        spawner.spawn_detached(left()).unwrap();
        runner.pass();
        drop(runner);
        assert_eq!(current_task(), None);
    });
}

#[test]
fn no_task_is_current_when_its_output_is_dropped() {
    struct Output(Drops);
    impl Drop for Output {
        fn drop(&mut self) {
            assert_eq!(current_task(), None);
            drop(self.0.counted());
        }
    }
    tasks! { async fn task(output: Output) -> Output, pool = 1 { output } }
    alone(|| {
        let executor = executor::<Up64>();
        let mut runner = executor.enter().unwrap();
        let drops = Drops::default();
        // With the end of a detached task; with the handle; after a join.
        let task = || task(Output(drops.clone()));
        runner.spawner().spawn_detached(task()).unwrap();
        runner.pass();
        let handle = runner.spawner().spawn(task()).unwrap();
        runner.pass();
        drop(handle);
        runner.pass();
        let handle = runner.spawner().spawn(task()).unwrap();
        runner.pass();
        drop(end_of(handle));
        assert_eq!(drops.count(), 3);
    });
}

#[test]
fn no_task_is_current_while_the_executor_waits_or_serves_timers() {
    struct Watching(Station);
    impl Idle for Watching {
        fn wait(&mut self, cx: &IdleContext<'_>) {
            assert_eq!(current_task(), None);
            self.0.wait(cx);
        }
    }
    tasks! {
        async fn sleeper(station: Station), pool = 1 {
            station.timer(5).await;
            assert_current("::sleeper");
        }
    }
    alone(|| {
        let station = Station::new();
        let executor = executor::<Up64>();
        let mut runner = executor.enter().unwrap().with_timers(station.timers);
        runner.spawner().spawn_detached(sleeper(station)).unwrap();
        runner.run(Watching(station));
    });
}

#[test]
fn after_a_nested_run_the_outer_task_is_current_again() {
    type Inner = &'static Executor<Up64>;
    tasks! {
        async fn outer(inner: Inner), pool = 1 {
            let mut runner = inner.enter().expect("it has no runner");
            assert_current("::outer");
            let spawner = runner.spawner();
            spawner.spawn_detached(within()).unwrap();
            assert_current("::outer");
            runner.run_until_idle();
            assert_current("::outer");
            runner.run(NeverIdle);
            assert_current("::outer");
            spawner.spawn_detached(waits()).unwrap();
            runner.run_until_idle();
            drop(runner);
            assert_current("::outer");
            turns(1).await;
            assert_current("::outer");
        }
        async fn within(), pool = 1 {
            for _ in 0..3 { assert_current("::within"); turns(1).await; }
        }
        async fn waits(), pool = 1 { pending().await }
    }
    alone(|| {
        let (executor, inner) = (executor::<Up64>(), executor::<Up64>());
        let mut runner = executor.enter().unwrap();
        let handle = runner.spawner().spawn(outer(inner)).unwrap();
        runner.run(NeverIdle);
        assert_eq!(end_of(handle), Ok(()));
        assert_eq!(current_task(), None);
    });
}

#[test]
fn after_a_task_that_panicked_none_is_current() {
    tasks! {
        async fn bad(), pool = 1 { assert_current("::bad"); unwind() }
        async fn next(), pool = 1 {}
    }
    alone(|| {
        let executor = executor::<Up64>();
        let mut runner = executor.enter().unwrap();
        let passes: [fn(&mut Runner<Up64>); 3] = [
            |runner| runner.pass(),
            |runner| runner.run(NeverIdle),
            |runner| assert_eq!(runner.run_until_idle().tasks_left, 0),
        ];
        for pass in passes {
            runner.spawner().spawn_detached(bad()).unwrap();
            assert!(unwinds(|| pass(&mut runner)));
            assert_eq!(current_task(), None);
            // It gets the slot of the task that panicked.
            runner.spawner().spawn_detached(next()).unwrap();
            assert_eq!(current_task(), None);
            runner.run(NeverIdle);
        }
    });
}

#[test]
fn a_task_runs_another_executor_to_its_end() {
    type Inner = &'static Executor<Up4096>;
    tasks! {
        async fn outer(inner: Inner, station: Station) -> u32, pool = 2 {
            turns(1).await;
            let runner = inner.enter().expect("it has no runner");
            let mut runner = runner.with_timers(station.timers);
            let handle = runner.spawner().spawn(sum(station)).unwrap();
            runner.run(station);
            // This task continues in the outer executor, whose timers are the same.
            station.timer(100).await;
            handle.await.unwrap()
        }
        async fn sum(station: Station) -> u32, pool = 1 {
            station.timer(10).await;
            turns(3).await;
            41
        }
        async fn ticks(station: Station) -> u64, pool = 1 { station.timer(5).await; station.now() }
    }
    alone(|| {
        let station = Station::new();
        let (executor, inner) = (executor::<Up64>(), executor::<Up4096>());
        let mut runner = executor.enter().unwrap().with_timers(station.timers);
        let ticks = runner.spawner().spawn(ticks(station)).unwrap();
        let sum = runner.spawner().spawn(outer(inner, station)).unwrap();
        runner.run(station);
        // The inner runner serves its timer, but only its own runner polls it.
        assert_eq!((end_of(ticks), end_of(sum)), (Ok(10), Ok(41)));
        assert_eq!((station.now(), station.clock.alarm()), (100, None));
    });
}

/// An idle policy that runs another executor.
struct Turning(Runner<Up64>);

impl Idle for Turning {
    fn wait(&mut self, cx: &IdleContext<'_>) {
        assert!(cx.is_idle());
        self.0.run_until_idle();
    }
}

#[test]
fn block_on_awaits_a_handle_in_and_out_of_tasks() {
    type Inner = &'static Executor<Up64>;
    tasks! {
        async fn task(output: u32) -> u32, pool = 4 { turns(5).await; output }
        async fn outer(inner: Inner) -> u32, pool = 1 {
            let runner = inner.enter().expect("it has no runner");
            let handle = runner.spawner().spawn(task(20)).unwrap();
            let output = crate::block_on(handle, Turning(runner)).unwrap();
            assert_current("::outer");
            turns(2).await;
            output + crate::block_on(ready(1), NeverIdle)
        }
        async fn waits(), pool = 1 { pending().await }
    }
    alone(|| {
        let (executor, inner) = (executor::<Up64>(), executor::<Up64>());
        let mut runner = executor.enter().unwrap();
        // The handle of a task that has ended.
        let handle = runner.spawner().spawn(outer(inner)).unwrap();
        runner.run(NeverIdle);
        assert_eq!(crate::block_on(handle, NeverIdle), Ok(21));
        // The handle of a task that runs meanwhile, and of one that is aborted.
        let handle = runner.spawner().spawn(task(3)).unwrap();
        let waits = runner.spawner().spawn(waits()).unwrap();
        let abort = waits.abort_handle();
        let both = async {
            let three = handle.await;
            abort.abort();
            (three, waits.await)
        };
        assert_eq!(
            crate::block_on(both, Turning(runner)),
            (Ok(3), Err(Aborted))
        );
    });
}

/// An idle policy that waits for other threads.
struct Ask;

impl Idle for Ask {
    fn wait(&mut self, cx: &IdleContext<'_>) {
        while cx.is_idle() {
            std::thread::yield_now();
        }
    }
}

/// A future that only contains a handle may end for another reason.
#[test]
fn block_on_a_future_that_polls_a_handle_of_the_same_executor_is_allowed() {
    tasks! {
        async fn waits(), pool = 2 { pending().await }
        async fn polls(spawner: Spawner), pool = 1 {
            let mut borrowed = spawner.spawn(waits()).unwrap();
            crate::block_on(poll_fn(|cx| {
                assert!(poll_with(&mut borrowed, cx.waker()).is_pending());
                Poll::Ready(())
            }), NeverIdle);
            // As large as the handle, and at the same address.
            let mut moved = spawner.spawn(waits()).unwrap();
            crate::block_on(poll_fn(move |cx| {
                assert!(poll_with(&mut moved, cx.waker()).is_pending());
                Poll::Ready(())
            }), NeverIdle);
        }
    }
    alone(|| {
        let mut runner = executor::<Up64>().enter().unwrap();
        let spawner = runner.spawner();
        spawner.spawn_detached(polls(spawner)).unwrap();
        assert_eq!(runner.run_until_idle().tasks_left, 2);
    });
}

/// The runner is in the poll of the task that waits, so it cannot poll the other one.
#[test]
fn block_on_a_task_of_the_same_executor_panics() {
    tasks! {
        async fn waits(), pool = 2 { pending().await }
        async fn ends() -> u32, pool = 1 { 7 }
        async fn blocks(spawner: Spawner), pool = 1 {
            // A task that has ended is not waited for.
            let ends = spawner.spawn(ends()).unwrap();
            turns(2).await;
            assert_eq!(crate::block_on(ends, NeverIdle), Ok(7));
            let other = spawner.spawn(waits()).unwrap();
            let _ = crate::block_on(other, NeverIdle);
        }
    }
    alone(|| {
        let executor = executor::<Up64>();
        let mut runner = executor.enter().unwrap();
        let spawner = runner.spawner();
        let other = spawner.spawn(waits()).unwrap();
        spawner.spawn_detached(blocks(spawner)).unwrap();
        let panic = catch_unwind(AssertUnwindSafe(|| runner.run_until_idle())).unwrap_err();
        let text = panic.downcast_ref::<&str>().expect("a message");
        assert!(text.contains("await the handle instead"), "{text}");
        // Outside of tasks, the idle policy may run the tasks.
        other.abort();
        assert_eq!(crate::block_on(other, Turning(runner)), Err(Aborted));
    });
}

#[test]
fn block_on_awaits_handles_of_an_executor_on_another_thread() {
    tasks! { async fn echo(value: u64) -> u64, pool = 8 { turns(2).await; value } }
    alone(|| {
        let executor = executor::<Up64>();
        let (stop, stopped) = mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            let mut runner = executor.enter().unwrap();
            while matches!(stopped.try_recv(), Err(mpsc::TryRecvError::Empty)) {
                runner.pass();
                std::thread::yield_now();
            }
        });
        for value in 0..if cfg!(miri) { 20 } else { 2_000 } {
            let handle = executor.remote().spawn(echo(value)).unwrap();
            let detached = executor.remote().spawn(echo(value)).unwrap();
            if value % 3 == 0 {
                drop(detached);
            } else {
                detached.abort();
                let end = crate::block_on(detached, Ask);
                assert!(end == Ok(value) || end == Err(Aborted));
            }
            assert_eq!(crate::block_on(handle, Ask), Ok(value));
        }
        drop(stop);
        thread.join().expect("the runner's thread ends");
    });
}

/// A task wakes tasks of an executor that it runs, and they wake it.
#[test]
fn tasks_of_nested_executors_wake_one_another() {
    type Inner = &'static Executor<Up64>;
    tasks! {
        async fn outer(inner: Inner, waker: Arc<Mutex<Option<Waker>>>), pool = 1 {
            let mut runner = inner.enter().expect("it has no runner");
            for round in 0..3 {
                poll_fn(|cx| {
                    *waker.lock().unwrap() = Some(cx.waker().clone());
                    Poll::Ready(())
                }).await;
                let handle = runner.spawner().spawn(wakes_back(waker.clone())).unwrap();
                // Waits for the wake by the inner task, which runs during this poll.
                let mut first = true;
                poll_fn(|_| {
                    if !core::mem::take(&mut first) {
                        return Poll::Ready(());
                    }
                    runner.run(NeverIdle);
                    Poll::Pending
                }).await;
                assert_eq!(handle.await, Ok(()), "round {round}");
            }
        }
        async fn wakes_back(waker: Arc<Mutex<Option<Waker>>>), pool = 1 {
            turns(1).await;
            waker.lock().unwrap().take().expect("the outer task's").wake();
        }
    }
    let (executor, inner) = (executor::<Up64>(), executor::<Up64>());
    let mut runner = executor.enter().unwrap();
    let handle = runner
        .spawner()
        .spawn(outer(inner, Arc::default()))
        .unwrap();
    runner.run(NeverIdle);
    assert_eq!(end_of(handle), Ok(()));
}
