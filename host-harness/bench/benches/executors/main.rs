//! Compares executors natively, on the host: `cargo bench -p dormir-bench` (a few minutes), or
//! `cargo bench -p dormir-bench -- --quick` (half a minute). A filter, as Criterion takes it, works
//! too: `cargo bench -p dormir-bench -- ping_pong`.
//!
//! # How the figures are taken
//!
//! Everything runs in one process on one thread. For each case and size, first Criterion measures
//! one runtime after the other (it prints, and compares with the previous run, the time of one
//! operation: a wake and poll, a switch, a task). Then the same code is measured once more for the
//! table at the end, with the runtimes in turn: 101 rounds (25 with `--quick`) in which each runs
//! for a millisecond (half a one), starting with a different one each time. So a disturbance of a
//! shared machine that lasts longer than a round affects all alike. The table does not use
//! Criterion's estimates, since those of two runtimes are seconds apart.
//!
//! A row's first runtime is its base, with its median time; each other one has the ratio of its
//! median to that, and after "±" half of the interquartile range of the rounds' own ratios. The
//! base is embassy, and in `join`, which embassy lacks, Tokio.
//!
//! Absolute times are for one machine at one time: compare ratios.
//!
//! # The runtimes
//!
//! The futures are the same for all, and each poll counts itself, so that a poll too many or too
//! few ends the bench. Each runtime is used in the cheapest way that its public interface offers:
//!
//! | runtime | tasks | how the main line makes it poll |
//! | --- | --- | --- |
//! | `embassy`: embassy-executor's raw executor | in a `TaskPool` | `poll`, as long as the pender was called |
//! | `dormir`, woken from anywhere; `dormir-single`, from one vCPU | in a static pool | `pass`, until `is_idle` |
//! | `tokio`: current-thread, without drivers | on the heap | `block_on`: the main line is its future |
//! | `smol`: `LocalExecutor` | on the heap | `try_tick`, until all were polled |
//! | `LocalPool`, of futures | on the heap | `run_until_stalled` |
//!
//! # The cases
//!
//! `n` is the number of all tasks in the executor; tasks that a case does not name are idle: they
//! were polled once, and are not woken again.
//!
//! - `wake_poll`: the main line wakes one task by its stored waker, makes the runtime poll, and
//!   continues when the task was polled. This includes entering and leaving the runtime. With Tokio
//!   that is a turn of `block_on`: the last poll wakes the main line, which is polled in turn.
//!   `empty_pass` shows how much that is.
//! - `ping_pong`: two tasks wake each other by their stored wakers, per switch. The main line
//!   starts it and waits for the end of thousands of switches, so this is the cost of a wake and a
//!   poll inside a runtime. embassy polls one task in each `poll` here.
//! - `wake_all_poll_all`: the main line wakes all tasks, then makes the runtime poll all of them;
//!   per task.
//! - `spawn`: `n` detached tasks are spawned into an empty executor; each completes in its first
//!   poll; per task, from the call that spawns until its memory is freed. The poll is included for
//!   all runtimes, because `LocalPool`'s call only puts the boxed future on a list: its task is
//!   created when the pool runs.
//! - `spawn_call`: the same tasks, but only the calls that spawn are timed. For `LocalPool`, see
//!   the note above.
//! - `join`: a task spawns others, each of which completes in its first poll with a number, and
//!   awaits them one by one; per task.
//! - `empty_pass`: no task is ready; the main line makes the runtime check once.
//!
//! In `spawn` and `spawn_call`, embassy's pool has `n` slots, and searches for a free one from the
//! first slot on. With `n` = 1 that is 64 pools of one, in batches of 64, since reading the clock
//! takes longer than spawning one task; the other runtimes have batches of 64 too.
//!
//! # What is included
//!
//! - In each poll, counting it; in each round, arming the counter. The last line prints the cost of
//!   this alone. It moves all ratios slightly towards 1.
//! - In `spawn_call`, one reading of the clock for each batch.
//! - The system's allocator, for runtimes whose tasks are on the heap; it finds blocks of the same
//!   size that were just freed. How fast differs from run to run: `LocalPool`'s `spawn_call` was
//!   measured at 11 and at 35 ns.
//! - Critical sections, which dormir enters to spawn, end and join tasks; the others have none. A
//!   section is a flag here, like the interrupt flag in a guest: see `section.rs`. The last line
//!   prints the cost of one. (critical-section's own for `std` is a mutex and a thread-local, which
//!   costs many times as much as masking interrupts.)
//! - Calls across crates as the `bench` profile compiles them, without link-time optimization.
//!
//! # What it does not measure
//!
//! It says nothing about wakes from other threads or interrupts, about sleeping and waking up, or
//! about timers and I/O. All memory is cached, the tasks are as small as possible, and the branches
//! are well predicted. For instruction counts in a guest, see `cargo vm bench --counts`.

mod cases;
mod ratios;
mod runtimes;
mod section;
mod work;

use std::{
    future::Future,
    hint::black_box,
    pin::{Pin, pin},
    task::{Context, Waker},
    time::{Duration, Instant},
};

use criterion::{BenchmarkId, Criterion};

use cases::{Case, Cell};
use ratios::{Plan, Table, nanoseconds_of};
use work::{Board, Parked};

fn main() {
    let has = |flag: &str| std::env::args().any(|argument| argument == flag);
    let plan = if has("--quick") {
        Plan {
            rounds: 25,
            turn: Duration::from_micros(500),
        }
    } else {
        Plan {
            rounds: 101,
            turn: Duration::from_millis(1),
        }
    };
    // Without `--bench`, Criterion runs everything once, as a test.
    let compare = has("--bench") && !has("--test") && !has("--profile-time");

    let mut criterion = Criterion::default()
        .without_plots()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    let mut table = Table::default();
    for case in Case::all() {
        let mut cells = case.cells();
        let ran = bench(&mut criterion, case, &mut cells);
        if compare && ran {
            table.add(case, &mut cells, plan);
        }
    }
    criterion.final_summary();
    if !table.is_empty() {
        let rounds = plan.rounds;
        println!(
            "\nRatios of median times to the first runtime in the row, {rounds} rounds in \
             turn:\n\n{table}"
        );
        println!(
            "Alone: a poll with its counting {:.1} ns, reading the clock {:.1} ns, an empty \
             critical section {:.1} ns.",
            nanoseconds_of_a_poll(),
            nanoseconds_of(Instant::now),
            nanoseconds_of(|| critical_section::with(|_| ())),
        );
    }
}

/// Makes Criterion measure `cells`. Returns whether it did: a filter may exclude them.
fn bench(criterion: &mut Criterion, case: Case, cells: &mut [Cell]) -> bool {
    let mut ran = false;
    let mut group = criterion.benchmark_group(case.name);
    for cell in cells {
        group.bench_function(BenchmarkId::new(cell.runtime, case.tasks), |bencher| {
            ran = true;
            bencher.iter_custom(|samples| (cell.measure)(samples) / cell.things);
        });
    }
    group.finish();
    ran
}

/// Measures the tasks' own work, without a runtime.
fn nanoseconds_of_a_poll() -> f64 {
    let board = Board::leak(1);
    let mut task = pin!(Parked::new(board, 0));
    nanoseconds_of(|| {
        board.gate.arm(1);
        let task: Pin<&mut dyn Future<Output = ()>> = task.as_mut();
        black_box(task).poll(&mut Context::from_waker(Waker::noop()))
    })
}
