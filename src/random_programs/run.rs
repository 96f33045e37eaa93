//! Makes tasks of a program, and runs them.

use dormir::{
    executor::{
        Capacity, Cpus, Executor, JoinHandle, Runner, Shared, SpawnError, Spawner, Task, Up64,
        current_task,
    },
    idle::{Idle, IdleContext},
    time::TimerQueue,
};

use super::{
    actor::{LocalActor, Output, RemoteActor},
    alloc::vec::Vec,
    note::{Loop, Note},
    program::Program,
    slots,
    world::{self, Machine, note, now},
};

/// Loops that run inside each other.
const PLACES: usize = 6;

/// The executors of nested runners.
static INNER: [Executor<Up64>; 2] = [const { Executor::new(Shared) }; 2];

dormir::tasks! {
    fn pooled(actor: RemoteActor) -> RemoteActor, pool = 3 { actor }
}

/// The number of tasks that can be in that pool.
pub(crate) const POOL: usize = 3;

/// Runs the program that follows from `words`, and returns what was noted. `is_wide` says that the
/// executor holds more than 64 tasks.
///
/// The executor and the global timer queue are used by nothing else. Does not return if something
/// is wrong.
pub(crate) fn run<C: Capacity, M: Cpus>(
    executor: &'static Executor<C, M>,
    is_wide: bool,
    machine: Machine,
    words: &[u32],
) -> Vec<Note> {
    slots::arrange(executor);
    INNER.iter().for_each(slots::arrange);
    let program = Program::decode(words);
    world::begin(machine, program.clone(), executor.remote(), is_wide);
    let place = open(program.how);
    let mut runner = executor.enter().expect("there is no runner");
    for script in 0..program.first {
        if script % 2 == 0 {
            spawn_local(runner.spawner(), script, true);
        } else {
            spawn_remote(script, true, false);
        }
    }
    if !drive(
        executor,
        &mut runner,
        program.how,
        place,
        program.leaves_after,
    ) {
        note(Note::Leaving { place });
        drop(runner);
        note(Note::Left { place });
        runner = executor.enter().expect("there is no runner");
        drive(executor, &mut runner, program.how, place, None);
    }
    close(place);
    let tasks = world::with(|state| state.handles.len());
    (0..tasks).for_each(world::detach);
    // Whichever loop ran before: a `run` leaves the alarm off.
    runner.run(Watched(place));
    note(Note::Ended {
        tasks: executor.tasks(),
        deadline: TimerQueue::global().turn().map(|at| at.as_nanos()),
        alarm: (machine.alarm)(),
    });
    if current_task().is_some() {
        world::fail("no task is being polled, and there is a current one");
    }
    for event in &world::EVENT {
        event.take();
    }
    world::end()
}

/// Spreads the slots that programs use over the words of an executor of 4096. To be called once,
/// before the first program.
pub(crate) fn spread<C: Capacity, M: Cpus>(executor: &'static Executor<C, M>) {
    slots::spread(executor);
}

fn open(how: Loop) -> usize {
    let place = world::new_place();
    note(Note::Opened { place, how });
    place
}

fn close(place: usize) {
    note(Note::Closed { place });
    pop(place);
}

fn pop(place: usize) {
    let innermost = world::with(|state| state.places.pop());
    assert_eq!(innermost, Some(place));
}

/// Runs tasks until all have ended, or for this number of waits. Returns whether all have ended.
fn drive<C: Capacity, M: Cpus>(
    executor: &'static Executor<C, M>,
    runner: &mut Runner<C, M>,
    how: Loop,
    place: usize,
    mut waits: Option<u32>,
) -> bool {
    let timers = TimerQueue::global();
    loop {
        let mut deadline = None;
        let has_unwound = world::catch(|| match how {
            Loop::Run => runner.run(Watched(place)),
            Loop::UntilIdle => deadline = runner.run_until_idle().next_deadline,
            Loop::Passes => runner.pass(),
            Loop::Steps => drop(runner.step()),
        });
        if has_unwound {
            continue;
        }
        if matches!(how, Loop::Passes | Loop::Steps) {
            deadline = timers.turn();
        }
        if how == Loop::Run || executor.tasks() == 0 {
            return true;
        }
        if runner.is_idle() {
            match &mut waits {
                Some(0) => return false,
                Some(waits) => *waits -= 1,
                None => {}
            }
            let is_idle = || runner.is_idle();
            watch(place, &IdleContext::new(timers, deadline, &is_idle));
        }
    }
}

/// The idle policy of a place.
struct Watched(usize);

impl Idle for Watched {
    fn wait(&mut self, cx: &IdleContext<'_>) {
        watch(self.0, cx);
    }
}

