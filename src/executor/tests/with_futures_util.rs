//! Futures of `futures-util` run in tasks unchanged.

use super::*;
use futures_util::{
    FutureExt, StreamExt,
    future::{
        AbortHandle as OtherAbortHandle, Abortable, Either, join, join_all, select, try_join_all,
    },
    lock::Mutex as AsyncMutex,
    pin_mut,
    stream::{self, FuturesUnordered},
};
use std::rc::Rc;

/// Runs a task on an executor with a clock, and returns its output.
fn run<T: 'static, F: Future<Output = T> + 'static>(
    make: impl FnOnce(Station, Spawner) -> Task<F>,
) -> T {
    let station = Station::new();
    let mut runner = executor::<Up64>()
        .enter()
        .unwrap()
        .with_timers(station.timers);
    let spawner = runner.spawner();
    let handle = spawner.spawn(make(station, spawner)).unwrap();
    runner.run(station);
    end_of(handle).expect("the task is not aborted")
}

#[test]
fn join_all_of_handles() {
    tasks! {
        async fn all(station: Station, spawner: Spawner) -> Vec<u64>, pool = 1 {
            let spawn = |number: u64| spawner.spawn(one(station, 1 + number * 17 % 40)).unwrap();
            try_join_all((0..40).map(spawn)).await.unwrap()
        }
        async fn one(station: Station, deadline: u64) -> u64, pool = 40 {
            station.timer(deadline).await;
            deadline
        }
    }
    let expected: Vec<_> = (0..40).map(|number| 1 + number * 17 % 40).collect();
    assert_eq!(run(all), expected);
}

#[test]
fn join_all_of_futures_in_one_task() {
    tasks! {
        async fn all(station: Station, _spawner: Spawner) -> Vec<u64>, pool = 1 {
            let sleep = |deadline| async move {
                station.timer(deadline).await;
                turns(2).await;
                station.now()
            };
            join_all((1..=50).rev().map(sleep)).await
        }
    }
    assert_eq!(run(all), (1..=50).rev().collect::<Vec<_>>());
}

#[test]
fn select_drops_the_timer_that_came_second() {
    tasks! {
        async fn first(station: Station, _spawner: Spawner) -> u64, pool = 1 {
            let (late, early) = (station.timer(1_000_000), station.timer(10));
            pin_mut!(late, early);
            match select(late, early).await {
                Either::Left(_) => 0,
                Either::Right(_) => station.now(),
            }
        }
    }
    assert_eq!(run(first), 10);
}

#[test]
fn select_of_a_handle_and_a_timer_loses_nothing() {
    tasks! {
        async fn outer(station: Station, spawner: Spawner) -> (u64, u32), pool = 1 {
            let mut handle = spawner.spawn(inner(station)).unwrap();
            let mut tries = 0;
            loop {
                let timer = station.timer(station.now() + 7);
                pin_mut!(timer);
                match select(&mut handle, timer).await {
                    Either::Left((output, _)) => return (output.unwrap(), tries),
                    Either::Right(_) => tries += 1,
                }
            }
        }
        async fn inner(station: Station) -> u64, pool = 1 { station.timer(50).await; station.now() }
    }
    assert_eq!(run(outer), (50, 7));
}

#[test]
fn futures_unordered_returns_what_ends_first() {
    tasks! {
        async fn outer(station: Station, spawner: Spawner) -> Vec<u64>, pool = 1 {
            let deadlines = [30_u64, 10, 50, 20, 40];
            let spawn = |deadline| spawner.spawn(inner(station, deadline)).unwrap();
            let mut all: FuturesUnordered<_> = deadlines.into_iter().map(spawn).collect();
            let mut ended = Vec::new();
            while let Some(end) = all.next().await {
                ended.push(end.unwrap());
            }
            ended
        }
        async fn inner(station: Station, deadline: u64) -> u64, pool = 5 {
            station.timer(deadline).await;
            station.now()
        }
    }
    assert_eq!(run(outer), [10, 20, 30, 40, 50]);
}

#[test]
fn streams_run_within_a_task() {
    tasks! {
        async fn sum(station: Station, _spawner: Spawner) -> u64, pool = 1 {
            stream::iter(1..=20_u64)
                .map(|number| async move { station.timer(1 + 100 / number).await; number })
                .buffer_unordered(4)
                .filter(|number| {
                    let is_even = number % 2 == 0;
                    async move { turns(1).await; is_even }
                })
                .fold(0, |sum, number| async move { sum + number })
                .await
        }
    }
    assert_eq!(run(sum), 110);
}

#[test]
fn abortable_ends_a_future_within_a_task() {
    tasks! {
        async fn outer(station: Station, _spawner: Spawner) -> bool, pool = 1 {
            let (handle, registration) = OtherAbortHandle::new_pair();
            let sleeps = Abortable::new(async { station.timer(1_000_000).await }, registration);
            let aborts = async { station.timer(5).await; handle.abort(); };
            let (end, ()) = join(sleeps, aborts).await;
            end.is_err() && station.now() == 5
        }
    }
    assert!(run(outer));
}

#[test]
fn an_async_mutex_is_handed_from_task_to_task() {
    type Log = Rc<AsyncMutex<Vec<u32>>>;
    tasks! {
        async fn outer(_station: Station, spawner: Spawner) -> Vec<u32>, pool = 1 {
            let log = Log::default();
            let spawn = |number| spawner.spawn(inner(log.clone(), number)).unwrap();
            join_all([0, 1, 2].map(spawn)).await;
            log.lock().await.clone()
        }
        async fn inner(log: Log, number: u32), pool = 3 {
            for _ in 0..5 {
                let mut log = log.lock().await;
                turns(2).await;
                log.push(number);
            }
        }
    }
    let mut log = run(outer);
    log.sort_unstable();
    assert_eq!(log, [0, 1, 2].map(|number| [number; 5]).concat());
}

#[test]
fn shared_and_boxed_futures_run() {
    tasks! {
        async fn outer(station: Station, spawner: Spawner) -> u64, pool = 1 {
            let handle = spawner.spawn(inner(station)).unwrap();
            let shared = handle.map(Result::unwrap).boxed_local().shared();
            let (one, two) = join(shared.clone(), async { turns(3).await; shared.await }).await;
            one + two
        }
        async fn inner(station: Station) -> u64, pool = 1 { station.timer(3).await; 21 }
    }
    assert_eq!(run(outer), 42);
}
