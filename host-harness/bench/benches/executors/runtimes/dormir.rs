//! dormir's executor, with tasks in static pools.

use std::{future::Future, time::Duration};

use dormir::executor::{Capacity, Cpus, Executor, Runner, Shared, SingleVcpu, Spawner, Task};

use super::{Joins, Runtime, Spawn, passes};
use crate::work::{ANSWER, Answering, Ending, Gate, Parked, Ping};

pub(crate) struct DormirRuntime<C: Capacity, M: Cpus>(Runner<C, M>);

/// The two `Cpus` with which dormir is measured.
pub(crate) trait Wakers: Cpus {
    const NAME: &'static str;

    fn cpus() -> Self;
}

impl Wakers for Shared {
    const NAME: &'static str = "dormir";

    fn cpus() -> Self {
        Self
    }
}

impl Wakers for SingleVcpu {
    const NAME: &'static str = "dormir-single";

    fn cpus() -> Self {
        // SAFETY: the bench has one thread, and wakes and spawns nowhere else.
        unsafe { Self::new() }
    }
}

/// Futures with a pool, which has room for the tasks of both kinds at the largest size.
pub(crate) trait Pooled: Future<Output = ()> + Sized + 'static {
    fn pooled(self) -> Task<Self>;
}

macro_rules! pooled {
    ($($future:ty),*) => {$(
        impl Pooled for $future {
            #[inline]
            fn pooled(self) -> Task<Self> {
                dormir::tasks! {
                    fn task(future: $future) -> $future, pool = 8192 { future }
                }
                task(self)
            }
        }
    )*};
}
pooled!(Parked, Ping, Ending);

dormir::tasks! {
    async fn parent(spawner: Spawner, gate: &'static Gate, children: u64), pool = 2 {
        for _ in 0..children {
            let child = spawner.spawn(answering()).expect("there is room for one child");
            assert_eq!(child.await.expect("it is not aborted"), ANSWER);
        }
        gate.count_down();
    }

    fn answering() -> Answering, pool = 2 { Answering }
}

impl<F: Pooled, C: Capacity, M: Wakers> Runtime<F> for DormirRuntime<C, M> {
    type Spawner = Spawner;

    const NAME: &'static str = M::NAME;

    fn new() -> Self {
        let executor: &'static Executor<C, M> = Box::leak(Box::new(Executor::new(M::cpus())));
        Self(executor.enter().expect("it is entered only here"))
    }

    fn spawner(&self) -> Spawner {
        self.0.spawner()
    }

    fn rounds(&mut self, gate: &'static Gate, rounds: u64, round: impl FnMut()) -> Duration {
        passes(gate, rounds, round, || {
            self.0.pass();
            !self.0.is_idle()
        })
    }
}

impl<F: Pooled> Spawn<F> for Spawner {
    #[inline]
    fn spawn(&self, future: F) {
        self.spawn_detached(future.pooled())
            .expect("the executor has room for each task of a round");
    }
}

impl<C: Capacity, M: Wakers> Joins for DormirRuntime<C, M> {
    fn spawn_parent(spawner: &Spawner, gate: &'static Gate, children: u64) {
        spawner
            .spawn_detached(parent(*spawner, gate, children))
            .expect("there is room for the parent");
    }
}
