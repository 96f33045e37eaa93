//! Tasks that follow a plan, and report what happens to them to the model.

use super::{
    act::{Ending, Origin, World},
    model::End,
    *,
};
use crate::executor::{header::TaskVTable, pool::Pool, task::TaskCell};
use core::{cell::Cell, marker::PhantomData, mem, pin::Pin};
use std::{panic::resume_unwind, thread_local};

thread_local! {
    /// The spawner of the test on this thread: tasks that are `Send` cannot carry it.
    pub(super) static SPAWNER: Cell<Option<Spawner>> = const { Cell::new(None) };
}

/// The number of tasks whose outputs need no drop that can exist at once: fewer than the executor's
/// slots.
pub(super) const PLAIN: usize = 3;
/// The same for tasks whose outputs need a drop: more than the executor's slots.
pub(super) const DROPPING: usize = 70;

#[derive(Clone, Copy)]
pub(super) struct VTables {
    plain: &'static TaskVTable,
    dropping: &'static TaskVTable,
}

#[derive(Clone, Copy)]
pub(super) struct Spawners {
    pub(super) remote: RemoteSpawner,
    pub(super) vtables: VTables,
}

impl VTables {
    /// Makes vtables with pools of their own.
    pub(super) fn new() -> Self {
        const CELL: usize = size_of::<TaskCell<Scripted<Plain>>>();
        const CELL_DROPPING: usize = size_of::<TaskCell<Scripted<Dropping>>>();
        let plain = leak(Pool::<{ CELL * PLAIN }, 8>::new());
        let dropping = leak(Pool::<{ CELL_DROPPING * DROPPING }, 8>::new());
        let make_plain = || -> Scripted<Plain> { unreachable!() };
        let make_dropping = || -> Scripted<Dropping> { unreachable!() };
        Self {
            // SAFETY: the pool is new, and is used for this type only.
            plain: leak(unsafe { TaskVTable::pooled(&make_plain, plain, || "plain") }),
            // SAFETY: the same.
            dropping: leak(unsafe { TaskVTable::pooled(&make_dropping, dropping, || "dropping") }),
        }
    }
}

/// An output that is counted.
pub(super) struct Dropping(usize, World);

impl Drop for Dropping {
    fn drop(&mut self) {
        self.1.state().model.output_dropped(self.0);
    }
}

/// An output that has nothing to drop.
pub(super) struct Plain(usize);

pub(super) trait Output: Send + 'static {
    fn make(number: usize, world: &World) -> Self;
}

impl Output for Dropping {
    fn make(number: usize, world: &World) -> Self {
        Self(number, world.clone())
    }
}

impl Output for Plain {
    fn make(number: usize, _world: &World) -> Self {
        Self(number)
    }
}

pub(super) struct Scripted<O> {
    number: usize,
    world: World,
    output: PhantomData<fn() -> O>,
}

impl<O: Output> Future for Scripted<O> {
    type Output = O;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<O> {
        let (number, world) = (self.number, &self.world);
        let mut state = world.state();
        state.model.begin_poll(number, cx.waker());
        let plan = mem::take(&mut state.plans[number]);
        drop(state);
        for act in plan.acts {
            world.act(act, Some(number));
        }
        let mut state = world.state();
        let known = state.model.task(number);
        match plan.ending {
            Ending::Wait => Poll::Pending,
            Ending::End => {
                known.leaves_poll = Some(End::Output);
                known.outputs_made += 1;
                Poll::Ready(O::make(number, world))
            }
            Ending::Panic => {
                known.leaves_poll = Some(End::Aborted);
                drop(state);
                // Without the hook, which would print it.
                resume_unwind(Box::new("as planned"))
            }
        }
    }
}

impl<O> Drop for Scripted<O> {
    fn drop(&mut self) {
        self.world.state().model.future_dropped(self.number);
    }
}

/// A task with either output.
pub(super) enum AnyTask {
    Plain(Task<Scripted<Plain>>),
    Dropping(Task<Scripted<Dropping>>),
}

pub(super) enum AnyHandle {
    Plain(JoinHandle<Plain>),
    Dropping(JoinHandle<Dropping>),
}

pub(super) enum AnyOutput {
    Plain(Plain),
    Dropping(Dropping),
}

fn scripted<O>(vtable: &'static TaskVTable, number: usize, world: World) -> Task<Scripted<O>> {
    let future = Scripted {
        number,
        world,
        output: PhantomData,
    };
    // SAFETY: `VTables::new` made the vtable for these futures.
    unsafe { Task::new(vtable, future) }
}

/// The handle, if the task has one; or why the task was refused, and the task.
type Spawned<H, T> = Result<Option<H>, (SpawnErrorKind, T)>;

fn spawn<O: Output>(
    task: Task<Scripted<O>>,
    spawners: Spawners,
    origin: Origin,
    joinable: bool,
) -> Spawned<JoinHandle<O>, Task<Scripted<O>>> {
    let local = || SPAWNER.get().expect("a bench sets it");
    let spawned = match (origin, joinable) {
        (Origin::Local, true) => local().spawn(task).map(Some),
        (Origin::Local, false) => local().spawn_detached(task).map(|()| None),
        (Origin::Remote, true) => spawners.remote.spawn(task).map(Some),
        (Origin::Remote, false) => spawners.remote.spawn_detached(task).map(|()| None),
    };
    spawned.map_err(|error| (error.kind(), error.into_task()))
}

impl AnyTask {
    pub(super) fn new(vtables: VTables, number: usize, dropping: bool, world: World) -> Self {
        if dropping {
            Self::Dropping(scripted(vtables.dropping, number, world))
        } else {
            Self::Plain(scripted(vtables.plain, number, world))
        }
    }

    pub(super) fn spawn(
        self,
        spawners: Spawners,
        origin: Origin,
        joinable: bool,
    ) -> Spawned<AnyHandle, Self> {
        match self {
            Self::Plain(task) => match spawn(task, spawners, origin, joinable) {
                Ok(handle) => Ok(handle.map(AnyHandle::Plain)),
                Err((limit, task)) => Err((limit, Self::Plain(task))),
            },
            Self::Dropping(task) => match spawn(task, spawners, origin, joinable) {
                Ok(handle) => Ok(handle.map(AnyHandle::Dropping)),
                Err((limit, task)) => Err((limit, Self::Dropping(task))),
            },
        }
    }
}

impl AnyHandle {
    pub(super) fn abort(&self) {
        match self {
            Self::Plain(handle) => handle.abort(),
            Self::Dropping(handle) => handle.abort(),
        }
    }

    pub(super) fn abort_handle(&self) -> AbortHandle {
        match self {
            Self::Plain(handle) => handle.abort_handle(),
            Self::Dropping(handle) => handle.abort_handle(),
        }
    }

    pub(super) fn is_finished(&self) -> bool {
        match self {
            Self::Plain(handle) => handle.is_finished(),
            Self::Dropping(handle) => handle.is_finished(),
        }
    }

    pub(super) fn poll(&mut self, waker: &Waker) -> Poll<Result<AnyOutput, Aborted>> {
        let cx = &mut Context::from_waker(waker);
        match self {
            Self::Plain(handle) => Pin::new(handle)
                .poll(cx)
                .map(|end| end.map(AnyOutput::Plain)),
            Self::Dropping(handle) => Pin::new(handle)
                .poll(cx)
                .map(|end| end.map(AnyOutput::Dropping)),
        }
    }
}

impl AnyOutput {
    pub(super) fn number(&self) -> usize {
        match self {
            Self::Plain(output) => output.0,
            Self::Dropping(output) => output.0,
        }
    }
}
