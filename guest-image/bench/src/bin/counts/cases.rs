//! The cases that every runtime runs.

use core::{hint::black_box, task::Waker};

use alloc::vec::Vec;
use dormir_guest::heap;

use dormir_bench_guest::{
    figures::{Subject, Tally},
    stopwatch::Stopwatch,
};

use crate::tasks::{self, IdleTask, PingPong, PingPongTask};

/// How often an operation is repeated if its mean is reported.
const REPEATS: usize = 100;

/// How often the two tasks of `ping_pong` are switched.
const SWITCHES: usize = 10_000;

/// An executor with room for as many tasks `F` as a case spawns.
pub(crate) trait BenchExecutor<F: Future> {
    /// Spawns a detached task.
    fn spawn(&mut self, task: F);

    /// One pass: polls the tasks that are ready.
    fn pass(&mut self);
}

/// An executor whose tasks can be joined.
pub(crate) trait Join {
    /// Spawns tasks 0 to n - 1, runs them to completion, and returns the sum of their results.
    fn join(&mut self, n: usize) -> usize;
}

/// `spawn`, and the cases of tasks that do nothing when they are polled.
pub(crate) fn idle(
    executor: &mut impl BenchExecutor<IdleTask>,
    watch: &Stopwatch,
    subject: &Subject,
) {
    // Keeps the code the same for each n.
    let n = black_box(subject.n);
    let spawn = watch.count(|| (0..n).for_each(|index| executor.spawn(IdleTask::new(index))));
    subject.report("spawn", spawn, n);

    let wakers = tasks::wakers(n, || executor.pass());
    // Also warms up the path that the following polls take.
    let polls = tasks::polls(|| {
        wakers.iter().for_each(|waker| waker.wake_by_ref());
        executor.pass();
    });
    assert_eq!(polls, n, "each is polled once after its wake");

    let wake_first = (0..REPEATS).map(|repeat| {
        let waker = black_box(&wakers[repeat * n / REPEATS]);
        let one = watch.count(|| waker.wake_by_ref());
        executor.pass();
        one
    });
    subject.report("wake_first", wake_first.sum(), REPEATS);

    let waker = black_box(&wakers[n / 2]);
    waker.wake_by_ref();
    let wake_dup = watch.count(|| (0..REPEATS).for_each(|_| waker.wake_by_ref()));
    assert_eq!(tasks::polls(|| executor.pass()), 1);
    subject.report("wake_dup", wake_dup, REPEATS);

    let wake_poll = watch.count(|| {
        for _ in 0..REPEATS {
            waker.wake_by_ref();
            executor.pass();
        }
    });
    subject.report("wake_poll", wake_poll, REPEATS);

    let all = watch.count(|| {
        wakers.iter().for_each(|waker| waker.wake_by_ref());
        executor.pass();
    });
    subject.report("wake_all_poll_all", all, n);

    let empty_pass = watch.count(|| (0..REPEATS).for_each(|_| executor.pass()));
    assert_eq!(tasks::polls(|| executor.pass()), 0, "all have been polled");
    subject.report("empty_pass", empty_pass, REPEATS);
    release(wakers, executor);
}

/// `spawn_boxed`: spawns n tasks one by one, each in a heap allocation of its own.
pub(crate) fn boxed(
    executor: &mut impl BenchExecutor<IdleTask>,
    watch: &Stopwatch,
    subject: &Subject,
) {
    let n = black_box(subject.n);
    let mut spawn = Tally::new();
    for index in 0..n {
        spawn.add(watch.count(|| executor.spawn(IdleTask::new(index))));
    }
    subject.report_tally("spawn_boxed", &spawn);
    let wakers = tasks::wakers(n, || executor.pass());
    release(wakers, executor);
}

/// How many tasks `ping_pong` spawns for n.
pub(crate) const fn ping_pong_size(n: usize) -> usize {
    if n < 2 { 2 } else { n }
}

/// `ping_pong`: two tasks that wake each other. One is spawned before the idle tasks, the other
/// after them.
pub(crate) fn ping_pong(
    executor: &mut impl BenchExecutor<PingPongTask>,
    watch: &Stopwatch,
    subject: &Subject,
) {
    let n = black_box(subject.n);
    let pair = PingPong::new();
    let [first, second] = pair.tasks();
    executor.spawn(first);
    let beside = ping_pong_size(n) - 2;
    (0..beside).for_each(|index| executor.spawn(PingPongTask::Idle(IdleTask::new(index))));
    executor.spawn(second);
    let idle = tasks::wakers(beside, || executor.pass());
    let count = watch.count(|| {
        pair.start(SWITCHES);
        while pair.left() > 0 {
            executor.pass();
        }
    });
    subject.report("ping_pong", count, SWITCHES);
    executor.pass();
    pair.end();
    release(idle, executor);
}

/// Drops the last wakers of tasks, which some runtimes need in order to free the tasks.
fn release<F: Future>(wakers: Vec<Waker>, executor: &mut impl BenchExecutor<F>) {
    drop(wakers);
    executor.pass();
}

/// `join`: spawns n tasks, runs them to completion and takes their results.
pub(crate) fn join(executor: &mut impl Join, watch: &Stopwatch, subject: &Subject) {
    let n = black_box(subject.n);
    let mut sum = 0;
    let count = watch.count(|| sum = executor.join(n));
    assert_eq!(sum, n * (n - 1) / 2, "each task's result is taken once");
    subject.report("join", count, n);
}

/// Runs `count`, which must free all its memory, so that the next case finds the heap in the same
/// state.
pub(crate) fn on_a_clean_heap(count: impl FnOnce()) {
    let used = heap::used();
    count();
    assert_eq!(heap::used(), used, "all memory is freed");
}
