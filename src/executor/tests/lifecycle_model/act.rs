//! What the test does with tasks, and reports to the model.

use super::{
    model::{End, Handle, Model, Task as Known},
    scripted::{AnyHandle, AnyTask, Spawners},
    *,
};
use core::mem;
use std::sync::MutexGuard;

/// Something that can be done with tasks from anywhere. Tasks are given by numbers, modulo the
/// number of tasks.
#[derive(Clone, Debug)]
pub(super) enum Act {
    Spawn {
        origin: Origin,
        joinable: bool,
        dropping: bool,
        ending: Ending,
    },
    /// Spawns this number of remote tasks without handles.
    SpawnMany(usize),
    /// Spawns the task that was last refused.
    SpawnAgain,
    Wake(usize),
    Abort(usize),
    AbortByKeptHandle(usize),
    Join(usize),
    DropHandle(usize),
    ForgetHandle(usize),
    /// Only for a task in its poll.
    WakeSelf,
    AbortSelf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Local,
    Remote,
}

/// How a poll ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Ending {
    #[default]
    Wait,
    End,
    Panic,
}

/// What a task does in a poll.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    pub(super) acts: Vec<Act>,
    pub(super) ending: Ending,
}

/// The state that the test shares with its tasks.
#[derive(Clone)]
pub(super) struct World(Arc<Mutex<State>>);

#[derive(Default)]
pub(super) struct State {
    pub(super) model: Model,
    pub(super) plans: Vec<Plan>,
    handles: Vec<Option<AnyHandle>>,
    kept: Vec<Option<AbortHandle>>,
    /// Tasks that were refused.
    pub(super) refused: Vec<(usize, bool, AnyTask)>,
    spawners: Option<Spawners>,
}

