//! embassy-executor: the raw executor, on which its platform executors are built. Its tasks have no
//! results, so there is no `join`. Its timers are embassy-time's.

mod timers;

use alloc::boxed::Box;
use core::ptr;

use embassy_executor::raw::{self, TaskPool};

use dormir_bench_guest::{figures::Subject, stopwatch::Stopwatch};

use crate::{
    cases::{self, BenchExecutor},
    tasks::{IdleTask, PingPongTask},
};

pub(crate) const NAME: &str = "embassy";

/// embassy calls this when a task has become ready. Nothing to do: the loop that calls `poll`
/// checks again anyway.
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

impl<F: Future + 'static, const N: usize> BenchExecutor<F> for Embassy<F, N> {
    #[inline]
    fn spawn(&mut self, task: F) {
        let Ok(token) = self.pool.spawn(|| task) else {
            panic!("the pool has room for all");
        };
        self.executor.spawner().spawn(token);
    }

    #[inline(always)]
    fn pass(&mut self) {
        // SAFETY: neither a task nor `pender` has access to the executor, so calls do not nest.
        unsafe { self.executor.poll() };
    }
}

pub(crate) fn run(watch: &Stopwatch, max: usize) {
    macro_rules! with {
        ($($n:literal)*) => {$(
            if $n <= max {
                static IDLE: TaskPool<IdleTask, $n> = TaskPool::new();
                const SIZE: usize = cases::ping_pong_size($n);
                static PING_PONG: TaskPool<PingPongTask, SIZE> = TaskPool::new();
                let with_room_for = |capacity| Subject {
                    runtime: NAME,
                    n: $n,
                    capacity: Some(capacity),
                    cpus: None,
                };
                cases::idle(&mut Embassy::new(&IDLE), watch, &with_room_for($n));
                let subject = with_room_for(cases::ping_pong_size($n));
                cases::ping_pong(&mut Embassy::new(&PING_PONG), watch, &subject);
            }
        )*};
    }
    with!(1 64 1024 4096);
    timers::run(watch, max);
}
