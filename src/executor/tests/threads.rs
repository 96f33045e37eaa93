//! Several threads use the same executor: a task sees what was written before its wake, and every
//! future and output is dropped once, in any order of aborts, joins and drops.

use super::*;
use core::{future::poll_fn, marker::PhantomData};
use std::sync::{Barrier, atomic::AtomicBool};

const ROUNDS: usize = if cfg!(miri) { 40 } else { 4_000 };

/// Makes passes until `stop` is set, and then runs until no task is left.
fn serve<C: Capacity>(executor: &'static Executor<C>, stop: &AtomicBool) {
    while !stop.load(Ordering::SeqCst) {
        // Runners enter and leave.
        let mut runner = executor.enter().unwrap();
        for _ in 0..50 {
            runner.pass();
            thread::yield_now();
        }
    }
    executor.enter().unwrap().run(NeverIdle);
}

#[test]
fn each_wake_leads_to_a_visit_that_sees_what_was_written_before() {
    struct Cell {
        written: AtomicUsize,
        seen: AtomicUsize,
    }
    tasks! {
        async fn reader(cell: Arc<Cell>, waker: std::sync::mpsc::Sender<Waker>), pool = 128 {
            poll_fn(|cx| {
                if cell.written.load(Ordering::Relaxed) == 0 {
                    waker.send(cx.waker().clone()).unwrap();
                }
                cell.seen.store(cell.written.load(Ordering::Relaxed), Ordering::Relaxed);
                match cell.written.load(Ordering::Relaxed) {
                    ROUNDS => Poll::Ready(()),
                    _ => Poll::Pending,
                }
            }).await;
        }
    }
    let executor = executor::<Up4096>();
    // The slots are in several words.
    let mut runner = executor.enter().unwrap();
    let cells: Vec<_> = (0..128)
        .map(|_| {
            let (sender, receiver) = std::sync::mpsc::channel();
            let cell = Arc::new(Cell {
                written: AtomicUsize::new(0),
                seen: AtomicUsize::new(0),
            });
            executor
                .remote()
                .spawn_detached(reader(cell.clone(), sender))
                .unwrap();
            runner.pass();
            (cell, receiver.recv().expect("it was polled"))
        })
        .collect();
    let barrier = Barrier::new(3);
    thread::scope(|scope| {
        for _ in 0..2 {
            let (cells, barrier) = (&cells, &barrier);
            scope.spawn(move || {
                barrier.wait();
                for round in 1..=ROUNDS {
                    // Both threads wake these four tasks, in slots of two words.
                    let (cell, waker) = &cells[[0, 1, 63, 64][round % 4]];
                    cell.written.store(round, Ordering::Relaxed);
                    waker.wake_by_ref();
                }
                for (cell, waker) in cells {
                    cell.written.store(ROUNDS, Ordering::Relaxed);
                    waker.wake_by_ref();
                }
            });
        }
        barrier.wait();
        // No wake is lost, so this ends. Where a guest would halt, the policy polls.
        struct Ask;
        impl Idle for Ask {
            fn wait(&mut self, cx: &IdleContext<'_>) {
                let start = std::time::Instant::now();
                while cx.is_idle() {
                    thread::yield_now();
                    assert!(start.elapsed().as_secs() < 60, "a wake was lost");
                }
            }
        }
        runner.run(Ask);
    });
    assert!(
        cells
            .iter()
            .all(|(cell, _)| cell.seen.load(Ordering::Relaxed) == ROUNDS)
    );
}

