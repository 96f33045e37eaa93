//! Tests with ten thousand tasks asleep at once, or half as many where that takes minutes.

use alloc::{boxed::Box, vec, vec::Vec};
use core::{cell::Cell, time::Duration};

use dormir::{
    executor::{Cpus, Executor, Runner, Shared, SingleVcpu, Up65536},
    idle::{Halt, Idle, IdleContext},
    tasks,
    time::{Instant, Timer},
};
use dormir_guest::println;

const SLEEPERS: u32 = 10_000;
/// How many there are where KVM emulates each instruction, and all would take minutes: more than
/// the 4096 of a word of words, so that each level of the set of ready tasks is used.
const FEWER: u32 = 5000;
/// A trial shows which: a tenth of all, and how long that may take.
const TRIAL: u32 = SLEEPERS / 10;
const QUICK: Duration = Duration::from_millis(500);

/// They wake in groups, so far apart that even a slow machine waits in between.
const GROUP: u32 = 1000;
const GROUPS_APART: Duration = Duration::from_millis(700);
const APART: Duration = Duration::from_micros(1);

const HOUR: Duration = Duration::from_secs(3600);

/// When the sleepers woke, by the number of waits until then.
struct WakeTimes {
    waits: Cell<u32>,
    /// In the order of the deadlines.
    ended_after: Vec<Cell<Option<u32>>>,
}

tasks! {
    async fn sleeper(rank: u32, deadline: Instant, ends: &'static WakeTimes), pool = 10_000 {
        Timer::at(deadline).await;
        assert!(Instant::now() >= deadline, "sleeper {rank} woke early");
        let end = &ends.ended_after[rank as usize];
        assert_eq!(end.replace(Some(ends.waits.get())), None, "sleeper {rank} woke twice");
    }
}

/// An idle policy that counts the waits.
struct Counting(&'static WakeTimes);

impl Idle for Counting {
    fn wait(&mut self, cx: &IdleContext<'_>) {
        self.0.waits.set(self.0.waits.get() + 1);
        Halt.wait(cx);
    }
}

#[dormir_guest::test(timeout = 600)]
fn woken_from_anywhere() {
    static EXECUTOR: Executor<Up65536> = Executor::new(Shared);
    end_in_order(&EXECUTOR);
}

#[dormir_guest::test(timeout = 600)]
fn woken_from_one_vcpu() {
    // SAFETY: this guest is given one vCPU.
    static EXECUTOR: Executor<Up65536, SingleVcpu> = Executor::new(unsafe { SingleVcpu::new() });
    end_in_order(&EXECUTOR);
}

/// Sleepers that went to sleep in a scrambled order are all asleep at once, and wake in the order
/// of their deadlines. (Those that wake between two waits do so in the order of their slots.)
fn end_in_order<M: Cpus>(executor: &'static Executor<Up65536, M>) {
    let ends: &WakeTimes = Box::leak(Box::new(WakeTimes {
        waits: Cell::new(0),
        ended_after: vec![Cell::new(None); SLEEPERS as usize],
    }));
    let began = Instant::now();
    drop(put_to_sleep(executor, TRIAL, HOUR, ends));
    let took = Instant::now().saturating_duration_since(began);
    let count = match took <= QUICK {
        true => SLEEPERS,
        false => FEWER,
    };
    // With a fifth to spare.
    let mut time = took * (count / TRIAL) * 6 / 5 + Duration::from_millis(200);
    assert_eq!(executor.tasks(), 0, "tasks outlived their runner");

    let mut runner = loop {
        // If the vCPU is descheduled meanwhile, they get more time.
        match put_to_sleep(executor, count, time, ends) {
            Some(runner) => break runner,
            None => time *= 2,
        }
    };
    runner.run(Counting(ends));

    assert_eq!(executor.tasks(), 0);
    let ended_after: Vec<u32> = ends.ended_after.iter().flat_map(Cell::get).collect();
    assert_eq!(ended_after.len(), count as usize, "some have not woken");
    println!("{count} woke in {} groups", ends.waits.get());
    assert!(ended_after.is_sorted(), "one woke before an earlier one");
}

/// Spawns `count` sleepers in a scrambled order, and polls each once. The first wakes after `time`:
/// if that was too short to put all to sleep, they are dropped with the runner.
fn put_to_sleep<M: Cpus>(
    executor: &'static Executor<Up65536, M>,
    count: u32,
    time: Duration,
    ends: &'static WakeTimes,
) -> Option<Runner<Up65536, M>> {
    // Coprime to the counts, so each rank occurs once.
    const STRIDE: u32 = 6197;
    ends.ended_after.iter().for_each(|end| end.set(None));
    let mut runner = executor.enter().expect("there is no other runner");
    let first = Instant::now().saturating_add(time);
    for rank in (0..count).map(|index| index * STRIDE % count) {
        let after_first = GROUPS_APART * (rank / GROUP) + APART * (rank % GROUP);
        let task = sleeper(rank, first.saturating_add(after_first), ends);
        let spawned = runner.spawner().spawn_detached(task);
        spawned.unwrap_or_else(|error| panic!("{error}"));
    }
    runner.pass();
    if Instant::now() >= first {
        return None;
    }
    assert_eq!(executor.tasks(), count as usize, "one is not asleep");
    Some(runner)
}
