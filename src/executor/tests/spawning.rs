//! The number of tasks that can exist, and the errors when there is no room.

use super::*;
use core::future::{pending, poll_fn, ready};
use std::collections::BTreeSet;

#[test]
fn a_full_pool_and_a_full_executor_are_two_errors_that_return_the_task() {
    tasks! {
        fn few(counted: Counted) -> core::future::Ready<Counted>, pool = 2 { ready(counted) }
        async fn many(number: usize) -> usize, pool = 100 { number }
    }
    let executor = executor::<Up64>();
    let mut runner = executor.enter().unwrap();
    let (spawner, remote) = (runner.spawner(), executor.remote());
    let drops = Drops::default();
    let handles = [(); 2].map(|()| spawner.spawn(few(drops.counted())).unwrap());
    let refused = remote.spawn(few(drops.counted())).unwrap_err();
    assert_eq!(refused.kind(), SpawnErrorKind::PoolFull);
    assert!(refused.to_string().contains("pool"), "{refused}");
    let refused_few = refused.into_task();

    let many_handles: Vec<_> = (0..62).map(|n| spawner.spawn(many(n)).unwrap()).collect();
    let refused = spawner.spawn(many(62)).unwrap_err();
    assert_eq!(refused.kind(), SpawnErrorKind::ExecutorFull);
    assert!(refused.to_string().contains("executor"), "{refused}");
    let refused_many = remote.spawn(refused.into_task()).unwrap_err().into_task();
    let refused = spawner.spawn_detached(many(63)).unwrap_err();
    assert_eq!(refused.kind(), SpawnErrorKind::ExecutorFull);
    assert_eq!(
        crate::block_on(refused.into_task().into_future(), NeverIdle),
        63
    );
    assert_eq!(executor.tasks(), 64);

    // Tasks that have ended keep their slots as long as their handles exist.
    runner.run(NeverIdle);
    assert_eq!((executor.tasks(), executor.core.ended()), (0, 64));
    let refused_few = spawner.spawn(refused_few).unwrap_err().into_task();
    let refused_many = spawner.spawn(refused_many).unwrap_err().into_task();
    assert_eq!(drops.count(), 0);
    let [one, two] = handles;
    drop(end_of(one).unwrap());
    assert_eq!(drops.count(), 1);
    let few_again = spawner.spawn(refused_few).unwrap();
    // An output that was not taken is dropped with its handle, which frees its slot.
    let refused_many = spawner.spawn(refused_many).unwrap_err().into_task();
    drop(two);
    assert_eq!(drops.count(), 2);
    let many_again = remote.spawn(refused_many).unwrap();
    runner.run(NeverIdle);
    assert_eq!(end_of(many_again), Ok(62));
    drop(end_of(few_again).unwrap());
    let ends: Vec<_> = many_handles
        .into_iter()
        .map(|handle| end_of(handle).unwrap())
        .collect();
    assert_eq!(ends, (0..62).collect::<Vec<_>>());
    assert_eq!((executor.core.ended(), drops.count()), (0, 3));
}

#[test]
fn no_slot_is_lost_or_used_twice() {
    tasks! {
        async fn task(number: usize, taken: Arc<Mutex<BTreeSet<usize>>>) -> (usize, usize),
            pool = 64
        {
            let slot = poll_fn(|cx| Poll::Ready(cx.waker().data().addr() % 64)).await;
            assert!(taken.lock().unwrap().insert(slot), "two tasks have slot {slot}");
            turns(number % 3).await;
            (number, slot)
        }
    }
    let executor = executor::<Up64>();
    let mut runner = executor.enter().unwrap();
    let (mut handles, taken) = (Vec::new(), Arc::default());
    for round in 0..if cfg!(miri) { 10 } else { 200 } {
        while handles.len() < 64 {
            let number = handles.len() + 64 * round;
            let task = task(number, Arc::clone(&taken));
            handles.push((number, runner.spawner().spawn(task).unwrap()));
        }
        let another = task(0, Arc::clone(&taken));
        assert_eq!(
            runner.spawner().spawn(another).unwrap_err().kind(),
            SpawnErrorKind::PoolFull
        );
        runner.run(NeverIdle);
        assert_eq!(taken.lock().unwrap().len(), 64);
        // Some tasks are joined, in another order each time.
        for step in 0..40 {
            let (number, handle) = handles.swap_remove((round * 31 + step * 7) % handles.len());
            let (output, slot) = end_of(handle).unwrap();
            assert_eq!(output, number);
            taken.lock().unwrap().remove(&slot);
        }
    }
}

