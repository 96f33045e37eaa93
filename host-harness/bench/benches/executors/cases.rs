//! The cases that are measured.

use std::time::{Duration, Instant};

use dormir::executor::{Shared, SingleVcpu, Up64, Up4096};

use crate::{
    runtimes::{
        DormirRuntime, EmbassyRuntime, FuturesLocalPool, Joins, Runtime, Smol, Spawn, Tokio,
    },
    work::{Board, Ending, Gate, Parked, Ping},
};

/// One case at one size.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// How many tasks the executor has.
    pub(crate) tasks: usize,
    set_up: SetUp,
}

/// Sets up a case for the given number of tasks, in each runtime that has it.
type SetUp = fn(usize) -> Vec<Cell>;

/// The cases, in the order of the tables.
const CASES: &[(&str, &[usize], SetUp)] = &[
    ("wake_poll", &[1, 64, 4096], |tasks| wake_cells(tasks, 1)),
    ("ping_pong", &[2, 64, 4096], ping_pong_cells),
    ("wake_all_poll_all", &[64, 4096], |tasks| {
        wake_cells(tasks, tasks)
    }),
    ("spawn", &[1, 64, 4096], |tasks| {
        spawn_cells(tasks, Life::Whole)
    }),
    ("spawn_call", &[1, 64, 4096], |tasks| {
        spawn_cells(tasks, Life::Beginning)
    }),
    ("join", &[2, 64, 4096], join_cells),
    ("empty_pass", &[1, 64, 4096], |tasks| wake_cells(tasks, 0)),
];

impl Case {
    /// Returns all cases, at all sizes.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        CASES.iter().flat_map(|&(name, sizes, set_up)| {
            sizes.iter().map(move |&tasks| Self {
                name,
                tasks,
                set_up,
            })
        })
    }

    /// The case in each runtime that has it; the first is the base of the comparison.
    pub(crate) fn cells(self) -> Vec<Cell> {
        (self.set_up)(self.tasks)
    }
}

/// One case at one size in one runtime.
pub(crate) struct Cell {
    pub(crate) runtime: &'static str,
    /// Takes the given number of samples, one after another, and returns their total time.
    pub(crate) measure: Box<dyn FnMut(u64) -> Duration>,
    /// How many operations of the case a sample contains.
    pub(crate) things: u32,
}

impl Cell {
    /// Makes a cell whose samples contain `things` operations each.
    fn new<F, R: Runtime<F>>(
        things: usize,
        measure: impl FnMut(u64) -> Duration + 'static,
    ) -> Self {
        Self {
            runtime: R::NAME,
            measure: Box::new(measure),
            things: u32::try_from(things).expect("a batch of tasks"),
        }
    }
}

/// Calls `$set_up`, which is generic over the runtime, for each runtime.
macro_rules! cells {
    ($set_up:ident $arguments:tt in $($runtime:ty),*) => {
        vec![$($set_up::<$runtime> $arguments),*]
    };
}

/// Calls it for all runtimes. Two have the size in the type: embassy uses 64 pools of one for a
/// single task, else one pool for all; dormir the smallest capacity.
macro_rules! cells_by_size {
    ($tasks:ident, $future:ty, $set_up:ident $arguments:tt) => {
        match $tasks {
            1 => cells_by_size!($set_up $arguments, EmbassyRuntime<$future, 64, 1>, Up64),
            2..=64 => cells_by_size!($set_up $arguments, EmbassyRuntime<$future, 1, 64>, Up64),
            _ => cells_by_size!($set_up $arguments, EmbassyRuntime<$future, 1, 4096>, Up4096),
        }
    };
    ($set_up:ident $arguments:tt, $embassy:ty, $capacity:ty) => {
        cells!($set_up $arguments in
            $embassy, DormirRuntime<$capacity, Shared>, DormirRuntime<$capacity, SingleVcpu>,
            Tokio, Smol, FuturesLocalPool)
    };
}

