//! futures' `LocalPool`.

use std::{future::Future, time::Duration};

use futures::{
    executor::{LocalPool, LocalSpawner},
    task::LocalSpawnExt,
};

use super::{Joins, Runtime, Spawn, passes};
use crate::work::{ANSWER, Answering, Gate};

pub(crate) struct FuturesLocalPool(LocalPool);

impl<F> Runtime<F> for FuturesLocalPool
where
    F: Future<Output = ()> + 'static,
{
    type Spawner = LocalSpawner;

    const NAME: &'static str = "LocalPool";

    fn new() -> Self {
        Self(LocalPool::new())
    }

    fn spawner(&self) -> LocalSpawner {
        self.0.spawner()
    }

    fn rounds(&mut self, gate: &'static Gate, rounds: u64, round: impl FnMut()) -> Duration {
        passes(gate, rounds, round, || {
            self.0.run_until_stalled();
            false
        })
    }
}

impl<F> Spawn<F> for LocalSpawner
where
    F: Future<Output = ()> + 'static,
{
    #[inline]
    fn spawn(&self, future: F) {
        self.spawn_local(future).expect("the pool exists");
    }
}

impl Joins for FuturesLocalPool {
    fn spawn_parent(spawner: &LocalSpawner, gate: &'static Gate, children: u64) {
        let own = spawner.clone();
        let parent = spawner.spawn_local(async move {
            for _ in 0..children {
                let child = own.spawn_local_with_handle(Answering);
                assert_eq!(child.expect("the pool exists").await, ANSWER);
            }
            gate.count_down();
        });
        parent.expect("the pool exists");
    }
}