/// Three threads spawn tasks, abort and poll them, and drop handles, while runners enter and leave.
#[test]
fn every_future_and_output_is_dropped_once() {
    tasks! {
        async fn task(turns: usize, future: Counted, output: Counted) -> Counted, pool = 48 {
            let _future = future;
            super::turns(turns).await;
            output
        }
    }
    let executor = executor::<Up64>();
    let (futures, outputs) = (Drops::default(), Drops::default());
    let stop = AtomicBool::new(false);
    let spawned = AtomicUsize::new(0);
    thread::scope(|scope| {
        let server = scope.spawn(|| serve(executor, &stop));
        let clients: Vec<_> = (0..3_usize)
            .map(|client| {
                let (futures, outputs, spawned) = (&futures, &outputs, &spawned);
                scope.spawn(move || {
                    let mut kept = Vec::new();
                    let mut aborts: Vec<AbortHandle> = Vec::new();
                    for round in 0..ROUNDS {
                        let task = task(round % 4, futures.counted(), outputs.counted());
                        spawned.fetch_add(1, Ordering::SeqCst);
                        match executor.remote().spawn(task) {
                            Ok(handle) => {
                                aborts.push(handle.abort_handle());
                                kept.push(handle);
                            }
                            Err(error) => assert_eq!(error.kind(), SpawnErrorKind::PoolFull),
                        }
                        if aborts.len() > 20 {
                            aborts.drain(..10);
                        }
                        match (round * 7 + client) % 11 {
                            0 => aborts.iter().for_each(AbortHandle::abort),
                            1..4 => drop(kept.pop()),
                            4 => kept.iter().for_each(JoinHandle::abort),
                            _ => kept.retain_mut(|handle| poll_once(handle).is_pending()),
                        }
                        if kept.len() > 8 {
                            drop(kept.swap_remove(round % 8));
                        }
                    }
                })
            })
            .collect();
        let clients = clients.into_iter().map(thread::ScopedJoinHandle::join);
        let failed = clients.filter(Result::is_err).count();
        stop.store(true, Ordering::SeqCst);
        server.join().expect("the runner's thread ends");
        assert_eq!(failed, 0);
    });
    let spawned = spawned.into_inner();
    assert_eq!((futures.count(), outputs.count()), (spawned, spawned));
    assert_eq!((executor.tasks(), executor.core.ended()), (0, 0));
}

/// Another thread than the runner's has the handles of local tasks, whose outputs are `Send`.
#[test]
fn handles_of_local_tasks_may_be_used_elsewhere_while_their_runner_leaves() {
    tasks! {
        async fn task(local: std::rc::Rc<()>, output: Counted) -> Counted, pool = 8 {
            turns(2).await;
            drop(local);
            output
        }
    }
    let executor = executor::<Up64>();
    let outputs = Drops::default();
    for round in 0..ROUNDS {
        let mut runner = executor.enter().unwrap();
        let handles = [(); 4].map(|()| {
            let task = task(std::rc::Rc::default(), outputs.counted());
            runner.spawner().spawn(task).unwrap()
        });
        let barrier = Barrier::new(2);
        thread::scope(|scope| {
            scope.spawn(|| {
                barrier.wait();
                for (number, mut handle) in handles.into_iter().enumerate() {
                    match number {
                        0 => handle.abort(),
                        1 => drop(handle),
                        _ => drop(poll_once(&mut handle)),
                    }
                }
            });
            (0..round % 4).for_each(|_| runner.pass());
            barrier.wait();
            runner.pass();
            drop(runner);
        });
        // All outputs were dropped, by the other thread or by the runner.
        assert_eq!(outputs.count(), 4 * (round + 1));
        assert_eq!((executor.tasks(), executor.core.ended()), (0, 0));
    }
}

/// Several threads are the first to use an executor, at once.
#[test]
fn an_executor_may_be_opened_by_several_threads() {
    tasks! { async fn task(counted: Counted), pool = 64 { drop(counted); } }
    static HOOKED: AtomicUsize = AtomicUsize::new(0);
    for round in 0..if cfg!(miri) { 5 } else { 300 } {
        let executor = executor::<Up4096>();
        let drops = Drops::default();
        let barrier = Barrier::new(3);
        HOOKED.store(0, Ordering::SeqCst);
        let in_time = thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    barrier.wait();
                    executor
                        .remote()
                        .spawn_detached(task(drops.counted()))
                        .unwrap();
                });
            }
            let hook = scope.spawn(|| {
                barrier.wait();
                executor.on_wake(|| {
                    HOOKED.fetch_add(1, Ordering::SeqCst);
                });
            });
            hook.join().is_ok()
        });
        // The hook is called for each wake, or was refused.
        let hooked = if in_time { 2 } else { 0 };
        assert_eq!(HOOKED.load(Ordering::SeqCst), hooked, "round {round}");
        executor.enter().unwrap().run(NeverIdle);
        assert_eq!(drops.count(), 2);
    }
}