/// Makes a runtime with a task for each of the board's slots, which were polled once and wait.
fn waiting<F, R: Runtime<F>>(
    board: &'static Board,
    tasks: usize,
    task: impl Fn(&'static Board, usize) -> F,
) -> R {
    let mut runtime = R::new();
    let spawner = runtime.spawner();
    runtime.rounds(&board.gate, 1, || {
        board.gate.arm(tasks as u64);
        for slot in 0..tasks {
            spawner.spawn(task(board, slot));
        }
    });
    runtime
}

/// Wakes `woken` of `tasks` tasks, and lets the runtime poll them.
fn wake_cells(tasks: usize, woken: usize) -> Vec<Cell> {
    cells_by_size!(tasks, Parked, wake(tasks, woken))
}

fn wake<R: Runtime<Parked> + 'static>(tasks: usize, woken: usize) -> Cell {
    let board = Board::leak(tasks);
    let mut runtime = waiting::<Parked, R>(board, tasks, Parked::new);
    // A single task is neither the first nor the last.
    let first = (tasks - woken) / 2;
    let wakers: Vec<_> = (first..first + woken)
        .map(|slot| board.waker(slot))
        .collect();
    Cell::new::<Parked, R>(woken.max(1), move |samples| {
        runtime.rounds(&board.gate, samples, || {
            board.gate.arm(woken as u64);
            for waker in &wakers {
                waker.wake_by_ref();
            }
        })
    })
}

/// Two of `tasks` tasks wake each other.
fn ping_pong_cells(tasks: usize) -> Vec<Cell> {
    cells_by_size!(tasks, Ping, ping_pong(tasks))
}

fn ping_pong<R: Runtime<Ping> + 'static>(tasks: usize) -> Cell {
    let board = Board::leak(tasks);
    let mut runtime = waiting::<Ping, R>(board, tasks, Ping::new);
    Cell::new::<Ping, R>(1, move |switches| {
        runtime.rounds(&board.gate, 1, || {
            board.gate.arm(switches);
            board.waker(0).wake_by_ref();
        })
    })
}

/// Which part of the tasks' lives is timed.
#[derive(Clone, Copy)]
enum Life {
    /// The calls that spawn.
    Beginning,
    /// The calls that spawn, the one poll of each task, and freeing its memory.
    Whole,
}

/// Spawns into an executor without tasks.
fn spawn_cells(tasks: usize, life: Life) -> Vec<Cell> {
    // For a single spawn, reading the clock would take most of the time.
    let batch = if tasks == 1 { 64 } else { tasks };
    cells_by_size!(tasks, Ending, spawn(batch, life))
}

fn spawn<R: Runtime<Ending> + 'static>(batch: usize, life: Life) -> Cell {
    let gate = Gate::leak();
    let mut runtime = R::new();
    let spawner = runtime.spawner();
    Cell::new::<Ending, R>(batch, move |samples| {
        let mut beginning = Duration::ZERO;
        let whole = runtime.rounds(gate, samples, || {
            gate.arm(batch as u64);
            let start = Instant::now();
            for _ in 0..batch {
                spawner.spawn(Ending(gate));
            }
            beginning += start.elapsed();
        });
        match life {
            Life::Beginning => beginning,
            Life::Whole => whole,
        }
    })
}

/// A task spawns others and awaits their results; the rest of `tasks` is idle.
fn join_cells(tasks: usize) -> Vec<Cell> {
    // Tokio is the base, since embassy cannot join.
    match tasks {
        ..=64 => cells!(join(tasks) in
            Tokio, DormirRuntime<Up64, Shared>, DormirRuntime<Up64, SingleVcpu>, Smol, FuturesLocalPool),
        _ => cells!(join(tasks) in
            Tokio, DormirRuntime<Up4096, Shared>, DormirRuntime<Up4096, SingleVcpu>, Smol, FuturesLocalPool),
    }
}

fn join<R: Joins + 'static>(tasks: usize) -> Cell {
    // All except the parent and the child.
    let idle = tasks - 2;
    let board = Board::leak(idle);
    let mut runtime = waiting::<Parked, R>(board, idle, Parked::new);
    let spawner = runtime.spawner();
    Cell::new::<Parked, R>(1, move |children| {
        runtime.rounds(&board.gate, 1, || {
            board.gate.arm(1);
            R::spawn_parent(&spawner, &board.gate, children);
        })
    })
}
