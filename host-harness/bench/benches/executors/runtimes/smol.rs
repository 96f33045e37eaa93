//! smol's `LocalExecutor`.
//!
//! The main line calls `try_tick`, as users of smol can, and not `block_on(executor.run(..))`,
//! which takes longer in every case: by a fifth in `ping_pong`, three times as long in `wake_poll`.

use std::{future::Future, rc::Rc, time::Duration};

use async_executor::LocalExecutor;

use super::{Joins, Runtime, Spawn, passes};
use crate::work::{ANSWER, Answering, Gate};

pub(crate) struct Smol(Rc<LocalExecutor<'static>>);

impl<F> Runtime<F> for Smol
where
    F: Future<Output = ()> + 'static,
{
    type Spawner = Rc<LocalExecutor<'static>>;

    const NAME: &'static str = "smol";

    fn new() -> Self {
        Self(Rc::new(LocalExecutor::new()))
    }

    fn spawner(&self) -> Self::Spawner {
        Rc::clone(&self.0)
    }

    fn rounds(&mut self, gate: &'static Gate, rounds: u64, round: impl FnMut()) -> Duration {
        passes(gate, rounds, round, || self.0.try_tick() && gate.left() > 0)
    }
}

impl<F> Spawn<F> for Rc<LocalExecutor<'static>>
where
    F: Future<Output = ()> + 'static,
{
    #[inline]
    fn spawn(&self, future: F) {
        LocalExecutor::spawn(self, future).detach();
    }
}

impl Joins for Smol {
    fn spawn_parent(spawner: &Self::Spawner, gate: &'static Gate, children: u64) {
        let own = Rc::clone(spawner);
        let parent = LocalExecutor::spawn(spawner, async move {
            for _ in 0..children {
                assert_eq!(LocalExecutor::spawn(&own, Answering).await, ANSWER);
            }
            gate.count_down();
        });
        parent.detach();
    }
}
