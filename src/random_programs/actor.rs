//! Tasks that follow scripts, and note what they do.

use core::{
    future::Future,
    mem,
    pin::Pin,
    task::{Context, Poll},
};

use dormir::{
    executor::{Spawner, current_task},
    time::TimerQueue,
};

use super::{
    alloc::{boxed::Box, sync::Arc},
    leaf::{Leaves, Limited, Tick},
    note::Note,
    program::{Act, Op, Program},
    run,
    world::{self, note, now, units},
};

/// The output of a task: its number.
#[derive(Debug)]
pub(crate) struct Output(pub(crate) usize);

impl Drop for Output {
    fn drop(&mut self) {
        note(Note::OutputDropped { task: self.0 });
    }
}

/// A task's future.
pub(crate) struct Actor<F: ?Sized> {
    task: usize,
    body: Pin<Box<F>>,
}

/// That of a task that may be spawned anywhere.
pub(crate) type RemoteActor = Actor<dyn Future<Output = ()> + Send>;

/// That of a task which can spawn on the executor that it is on.
pub(crate) type LocalActor = Actor<dyn Future<Output = ()>>;

impl RemoteActor {
    pub(crate) fn new(task: usize, script: usize) -> Self {
        let body = Box::pin(follow(program(), script, NoSpawner));
        Self { task, body }
    }
}

impl LocalActor {
    pub(crate) fn new(task: usize, script: usize, spawner: Spawner) -> Self {
        let body = Box::pin(follow(program(), script, spawner));
        Self { task, body }
    }
}

impl<F: Future<Output = ()> + ?Sized> Future for Actor<F> {
    type Output = Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Output> {
        let (task, name) = (self.task, current_task());
        let slot = cx.waker().data().addr();
        let (now, waker) = (now(), cx.waker().clone());
        let earlier = world::with(|state| state.wakers[task].replace(waker));
        drop(earlier);
        note(Note::Polled { task, slot, now });
        let is_ready = world::with(|state| state.is_finishing) || {
            let polling = Polling(task);
            let is_ready = self.body.as_mut().poll(cx).is_ready();
            mem::forget(polling);
            is_ready
        };
        note(Note::Returned { task, is_ready });
        if current_task() != name {
            world::fail("after the loops that it ran, the current task is another one");
        }
        if is_ready {
            Poll::Ready(Output(task))
        } else {
            Poll::Pending
        }
    }
}

impl<F: ?Sized> Drop for Actor<F> {
    fn drop(&mut self) {
        note(Note::FutureDropped { task: self.task });
    }
}

/// Notes that a poll has unwound.
struct Polling(usize);

impl Drop for Polling {
    fn drop(&mut self) {
        note(Note::Panicked { task: self.0 });
    }
}

/// Where a task spawns.
pub(crate) trait Home: Copy {
    fn spawner(self) -> Option<Spawner>;
}

/// On the outermost executor only.
#[derive(Clone, Copy)]
struct NoSpawner;

impl Home for NoSpawner {
    fn spawner(self) -> Option<Spawner> {
        None
    }
}

impl Home for Spawner {
    fn spawner(self) -> Option<Spawner> {
        Some(self)
    }
}

fn program() -> Arc<Program> {
    world::with(|state| state.program.clone())
}

async fn follow(program: Arc<Program>, script: usize, home: impl Home) {
    for &op in program.script(script) {
        // While another loop ran in this poll, the program may have come to its end.
        if world::with(|state| state.is_finishing) {
            return;
        }
        match op {
            Op::Await(leaf) => Leaves::one(leaf).await,
            Op::Select(first, second) => Leaves::two(first, second).await,
            Op::Limit(leaf, limit) => Limited::new(leaf, limit).await,
            Op::Reset(first, then) => Leaves::reset(first, then).await,
            Op::Ticks { period, work } => {
                let mut ticker = TimerQueue::global().ticker(
                    dormir::time::Instant::from_nanos(now() + units(period)),
                    core::time::Duration::from_nanos(units(period)),
                );
                Tick::new(&mut ticker).await;
                pass_time(work);
                Tick::new(&mut ticker).await;
            }
            Op::Busy(time) => pass_time(time),
            Op::Spawn {
                script,
                is_local,
                is_joinable,
                is_pooled,
            } => match home.spawner().filter(|_| is_local) {
                Some(spawner) => run::spawn_local(spawner, script, is_joinable),
                None => run::spawn_remote(script, is_joinable, is_pooled),
            },
            Op::Nest { script, leaves } => run::nest(script, leaves),
            Op::BlockOn { script } => run::block_on(script),
            Op::Act(Act::Spawn(script)) => run::spawn_remote(script, true, true),
            Op::Act(act) => world::act(act),
            Op::Panic => {
                if let Some(unwind) = world::with(|state| state.machine.unwind) {
                    world::with(|state| state.is_unwinding = true);
                    unwind();
                }
                return;
            }
            Op::End => return,
        }
    }
}

fn pass_time(time: u64) {
    let to = now() + units(time);
    (world::with(|state| state.machine.pass_time))(to);
    note(Note::Advanced { now: now() });
}