#[test]
fn a_pool_has_one_limit_for_all_executors() {
    tasks! { async fn task(), pool = 3 { pending().await } }
    let (first, second) = (executor::<Up64>(), executor::<Up64>());
    let runners = (first.enter().unwrap(), second.enter().unwrap());
    let (one, two) = (runners.0.spawner(), runners.1.spawner());
    one.spawn_detached(task()).unwrap();
    two.spawn_detached(task()).unwrap();
    one.spawn_detached(task()).unwrap();
    assert_eq!(
        two.spawn(task()).unwrap_err().kind(),
        SpawnErrorKind::PoolFull
    );
    drop(runners.0);
    two.spawn_detached(task()).unwrap();
    two.spawn_detached(task()).unwrap();
    assert_eq!(
        two.spawn(task()).unwrap_err().kind(),
        SpawnErrorKind::PoolFull
    );
    drop(runners.1);
}

#[test]
fn spawners_of_a_dropped_runner_return_errors() {
    tasks! { async fn task(counted: Counted), pool = 1 { drop(counted); } }
    let executor = executor::<Up64>();
    let runner = executor.enter().unwrap();
    let (old, drops) = (runner.spawner(), Drops::default());
    drop(runner);
    for _ in 0..2 {
        let refused = old.spawn(task(drops.counted())).unwrap_err();
        assert_eq!(refused.kind(), SpawnErrorKind::RunnerGone);
        assert!(refused.to_string().contains("runner"), "{refused}");
        assert_eq!(drops.count(), 0);
        let refused = refused.into_task();
        // The old spawner fails even when there is another runner.
        let mut runner = executor.enter().unwrap();
        let refused = old.spawn_detached(refused).unwrap_err().into_task();
        runner.spawner().spawn_detached(refused).unwrap();
        runner.run(NeverIdle);
        assert_eq!(drops.0.swap(0, Ordering::SeqCst), 1);
    }
}

#[test]
fn futures_that_a_leaving_runner_drops_cannot_spawn_local_tasks() {
    struct Spawning(Spawner, RemoteSpawner, Drops);
    impl Drop for Spawning {
        fn drop(&mut self) {
            let local = self.0.spawn(late(self.2.counted()));
            assert_eq!(local.unwrap_err().kind(), SpawnErrorKind::RunnerGone);
            self.1.spawn_detached(late(self.2.counted())).unwrap();
        }
    }
    tasks! {
        async fn spawns(spawning: Spawning), pool = 2 { let _spawning = spawning; pending().await }
        async fn late(counted: Counted), pool = 2 { turns(1).await; drop(counted); }
    }
    let executor = executor::<Up64>();
    let drops = Drops::default();
    let mut runner = executor.enter().unwrap();
    let (spawner, remote) = (runner.spawner(), executor.remote());
    for _ in 0..2 {
        let spawning = Spawning(spawner, remote, drops.clone());
        spawner.spawn_detached(spawns(spawning)).unwrap();
    }
    runner.pass();
    drop(runner);
    assert_eq!(
        (executor.tasks(), drops.count()),
        (2, 2),
        "two were refused, two are remote"
    );
    executor.enter().unwrap().run(NeverIdle);
    assert_eq!((executor.tasks(), drops.count()), (0, 4));
}

#[test]
fn futures_and_outputs_lie_at_their_alignment() {
    #[repr(align(128))]
    struct Wide([u8; 200]);
    #[repr(align(4096))]
    struct Page(u8);
    tasks! {
        async fn wide(wide: Wide) -> usize, pool = 3 {
            turns(1).await;
            let address = ptr::from_ref(&wide).addr();
            address % 128 + usize::from(wide.0[199])
        }
        async fn page(byte: u8) -> Page, pool = 2 { turns(1).await; Page(byte) }
        async fn nothing(), pool = 3 {}
    }
    let executor = executor::<Up64>();
    let mut runner = executor.enter().unwrap();
    let spawner = runner.spawner();
    let wides = [1, 2, 3].map(|byte| spawner.spawn(wide(Wide([byte; 200]))).unwrap());
    let pages = [1, 2].map(|byte| spawner.spawn(page(byte)).unwrap());
    let nothings = [(); 3].map(|()| spawner.spawn(nothing()).unwrap());
    runner.run(NeverIdle);
    assert_eq!(wides.map(end_of), [Ok(1), Ok(2), Ok(3)]);
    assert_eq!(pages.map(|page| end_of(page).unwrap().0), [1, 2]);
    assert_eq!(nothings.map(end_of), [Ok(()); 3]);
}