/// Another thread polls the handle just when the task ends.
#[test]
fn a_handle_is_polled_while_its_task_ends() {
    tasks! { async fn task(counted: Counted) -> Counted, pool = 1 { counted } }
    let executor = executor::<Up64>();
    let mut runner = executor.enter().unwrap();
    let drops = Drops::default();
    for round in 0..ROUNDS {
        let mut handle = executor.remote().spawn(task(drops.counted())).unwrap();
        let counter = Arc::new(Counter::default());
        let waker = Waker::from(counter.clone());
        let barrier = Barrier::new(2);
        thread::scope(|scope| {
            scope.spawn(|| {
                barrier.wait();
                if poll_with(&mut handle, &waker).is_pending() {
                    // The end wakes it.
                    while counter.wakes() == 0 {
                        thread::yield_now();
                    }
                    assert!(poll_once(&mut handle).is_ready());
                }
            });
            barrier.wait();
            runner.pass();
        });
        drop(handle);
        assert_eq!(drops.count(), round + 1);
        drop(waker);
        assert_eq!(Arc::strong_count(&counter), 1);
    }
}

/// Threads that cannot be told apart, as vCPUs without task state segments of their own.
mod undistinguished {
    use super::*;
    use crate::vcpu::IS_UNKNOWN;

    /// Waits at a barrier when it is dropped, before and after something else.
    struct Meets<'a>(&'a Barrier);

    impl Drop for Meets<'_> {
        fn drop(&mut self) {
            self.0.wait();
            self.0.wait();
        }
    }

    /// Notes the thread that drops it. It is not `Send`.
    struct Local(Arc<Mutex<Option<thread::ThreadId>>>, PhantomData<*mut ()>);

    impl Drop for Local {
        fn drop(&mut self) {
            *self.0.lock().unwrap() = Some(thread::current().id());
        }
    }

    #[test]
    fn a_local_output_is_dropped_by_its_own_thread() {
        tasks! {
            async fn sent(output: Meets<'static>) -> Meets<'static>, pool = 1 { output }
            async fn local(output: Local) -> Local, pool = 1 { output }
        }
        let barrier = leak(Barrier::new(2));
        let executor = executor::<Up64>();
        IS_UNKNOWN.set(true);
        let mut runner = executor.enter().unwrap();
        let dropped_by = Arc::default();
        let sent = executor.remote().spawn(sent(Meets(barrier))).unwrap();
        let output = Local(Arc::clone(&dropped_by), PhantomData);
        let local = runner.spawner().spawn(local(output)).unwrap();
        runner.pass();
        let other = thread::spawn(move || {
            IS_UNKNOWN.set(true);
            drop(sent);
        });
        barrier.wait();
        drop(local);
        barrier.wait();
        other.join().expect("it drops its output");
        assert_eq!(*dropped_by.lock().unwrap(), Some(thread::current().id()));
        assert_eq!((executor.tasks(), executor.core.ended()), (0, 0));
    }

    /// The runner's thread polls a task; another thread awaits a second one.
    #[test]
    fn block_on_a_task_of_a_runner_elsewhere_is_allowed() {
        tasks! {
            async fn polls(barrier: &'static Barrier), pool = 1 { barrier.wait(); barrier.wait(); }
            async fn ends(), pool = 1 {}
        }
        alone(|| {
            let barrier = leak(Barrier::new(2));
            let executor = executor::<Up64>();
            let remote = executor.remote();
            remote.spawn_detached(polls(barrier)).unwrap();
            let ends = remote.spawn(ends()).unwrap();
            let runner = thread::spawn(move || {
                IS_UNKNOWN.set(true);
                executor.enter().unwrap().run(NeverIdle);
            });
            IS_UNKNOWN.set(true);
            barrier.wait();
            // Its first wait lets the polled task end: the poll of the handle was not refused.
            struct Continues(&'static Barrier);
            impl Idle for Continues {
                fn wait(&mut self, cx: &IdleContext<'_>) {
                    self.0.wait();
                    while cx.is_idle() {
                        thread::yield_now();
                    }
                }
            }
            assert_eq!(crate::block_on(ends, Continues(barrier)), Ok(()));
            runner.join().expect("no task is left");
        });
    }
}
