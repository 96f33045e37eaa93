//! Tokio's current-thread runtime, without drivers for I/O and time.

use std::{future::Future, time::Duration};

use tokio::runtime::{Builder, Handle};

use super::{Joins, Runtime, Spawn, main_line};
use crate::work::{ANSWER, Answering, Gate};

pub(crate) struct Tokio(tokio::runtime::Runtime);

impl<F> Runtime<F> for Tokio
where
    F: Future<Output = ()> + Send + 'static,
{
    type Spawner = Handle;

    const NAME: &'static str = "tokio";

    fn new() -> Self {
        let runtime = Builder::new_current_thread().build();
        Self(runtime.expect("a runtime without drivers needs no system resources"))
    }

    fn spawner(&self) -> Handle {
        self.0.handle().clone()
    }

    fn rounds(&mut self, gate: &'static Gate, rounds: u64, round: impl FnMut()) -> Duration {
        self.0.block_on(main_line(gate, rounds, round))
    }
}

impl<F> Spawn<F> for Handle
where
    F: Future<Output = ()> + Send + 'static,
{
    #[inline]
    fn spawn(&self, future: F) {
        drop(Handle::spawn(self, future));
    }
}

impl Joins for Tokio {
    fn spawn_parent(spawner: &Handle, gate: &'static Gate, children: u64) {
        let own = spawner.clone();
        drop(spawner.spawn(async move {
            for _ in 0..children {
                let answer = own.spawn(Answering).await;
                assert_eq!(answer.expect("the child ends"), ANSWER);
            }
            gate.count_down();
        }));
    }
}