/// Waits, and does what interrupts do meanwhile.
fn watch(place: usize, cx: &IdleContext<'_>) {
    if !cx.is_idle() {
        return;
    }
    let deadline = cx.deadline().map(|at| at.as_nanos());
    let now_waits = now();
    note(Note::Waits {
        place,
        deadline,
        now: now_waits,
    });
    let wait = world::with(|state| state.machine.wait);
    let next = world::with(|state| {
        let next = state.program.interrupts.get(state.next_interrupt)?;
        Some((state.interrupted + next.0 * state.machine.unit, next.1))
    });
    match next {
        Some((at, act)) if deadline.is_none_or(|deadline| at < deadline) => {
            wait(cx, Some(at));
            world::with(|state| {
                state.next_interrupt += 1;
                state.interrupted = at.max(now());
            });
            note(Note::Woken { now: now() });
            world::act(act);
        }
        None if deadline.is_none() => {
            finish();
            note(Note::Woken { now: now() });
        }
        _ => {
            wait(cx, None);
            note(Note::Woken { now: now() });
        }
    }
}

/// Nothing would ever happen: ends all tasks, by aborts and by wakes.
fn finish() {
    let was_finishing = world::with(|state| core::mem::replace(&mut state.is_finishing, true));
    if was_finishing {
        world::fail("nothing is left to wait for, and there are tasks");
    }
    for task in 0..world::with(|state| state.handles.len()) {
        if task % 2 == 0 {
            world::abort(task);
        }
        world::wake(task);
    }
}

/// Runs two tasks on another executor: to their end, or until it would wait.
pub(crate) fn nest(script: usize, leaves: bool) {
    let Some(executor) = world::with(|state| {
        let executor = INNER.get(state.nested);
        let executor = executor.filter(|_| state.places.len() < PLACES)?;
        state.nested += 1;
        Some(executor)
    }) else {
        return;
    };
    let how = if leaves { Loop::UntilIdle } else { Loop::Run };
    let place = open(how);
    let mut runner = executor.enter().expect("it is the only runner");
    spawn_local(runner.spawner(), script, true);
    spawn_local(runner.spawner(), script + 1, false);
    let waits = leaves.then_some(0);
    if drive(executor, &mut runner, how, place, waits) {
        close(place);
    } else {
        note(Note::Leaving { place });
        drop(runner);
        note(Note::Left { place });
        pop(place);
    }
    world::with(|state| state.nested -= 1);
}

pub(crate) fn block_on(script: usize) {
    if world::with(|state| state.places.len()) >= PLACES {
        return;
    }
    let Some(task) = world::new_task() else {
        return;
    };
    let place = open(Loop::Run);
    note(Note::Spawned {
        task,
        place,
        is_local: true,
        is_joinable: false,
        is_pooled: false,
        is_refused: false,
    });
    let mut actor = Some(RemoteActor::new(task, script));
    world::catch(|| {
        let actor = actor.take().expect("it is called once");
        drop(dormir::block_on(actor, Watched(place)));
    });
    close(place);
}

pub(crate) fn spawn_local(spawner: Spawner, script: usize, is_joinable: bool) {
    let Some(task) = world::new_task() else {
        return;
    };
    let place = world::with(|state| state.places.last().copied());
    let future = Task::boxed(LocalActor::new(task, script, spawner));
    let spawned = if is_joinable {
        spawner.spawn(future).map(Some)
    } else {
        spawner.spawn_detached(future).map(|()| None)
    };
    let place = place.expect("a loop is running");
    keep(task, place, true, is_joinable, false, spawned);
}

/// On the outermost executor.
pub(crate) fn spawn_remote(script: usize, is_joinable: bool, is_pooled: bool) {
    let Some(task) = world::new_task() else {
        return;
    };
    let top = world::with(|state| state.top);
    let actor = RemoteActor::new(task, script);
    let future = if is_pooled {
        pooled(actor)
    } else {
        Task::boxed(actor)
    };
    let spawned = if is_joinable {
        top.spawn(future).map(Some)
    } else {
        top.spawn_detached(future).map(|()| None)
    };
    keep(task, 0, false, is_joinable, is_pooled, spawned);
}

fn keep<F: Future>(
    task: usize,
    place: usize,
    is_local: bool,
    is_joinable: bool,
    is_pooled: bool,
    spawned: Result<Option<JoinHandle<Output>>, SpawnError<F>>,
) {
    note(Note::Spawned {
        task,
        place,
        is_local,
        is_joinable,
        is_pooled,
        is_refused: spawned.is_err(),
    });
    if let Ok(Some(handle)) = spawned {
        world::with(|state| {
            state.aborts[task] = Some(handle.abort_handle());
            state.handles[task] = Some(handle);
        });
    }
}
