//! embassy-executor: its raw executor, which is what its ready-made ones are made of. Its tasks have no
//! results, so there is no `join`. Its timers are embassy-time's.

mod timers;

use alloc::boxed::Box;
use core::ptr;

use embassy_executor::raw::{self, TaskPool};

use dormir_bench_guest::{figures::Subject, stopwatch::Stopwatch};

use crate::{
    cases::{self, Executor},
    tasks::{Idle, Player},
};

pub(crate) const NAME: &str = "embassy";

/// What embassy calls when something has become ready: the loop that called `poll` looks again anyway.
#[unsafe(export_name = "__pender")]
fn pender(_context: *mut ()) {}

/// An executor, and the static memory of its tasks.
struct Embassy<F: Future + 'static, const N: usize> {
    executor: &'static raw::Executor,
    pool: &'static TaskPool<F, N>,
}

impl<F: Future + 'static, const N: usize> Embassy<F, N> {
    fn new(pool: &'static TaskPool<F, N>) -> Self {
        let executor = Box::leak(Box::new(raw::Executor::new(ptr::null_mut())));
        Self { executor, pool }
    }
}

impl<F: Future + 'static, const N: usize> Executor<F> for Embassy<F, N> {
    #[inline]
    fn spawn(&mut self, task: F) {
        let Ok(token) = self.pool.spawn(|| task) else {
            panic!("the pool has room for all");
        };
        self.executor.spawner().spawn(token);
    }

    #[inline(always)]
    fn pass(&mut self) {
        // SAFETY: neither a task nor `pender` gets hold of the executor, so no call is within another.
        unsafe { self.executor.poll() };
    }
}

pub(crate) fn run(watch: &Stopwatch, max: usize) {
    macro_rules! with {
        ($($n:literal)*) => {$(
            if $n <= max {
                static IDLE: TaskPool<Idle, $n> = TaskPool::new();
                static PLAYERS: TaskPool<Player, { cases::players($n) }> = TaskPool::new();
                let with_room_for = |capacity| Subject {
                    runtime: NAME,
                    n: $n,
                    capacity: Some(capacity),
                    cpus: None,
                };
                cases::idle(&mut Embassy::new(&IDLE), watch, &with_room_for($n));
                let subject = with_room_for(cases::players($n));
                cases::ping_pong(&mut Embassy::new(&PLAYERS), watch, &subject);
            }
        )*};
    }
    with!(1 64 1024 4096);
    timers::run(watch, max);
}
