//! The runtimes, behind a common interface.

mod dormir;
mod embassy;
mod local_pool;
mod smol;
mod tokio;

use std::{
    future::{Future, poll_fn},
    task::Poll,
    time::{Duration, Instant},
};

pub(crate) use self::{
    dormir::DormirRuntime, embassy::EmbassyRuntime, local_pool::FuturesLocalPool, smol::Smol,
    tokio::Tokio,
};
use crate::work::{Gate, Parked};

/// A runtime whose tasks are of type `F`.
pub(crate) trait Runtime<F> {
    type Spawner: Spawn<F> + 'static;

    /// The name in the tables.
    const NAME: &'static str;

    fn new() -> Self;

    fn spawner(&self) -> Self::Spawner;

    /// Repeats the given number of times: calls `round`, which arms the gate and wakes or spawns,
    /// then lets the runtime poll until no poll remains at the gate, and check for a ready task at
    /// least once. Returns the total time, without entering and leaving the runtime.
    fn rounds(&mut self, gate: &'static Gate, rounds: u64, round: impl FnMut()) -> Duration;
}

/// Spawns detached tasks. Called in rounds only.
pub(crate) trait Spawn<F> {
    fn spawn(&self, future: F);
}

/// A runtime with join handles. The other tasks are [`Parked`].
pub(crate) trait Joins: Runtime<Parked> {
    /// Spawns a parent, which repeatedly spawns an [`Answering`](crate::work::Answering) and awaits
    /// its answer, and decrements the gate at its end. Called in rounds only.
    fn spawn_parent(spawner: &Self::Spawner, gate: &'static Gate, children: u64);
}

/// The rounds of a runtime that owns its loop: its `block_on` runs this future.
fn main_line(
    gate: &'static Gate,
    mut rounds: u64,
    mut round: impl FnMut(),
) -> impl Future<Output = Duration> {
    let mut start = None;
    poll_fn(move |cx| {
        let start = *start.get_or_insert_with(|| {
            gate.wake_main_line(cx.waker());
            Instant::now()
        });
        if gate.left() > 0 {
            return Poll::Pending;
        }
        if rounds == 0 {
            return Poll::Ready(start.elapsed());
        }
        rounds -= 1;
        round();
        if gate.left() == 0 {
            // No task was woken: the runtime checks for ready tasks, and returns.
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    })
}

/// The rounds of a runtime whose loop belongs to the caller. `pass` polls what is ready, and
/// returns whether more may be ready.
fn passes(
    gate: &Gate,
    rounds: u64,
    mut round: impl FnMut(),
    mut pass: impl FnMut() -> bool,
) -> Duration {
    let start = Instant::now();
    for _ in 0..rounds {
        round();
        while pass() {}
        assert_eq!(gate.left(), 0, "a task that was woken was not polled");
    }
    start.elapsed()
}
