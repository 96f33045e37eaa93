//! Timers with the wakers of many tasks, and with many wakers in one task.

use core::sync::atomic::{AtomicUsize, Ordering};

use dormir::{
    block_on,
    idle::Halt,
    tasks,
    time::embassy::{OTHER_WAKERS, early_wakes},
};
use embassy_time::{Duration, Instant, Timer, with_timeout};
use futures_util::{
    future::join_all,
    stream::{FuturesUnordered, StreamExt},
};

const TASKS: usize = 1000;

static ENDED: AtomicUsize = AtomicUsize::new(0);

/// Sleeps until `number` milliseconds after `start`.
async fn sleep(start: Instant, number: u64) {
    let deadline = start + Duration::from_millis(number);
    Timer::at(deadline).await;
    assert!(Instant::now() >= deadline, "early");
}

/// Runs `number` sleepers in a `FuturesUnordered`, which polls each with a waker of its own.
async fn sleepers(number: usize) {
    let start = Instant::now();
    // 619 is prime, so each index occurs once.
    let ranks = (0..number).map(|index| (index * 619 % number) as u64);
    let sleepers: FuturesUnordered<_> = ranks.map(|rank| sleep(start, rank)).collect();
    assert_eq!(sleepers.count().await, number);
}

/// Starts `number` long sleeps and drops them before they end.
async fn give_up(number: usize) {
    let start = Instant::now();
    let long = join_all((0..number).map(|_| Timer::after_secs(3600)));
    assert!(with_timeout(Duration::from_millis(5), long).await.is_err());
    assert!(start.elapsed() >= Duration::from_millis(5), "early");
}

tasks! {
    async fn sleeper(number: u64), pool = TASKS {
        let start = Instant::now();
        sleep(start, number % 50).await;
        sleep(start, 50).await;
        ENDED.fetch_add(1, Ordering::Relaxed);
    }

    async fn as_many_as_fit(), pool = 1 {
        sleepers(OTHER_WAKERS).await;
        give_up(OTHER_WAKERS).await;
        assert_eq!(early_wakes(), 0, "there is room");
    }

    async fn too_many(), pool = 1 {
        // The dropped timers' wakers are woken, and then as many again.
        give_up(2 * OTHER_WAKERS).await;
        assert!(early_wakes() >= 2 * OTHER_WAKERS as u64);
        sleepers(4 * OTHER_WAKERS).await;
        ENDED.fetch_add(1, Ordering::Relaxed);
    }

    /// Has its turns although the other task's wakers are woken again and again.
    async fn neighbour(), pool = 1 {
        while ENDED.load(Ordering::Relaxed) == 0 {
            let start = Instant::now();
            sleep(start, 1).await;
        }
    }
}

/// Each task has an entry of its own.
#[dormir_guest::test]
fn many_tasks() {
    crate::run(|spawner| {
        for number in 0..TASKS {
            let task = sleeper(number as u64);
            spawner.spawn_detached(task).expect("there is room");
        }
    });
    assert_eq!(ENDED.load(Ordering::Relaxed), TASKS);
    assert_eq!(early_wakes(), 0, "there is room");
}

#[dormir_guest::test]
fn as_many_wakers_as_fit_in_one_task() {
    crate::run(|spawner| {
        spawner
            .spawn_detached(as_many_as_fit())
            .expect("there is room");
    });
}

#[dormir_guest::test]
fn more_wakers_than_entries() {
    crate::run(|spawner| {
        spawner.spawn_detached(too_many()).expect("there is room");
        spawner.spawn_detached(neighbour()).expect("there is room");
    });
}

#[dormir_guest::test]
fn block_on_without_tasks() {
    block_on(sleepers(20), Halt);
    let start = Instant::now();
    let limited = with_timeout(Duration::from_secs(3600), Timer::after_millis(3));
    assert_eq!(block_on(limited, Halt), Ok(()));
    assert!(start.elapsed() >= Duration::from_millis(3), "early");
}
