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

/// An executor, with `POOLS` pools of `PLACES` tasks each.
pub(crate) struct Embassy<F: Future + 'static, const POOLS: usize, const PLACES: usize> {
    executor: &'static Executor,
    pools: &'static [TaskPool<F, PLACES>; POOLS],
}

/// Whether the executor has something to do. One flag for all executors will do: one runs at a time.
static PENDED: AtomicBool = AtomicBool::new(false);

#[unsafe(export_name = "__pender")]
fn pend(_context: *mut ()) {
    PENDED.store(true, Ordering::Relaxed);
}

impl<F, const POOLS: usize, const PLACES: usize> Runtime<F> for Embassy<F, POOLS, PLACES>
where
    F: Future + 'static,
{
    type Spawner = PoolSpawner<F, POOLS, PLACES>;

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
            // SAFETY: this is the one call, and neither tasks nor `pend` make it.
            unsafe { self.executor.poll() };
            PENDED.load(Ordering::Relaxed)
        })
    }
}

/// Takes a place in the pools by turns.
pub(crate) struct PoolSpawner<F: Future + 'static, const POOLS: usize, const PLACES: usize> {
    spawner: Spawner,
    pools: &'static [TaskPool<F, PLACES>; POOLS],
    next: Cell<usize>,
}

impl<F, const POOLS: usize, const PLACES: usize> Spawn<F> for PoolSpawner<F, POOLS, PLACES>
where
    F: Future + 'static,
{
    #[inline]
    fn spawn(&self, future: F) {
        let next = self.next.get();
        self.next.set((next + 1) % POOLS);
        let token = self.pools[next].spawn(|| future);
        self.spawner
            .spawn(token.expect("the pool has a place for each task of a round"));
    }
}
