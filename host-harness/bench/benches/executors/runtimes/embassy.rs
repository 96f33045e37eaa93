//! embassy-executor's raw executor, with tasks in pools.

use std::{
    cell::Cell,
    future::Future,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use embassy_executor::{
    Spawner,
    raw::{Executor, TaskPool},
};

use super::{Runtime, Spawn, passes};
use crate::work::Gate;

/// An executor, with `POOLS` pools of `SLOTS` tasks each.
pub(crate) struct EmbassyRuntime<F: Future + 'static, const POOLS: usize, const SLOTS: usize> {
    executor: &'static Executor,
    pools: &'static [TaskPool<F, SLOTS>; POOLS],
}

/// Whether the executor has something to do. One flag for all executors is enough: they run one at
/// a time.
static PENDED: AtomicBool = AtomicBool::new(false);

#[unsafe(export_name = "__pender")]
fn pend(_context: *mut ()) {
    PENDED.store(true, Ordering::Relaxed);
}

impl<F, const POOLS: usize, const SLOTS: usize> Runtime<F> for EmbassyRuntime<F, POOLS, SLOTS>
where
    F: Future + 'static,
{
    type Spawner = PoolSpawner<F, POOLS, SLOTS>;

    const NAME: &'static str = "embassy";

    fn new() -> Self {
        Self {
            executor: Box::leak(Box::new(Executor::new(std::ptr::null_mut()))),
            pools: Box::leak(Box::new([const { TaskPool::new() }; POOLS])),
        }
    }

    fn spawner(&self) -> Self::Spawner {
        PoolSpawner {
            spawner: self.executor.spawner(),
            pools: self.pools,
            next: Cell::new(0),
        }
    }

    fn rounds(&mut self, gate: &'static Gate, rounds: u64, round: impl FnMut()) -> Duration {
        passes(gate, rounds, round, || {
            PENDED.store(false, Ordering::Relaxed);
            // SAFETY: this is the only call, and neither tasks nor `pend` make it.
            unsafe { self.executor.poll() };
            PENDED.load(Ordering::Relaxed)
        })
    }
}

/// Spawns into the pools in turn.
pub(crate) struct PoolSpawner<F: Future + 'static, const POOLS: usize, const SLOTS: usize> {
    spawner: Spawner,
    pools: &'static [TaskPool<F, SLOTS>; POOLS],
    next: Cell<usize>,
}

impl<F, const POOLS: usize, const SLOTS: usize> Spawn<F> for PoolSpawner<F, POOLS, SLOTS>
where
    F: Future + 'static,
{
    #[inline]
    fn spawn(&self, future: F) {
        let next = self.next.get();
        self.next.set((next + 1) % POOLS);
        let token = self.pools[next].spawn(|| future);
        self.spawner
            .spawn(token.expect("the pool has room for each task of a round"));
    }
}
