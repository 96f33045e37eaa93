//! The driver under test: its entries against models and on several threads, and programs that use
//! embassy's timers.

mod entries;
mod foreign;
#[cfg(feature = "alloc")]
mod growth;
mod pace;
// Miri has no processes, and these are of one process's global queue: each test has its own.
#[cfg(not(miri))]
mod programs;
#[cfg(not(miri))]
mod storm;
mod threads;
#[cfg(not(miri))]
mod wakers;

use std::{sync::mpsc, thread, time};

use embassy_time::Duration;

use super::table::{TableEntry, WakerTable};
use crate::{
    executor::{Capacity, Executor, Spawner},
    platform::host::{self, Skip},
    test_support::leak,
    time::TimerQueue,
};

/// Another thread enters a section meanwhile.
fn no_section_is_entered() {
    let (entered, entering) = mpsc::channel();
    let other = thread::spawn(move || critical_section::with(|_| entered.send(())));
    let limit = time::Duration::from_secs(20);
    assert_eq!(entering.recv_timeout(limit), Ok(()), "we are in a section");
    other.join().unwrap().unwrap();
}

/// A table of that many entries.
fn table<const N: usize>() -> &'static WakerTable {
    leak(WakerTable::new(leak([const { TableEntry::new() }; N])))
}

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
    assert_eq!(
        TimerQueue::global().turn(),
        None,
        "nothing is left in the queue"
    );
}