/// Uses all slots: all tasks are polled and end, and one more task is refused.
macro_rules! fills {
    ($name:ident, $capacity:ty, $tasks:literal) => {
        #[test]
        #[cfg_attr(miri, ignore = "too many")]
        fn $name() {
            static EXECUTOR: Executor<$capacity> = Executor::new(Shared);
            static POLLS: AtomicUsize = AtomicUsize::new(0);
            tasks! {
                async fn task(number: u32) -> u32, pool = ($tasks + 1) {
                    for _ in 0..3 {
                        POLLS.fetch_add(1, Ordering::Relaxed);
                        turns(1).await;
                    }
                    number
                }
            }
            let mut runner = EXECUTOR.enter().unwrap();
            for round in 1..=2 {
                let spawner = runner.spawner();
                let handles: Vec<_> = (0..$tasks)
                    .map(|number| spawner.spawn(task(number)).unwrap())
                    .collect();
                assert_eq!(
                    spawner.spawn(task(0)).unwrap_err().kind(),
                    SpawnErrorKind::ExecutorFull
                );
                assert_eq!(EXECUTOR.tasks(), $tasks);
                runner.pass();
                assert_eq!(POLLS.load(Ordering::Relaxed), (3 * round - 2) * $tasks);
                runner.run(NeverIdle);
                assert_eq!(POLLS.load(Ordering::Relaxed), 3 * round * $tasks);
                let ended = handles.into_iter().map(|handle| end_of(handle).unwrap());
                assert!(ended.eq(0..$tasks));
            }
            // Those that a runner leaves.
            (0..$tasks).for_each(|number| runner.spawner().spawn_detached(task(number)).unwrap());
            drop(runner);
            assert_eq!((EXECUTOR.tasks(), EXECUTOR.core.ended()), (0, 0));
        }
    };
}
fills!(sixty_four_tasks_at_once, Up64, 64);
fills!(four_thousand_and_ninety_six_tasks_at_once, Up4096, 4096);
fills!(sixty_five_thousand_tasks_at_once, Up65536, 65536);

#[cfg(feature = "alloc")]
mod on_the_heap {
    use super::*;

    #[test]
    fn tasks_of_any_future_are_spawned_refused_and_freed() {
        let executor = executor::<Up64>();
        let mut runner = executor.enter().unwrap();
        let (spawner, drops) = (runner.spawner(), Drops::default());
        let task = |number: usize| {
            let counted = drops.counted();
            Task::boxed(async move {
                turns(number % 3).await;
                (number, counted)
            })
        };
        let handles: Vec<_> = (0..64)
            .map(|number| spawner.spawn(task(number)).unwrap())
            .collect();
        let refused = spawner.spawn(task(64)).unwrap_err();
        assert_eq!(refused.kind(), SpawnErrorKind::ExecutorFull);
        runner.run(NeverIdle);
        for (number, handle) in handles.into_iter().enumerate() {
            match number % 4 {
                0 => assert_eq!(end_of(handle).unwrap().0, number),
                _ => drop(handle),
            }
        }
        runner.run(NeverIdle);
        assert_eq!(drops.count(), 64);
        spawner.spawn(refused.into_task()).unwrap().abort();
        spawner
            .spawn_detached(Task::boxed(pending::<()>()))
            .unwrap();
        runner.pass();
        drop(runner);
        assert_eq!(
            (executor.tasks(), executor.core.ended(), drops.count()),
            (0, 0, 65)
        );
        // Refused, since the runner was dropped. The task is dropped with the error.
        assert!(spawner.spawn(task(65)).is_err());
        assert_eq!(drops.count(), 66);
    }
}

/// The names of the items that `tasks!` makes do not hide likely names of a user's constants.
#[test]
fn user_constants_keep_their_meaning_in_the_macro() {
    const SIZE: usize = 3;
    const ALIGN: usize = 5;
    const POOL: usize = 7;
    const TYPE: usize = 9;
    tasks! {
        async fn size(bytes: [u8; SIZE]) -> [u8; SIZE], pool = SIZE { bytes }
        async fn align(bytes: [u8; ALIGN]) -> [u8; ALIGN], pool = ALIGN { bytes }
        async fn pool(bytes: [u8; POOL]) -> [u8; POOL], pool = POOL { bytes }
        fn kind(bytes: [u8; TYPE]) -> core::future::Ready<[u8; TYPE]>, pool = TYPE { ready(bytes) }
    }
    fn slots<F: Future + 'static>(task: impl Fn() -> Task<F>) -> usize {
        let runner = executor::<Up64>().enter().unwrap();
        let spawner = runner.spawner();
        core::iter::from_fn(|| spawner.spawn_detached(task()).ok()).count()
    }
    assert_eq!(slots(|| size([0; SIZE])), 3);
    assert_eq!(slots(|| align([0; ALIGN])), 5);
    assert_eq!(slots(|| pool([0; POOL])), 7);
    assert_eq!(slots(|| kind([0; TYPE])), 9);
}
