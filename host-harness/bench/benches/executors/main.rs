//! Compares executors natively, on the host: `cargo bench -p dormir-bench` (a few minutes), or
//! `cargo bench -p dormir-bench -- --quick` (half a minute). A filter, as Criterion takes it, works too:
//! `cargo bench -p dormir-bench -- ping_pong`.
//!
//! # How the figures are taken
//!
//! Everything runs in one process on one thread. For each case and size, first Criterion measures one
//! runtime after the other (what it prints, and compares with the run before, is the time for one thing:
//! a wake and poll, a switch, a task). Then the same code is measured once more for the table at the
//! end, with the runtimes in turn: 101 rounds (25 with `--quick`) in which each runs for a millisecond
//! (half a one), beginning with another one each time. So what disturbs a shared machine for longer than
//! a round disturbs all alike. The table does not use Criterion's estimates, since between those of two
//! runtimes lie seconds.
//!
//! A row's first runtime is its base, with its median time; each other one has the ratio of its median
//! to that, and behind "±" half of the range in which the middle half of the rounds' own ratios lies. The
//! base is embassy, and in `join`, which embassy does not have, Tokio.
//!
//! Absolute times are for one machine at one time: compare ratios.
//!
//! # The runtimes
//!
//! The futures are the same for all, and each poll counts itself, so that a poll too many or too few
//! ends the bench. Each runtime is used by the cheapest way that its public interface has:
//!
//! | runtime | tasks | the main line has it poll by |
//! | --- | --- | --- |
//! | `embassy`: embassy-executor's raw executor | in a `TaskPool` | `poll`, as long as the pender was called |
//! | `dormir`, woken from anywhere; `dormir-single`, from one vCPU | in a static pool | `pass`, until `is_idle` |
//! | `tokio`: current-thread, without drivers | on the heap | `block_on`: the main line is its future |
//! | `smol`: `LocalExecutor` | on the heap | `try_tick`, until all were polled |
//! | `LocalPool`, of futures | on the heap | `run_until_stalled` |
//!
//! # The cases
//!
//! `n` is the number of all tasks in the executor; those that a case does not name are idle: they were
//! polled once, and are not woken again.
//!
//! - `wake_poll`: the main line wakes one task by its stored waker, has the runtime poll, and goes on
//!   when the task was polled. In this the way into the runtime and out of it is included. With Tokio
//!   that way is a turn of `block_on`: the last poll wakes the main line, which is polled in turn.
//!   `empty_pass` tells how much that is.
//! - `ping_pong`: two tasks wake each other by their stored wakers, per switch. The main line begins it
//!   and waits for the end of thousands of them, so this is the cost of a wake and a poll inside a
//!   runtime. embassy polls one task in each `poll` here.
//! - `wake_all_poll_all`: the main line wakes all tasks, then has all of them polled; per task.
//! - `spawn`: into an executor without tasks `n` are spawned, detached; each ends at its first poll; per
//!   task, from the call that spawns until its memory is given back. The poll is counted for all
//!   alike, because `LocalPool`'s call only puts the boxed future on a list: its task is made when the
//!   pool runs.
//! - `spawn_call`: the same tasks, but only the calls that spawn are timed. Read `LocalPool`'s figure with
//!   what was just said.
//! - `join`: a task spawns others, each of which ends at its first poll with a number, and awaits them one
//!   by one; per task.
//! - `empty_pass`: no task is ready; the main line has the runtime look once.
//!
//! In `spawn` and `spawn_call`, embassy's pool has `n` places, and looks for a free one from the first
//! place on. With `n` = 1 that is 64 pools of one, in batches of 64, since reading the clock takes longer
//! than spawning one task; the other runtimes have batches of 64 too.
//!
//! # What is included
//!
//! - In each poll, counting it; in each round, arming the counter. The last line prints what this takes
//!   alone. It draws all ratios a little towards 1.
//! - In `spawn_call`, one reading of the clock for each batch.
//! - The system's allocator, for runtimes whose tasks are on the heap; it finds blocks of the same size
//!   that were just given back. How soon differs from run to run: `LocalPool`'s `spawn_call` was seen at
//!   11 and at 35 ns.
//! - Critical sections, which dormir enters to spawn, end and join tasks; the others have none. A section
//!   is a flag here, as in a guest it is the interrupt flag: see `section.rs`. The last line prints what
//!   one takes. (critical-section's own for `std` is a mutex and a thread-local, which takes many times
//!   what masking interrupts takes.)
//! - Calls across crates as the `bench` profile compiles them, without link-time optimization.
//!
//! # What it cannot say
//!
//! Nothing of wakes from other threads or interrupts, of sleeping and waking up, of timers and I/O. All
//! memory is in the caches, the tasks are as small as can be, and the branch predictors know what comes.
//! Instruction counts in a guest are another bench's: `cargo vm bench --counts`.

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
            "\nRatios of median times to the first runtime in the row, {rounds} rounds in turn:\n\n{table}"
        );
        println!(
            "Alone: a poll with its counting {:.1} ns, reading the clock {:.1} ns, an empty critical section {:.1} ns.",
            nanoseconds_of_a_poll(),
            nanoseconds_of(Instant::now),
            nanoseconds_of(|| critical_section::with(|_| ())),
        );
    }
}

/// Has Criterion measure `cells`. Says whether it did: it may have been asked for others.
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

/// What the tasks' own work takes, without a runtime.
fn nanoseconds_of_a_poll() -> f64 {
    let board = Board::leak(1);
    let mut task = pin!(Parked::new(board, 0));
    nanoseconds_of(|| {
        board.gate.arm(1);
        let task: Pin<&mut dyn Future<Output = ()>> = task.as_mut();
        black_box(task).poll(&mut Context::from_waker(Waker::noop()))
    })
}