impl World {
    pub(super) fn new(spawners: Spawners) -> Self {
        let spawners = Some(spawners);
        Self(Arc::new(Mutex::new(State {
            spawners,
            ..State::default()
        })))
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The number of the task that `task` stands for, if there are tasks.
    fn pick(&self, task: usize) -> Option<usize> {
        let tasks = self.state().model.tasks.len();
        (tasks > 0).then(|| task % tasks)
    }

    /// Does `act`, and reports it to the model. `by` is the task in whose poll it is done.
    pub(super) fn act(&self, act: Act, by: Option<usize>) {
        match act {
            Act::Spawn {
                origin,
                joinable,
                dropping,
                ending,
            } => self.spawn(origin, joinable, dropping, ending),
            Act::SpawnMany(number) => {
                let ending = if number % 2 == 0 {
                    Ending::Wait
                } else {
                    Ending::End
                };
                (0..number).for_each(|_| self.spawn(Origin::Remote, false, true, ending));
            }
            Act::SpawnAgain => {
                let refused = self.state().refused.pop();
                if let Some((number, joinable, task)) = refused {
                    self.spawn_task(number, joinable, task);
                }
            }
            Act::WakeSelf => by.into_iter().for_each(|task| self.wake(task)),
            Act::AbortSelf => by.into_iter().for_each(|task| self.abort(task)),
            Act::Wake(task) => self.pick(task).into_iter().for_each(|task| self.wake(task)),
            Act::AbortByKeptHandle(task) => self
                .pick(task)
                .into_iter()
                .for_each(|task| self.abort(task)),
            Act::Abort(task) => self
                .pick(task)
                .into_iter()
                .for_each(|task| self.abort_by_handle(task)),
            Act::Join(task) => self.pick(task).into_iter().for_each(|task| self.join(task)),
            Act::DropHandle(task) => self
                .pick(task)
                .into_iter()
                .for_each(|task| self.drop_handle(task)),
            Act::ForgetHandle(task) => {
                let Some(task) = self.pick(task) else { return };
                let mut state = self.state();
                if let Some(handle) = state.handles[task].take() {
                    mem::forget(handle);
                    state.model.task(task).handle = Handle::Forgotten;
                }
            }
        }
    }

    fn spawn(&self, origin: Origin, joinable: bool, dropping: bool, ending: Ending) {
        let mut state = self.state();
        let number = state.model.tasks.len();
        state
            .model
            .tasks
            .push(Known::new(origin == Origin::Local, dropping));
        state.plans.push(Plan {
            acts: Vec::new(),
            ending,
        });
        state.handles.push(None);
        state.kept.push(None);
        let vtables = state.spawners.expect("a bench sets them").vtables;
        drop(state);
        let task = AnyTask::new(vtables, number, dropping, self.clone());
        self.spawn_task(number, joinable, task);
    }

    fn spawn_task(&self, number: usize, joinable: bool, task: AnyTask) {
        let mut state = self.state();
        let spawners = state.spawners.expect("a bench sets them");
        let limit = state.model.limit(number);
        let known = state.model.task(number);
        let origin = if known.is_local {
            Origin::Local
        } else {
            Origin::Remote
        };
        known.is_spawned = true;
        known.is_live = true;
        known.is_ready = true;
        known.handle = if joinable { Handle::Held } else { Handle::Gone };
        drop(state);
        let spawned = task.spawn(spawners, origin, joinable);
        let mut state = self.state();
        let met = spawned.as_ref().err().map(|(limit, _)| *limit);
        state.model.expect(
            met == limit,
            &std::format!("{met:?} instead of {limit:?}"),
            number,
        );
        match spawned {
            Ok(handle) => {
                state.kept[number] = handle.as_ref().map(AnyHandle::abort_handle);
                state.handles[number] = handle;
            }
            Err((_, task)) => {
                let known = state.model.task(number);
                known.is_spawned = false;
                known.is_live = false;
                known.is_ready = false;
                known.handle = Handle::Gone;
                state.refused.push((number, joinable, task));
            }
        }
    }

    fn wake(&self, task: usize) {
        let mut state = self.state();
        let Some(waker) = state.model.task(task).waker.clone() else {
            return;
        };
        state.model.wake_slot(&waker);
        drop(state);
        waker.wake();
    }

    fn abort(&self, task: usize) {
        let mut state = self.state();
        let Some(handle) = state.kept[task] else {
            return;
        };
        state.model.abort(task);
        drop(state);
        handle.abort();
    }

    fn abort_by_handle(&self, task: usize) {
        let mut state = self.state();
        let Some(handle) = state.handles[task].take() else {
            return;
        };
        state.model.abort(task);
        drop(state);
        handle.abort();
        self.state().handles[task] = Some(handle);
    }

    fn join(&self, task: usize) {
        let Some(mut handle) = self.state().handles[task].take() else {
            return;
        };
        let joiner = Arc::new(Counter::default());
        let is_finished = handle.is_finished();
        let end = handle.poll(&Waker::from(joiner.clone()));
        let mut state = self.state();
        let known = state.model.task(task);
        let is_right = match &end {
            Poll::Pending => known.end.is_none(),
            Poll::Ready(Ok(output)) => known.end == Some(End::Output) && output.number() == task,
            Poll::Ready(Err(Aborted)) => known.end == Some(End::Aborted),
        };
        let is_right = is_right && is_finished == end.is_ready();
        if end.is_pending() {
            let replaced = known.joiner.replace(joiner);
            let is_dropped = replaced.is_none_or(|joiner| Arc::strong_count(&joiner) == 1);
            state
                .model
                .expect(is_dropped, "the waker of an earlier poll is kept", task);
            state.handles[task] = Some(handle);
        } else {
            known.handle = Handle::Gone;
        }
        state.model.expect(is_right, "its handle is polled", task);
        state.model.holder_drops = Some(task);
        drop(state);
        drop(end);
        self.state().model.holder_drops = None;
    }

    fn drop_handle(&self, task: usize) {
        let mut state = self.state();
        let Some(handle) = state.handles[task].take() else {
            return;
        };
        let known = state.model.task(task);
        known.handle = Handle::Gone;
        state.model.holder_drops = Some(task);
        drop(state);
        drop(handle);
        let mut state = self.state();
        state.model.holder_drops = None;
        let is_kept = state.model.task(task).has_output();
        state
            .model
            .expect(!is_kept, "its output is dropped with its handle", task);
    }

    /// Checks that each handle knows whether its task has ended.
    pub(super) fn check_handles(&self) {
        let mut state = self.state();
        let State { model, handles, .. } = &mut *state;
        for (number, handle) in handles.iter().enumerate() {
            if let Some(handle) = handle {
                let has_ended = model.task(number).end.is_some();
                model.expect(handle.is_finished() == has_ended, "is_finished", number);
            }
        }
    }

    /// The tasks whose handles are held.
    pub(super) fn held(&self) -> Vec<usize> {
        let state = self.state();
        let held = state.handles.iter().enumerate();
        held.filter(|(_, handle)| handle.is_some())
            .map(|(number, _)| number)
            .collect()
    }
}
