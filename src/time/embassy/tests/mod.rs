//! The driver under test: its entries against models and on several threads, and programs that use
//! embassy's timers.

mod entries;
// Miri has no processes, and these are of one process's global queue: each test has its own.
#[cfg(not(miri))]
mod programs;
mod threads;
#[cfg(not(miri))]
mod wakers;

use embassy_time::Duration;

use crate::{
    executor::{Capacity, Executor, Spawner},
    platform::host::{self, Skip},
    time::TimerQueue,
};

#[cfg_attr(miri, allow(dead_code, reason = "only those use it"))]
fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Runs what `spawn` spawns to its end, on the global queue.
#[cfg_attr(miri, allow(dead_code, reason = "the same"))]
fn run<C: Capacity>(executor: &'static Executor<C>, spawn: impl FnOnce(Spawner)) {
    host::init();
    let mut runner = executor.enter().expect("no other runner");
    spawn(runner.spawner());
    runner.run(Skip);
    assert_eq!(TimerQueue::global().turn(), None, "nothing is left behind");
}
