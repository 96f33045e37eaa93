//! The state that a program's tasks share: the notes, the reference, and the handles of tasks.

use core::{cell::RefCell, future::Future, mem, pin::Pin, task::Waker};

use critical_section::Mutex;
use dormir::{
    Event,
    executor::{AbortHandle, JoinHandle, RemoteSpawner},
    idle::IdleContext,
    time::TimerQueue,
};

use super::{
    actor::Output,
    alloc::{boxed::Box, format, string::String, sync::Arc, vec::Vec},
    note::{End, Note},
    program::{Act, EVENTS, Program},
    reference::Reference,
};

/// A machine on which programs run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine {
    /// The unit of the programs' times, in nanoseconds: a multiple of 1000, embassy's tick.
    pub(crate) unit: u64,
    /// Whether time passes only by the functions below.
    pub(crate) is_exact: bool,
    /// Waits as an idle policy does, but at most until an instant, if one is given.
    pub(crate) wait: fn(&IdleContext<'_>, Option<u64>),
    /// Lets time pass, to this instant.
    pub(crate) pass_time: fn(u64),
    /// Calls the function. Returns whether it has unwound.
    pub(crate) catch: fn(&mut dyn FnMut()) -> bool,
    /// Unwinds, where that can be caught.
    pub(crate) unwind: Option<fn() -> !>,
    /// Makes a timer of `embassy-time` that ends at this instant, where that has our driver.
    pub(crate) embassy: Option<fn(u64) -> BoxedFuture>,
    /// What the alarm is set to, where that is known.
    pub(crate) alarm: fn() -> Option<u64>,
    /// Reports that the program was not run as it must be, and ends the process or the guest.
    pub(crate) fail: fn(&str) -> !,
}

pub(crate) type BoxedFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Tasks are refused beyond this number, so that programs end.
const TASKS: usize = 32;

/// More notes than any program makes.
const NOTES: usize = 20_000;

/// The notes that are shown if one is wrong.
const SHOWN: usize = 60;

pub(crate) static EVENT: [Event; EVENTS] = [const { Event::new() }; EVENTS];

pub(crate) struct State {
    pub(crate) machine: Machine,
    pub(crate) program: Arc<Program>,
    reference: Reference,
    notes: Vec<Note>,
    pub(crate) handles: Vec<Option<JoinHandle<Output>>>,
    pub(crate) aborts: Vec<Option<AbortHandle>>,
    pub(crate) wakers: Vec<Option<Waker>>,
    pub(crate) top: RemoteSpawner,
    /// How many of the inner executors have a runner.
    pub(crate) nested: usize,
    /// The places whose loops are running, the innermost one last.
    pub(crate) places: Vec<usize>,
    next_place: usize,
    next_timer: usize,
    pub(crate) next_interrupt: usize,
    /// The instant of the last interrupt.
    pub(crate) interrupted: u64,
    /// A task unwinds since its script says so.
    pub(crate) is_unwinding: bool,
    /// Nothing else would happen: all tasks end at their next polls.
    pub(crate) is_finishing: bool,
}

static WORLD: Mutex<RefCell<Option<State>>> = Mutex::new(RefCell::new(None));

/// Begins a program.
pub(crate) fn begin(machine: Machine, program: Arc<Program>, top: RemoteSpawner, is_wide: bool) {
    let now = now();
    let state = State {
        machine,
        program,
        reference: Reference::new(machine.is_exact, is_wide, now),
        notes: Vec::new(),
        handles: Vec::new(),
        aborts: Vec::new(),
        wakers: Vec::new(),
        top,
        nested: 0,
        places: Vec::new(),
        next_place: 0,
        next_timer: 0,
        next_interrupt: 0,
        interrupted: now,
        is_unwinding: false,
        is_finishing: false,
    };
    let before = critical_section::with(|cs| WORLD.borrow(cs).replace(Some(state)));
    drop(before);
}

/// Ends the program, and returns its notes.
pub(crate) fn end() -> Vec<Note> {
    let state = critical_section::with(|cs| WORLD.borrow(cs).take());
    state.expect("a program has begun").notes
}

/// Calls a function with the state, in a critical section: no foreign code is called there.
pub(crate) fn with<R>(function: impl FnOnce(&mut State) -> R) -> R {
    critical_section::with(|cs| {
        let mut state = WORLD.borrow(cs).borrow_mut();
        function(state.as_mut().expect("a program has begun"))
    })
}

/// Notes what has happened. Ends everything if it must not happen.
pub(crate) fn note(note: Note) {
    let wrong = with(|state| {
        state.notes.push(note);
        let wrong = if state.notes.len() > NOTES {
            Err("the program does not end".into())
        } else {
            state.reference.follow(note)
        };
        wrong.map_err(|wrong| (wrong, state.machine.fail))
    });
    if let Err((wrong, fail)) = wrong {
        fail(&explain(&wrong));
    }
}

/// Calls a function. Returns whether a task's panic has unwound it.
pub(crate) fn catch(mut function: impl FnMut()) -> bool {
    let catch = with(|state| state.machine.catch);
    let has_unwound = catch(&mut function);
    let should_unwind = with(|state| mem::replace(&mut state.is_unwinding, false));
    if has_unwound != should_unwind {
        fail("a loop has unwound though no task has, or has not though one has");
    }
    has_unwound
}

/// The program is not over, and nothing would ever happen.
pub(crate) fn fail(wrong: &str) -> ! {
    (with(|state| state.machine.fail))(&explain(wrong))
}

fn explain(wrong: &str) -> String {
    with(|state| {
        let mut text = format!("{wrong}\n{:#?}\n", state.program);
        let hidden = state.notes.len().saturating_sub(SHOWN);
        text += &format!("{hidden} notes, and then:\n");
        for note in &state.notes[hidden..] {
            text += &format!("{note:?}\n");
        }
        text
    })
}

pub(crate) fn now() -> u64 {
    TimerQueue::global().now().as_nanos()
}

/// This number of units, in nanoseconds.
pub(crate) fn units(number: u64) -> u64 {
    with(|state| number * state.machine.unit)
}

/// A number for a new task, if one more may exist.
pub(crate) fn new_task() -> Option<usize> {
    with(|state| {
        let task = state.handles.len();
        if task == TASKS || state.is_finishing {
            return None;
        }
        state.handles.push(None);
        state.aborts.push(None);
        state.wakers.push(None);
        Some(task)
    })
}

pub(crate) fn new_timer() -> usize {
    with(|state| {
        state.next_timer += 1;
        state.next_timer - 1
    })
}

/// A number for a new place, which is now the innermost.
pub(crate) fn new_place() -> usize {
    with(|state| {
        let place = state.next_place;
        state.next_place += 1;
        state.places.push(place);
        place
    })
}

/// The task with that number modulo the number of tasks.
fn pick(number: usize) -> Option<usize> {
    let tasks = with(|state| state.handles.len());
    (tasks > 0).then(|| number % tasks)
}

/// Takes the handle of a task, to await it.
pub(crate) fn take_handle(number: usize) -> Option<(usize, JoinHandle<Output>)> {
    let task = pick(number)?;
    let handle = with(|state| state.handles[task].take())?;
    Some((task, handle))
}

pub(crate) fn abort(task: usize) {
    if let Some(handle) = with(|state| state.aborts[task]) {
        note(Note::Aborted { task });
        handle.abort();
    }
}

pub(crate) fn wake(task: usize) {
    if let Some(waker) = with(|state| state.wakers[task].clone()) {
        note(Note::Woke { task });
        waker.wake();
    }
}

pub(crate) fn detach(task: usize) {
    let handle = with(|state| state.handles[task].take());
    if let Some(handle) = handle {
        note(Note::HandleDropped { task });
        drop(handle);
    }
}

/// Does an act, but for spawning.
pub(crate) fn act(act: Act) {
    match act {
        Act::Signal(number) => {
            let event = number % EVENTS;
            note(Note::Signalled { event });
            EVENT[event].signal();
        }
        Act::Take(number) => {
            let event = number % EVENTS;
            let signals = EVENT[event].take();
            note(Note::Taken { event, signals });
        }
        Act::Wake(number) => pick(number).into_iter().for_each(wake),
        Act::Abort(number) => pick(number).into_iter().for_each(abort),
        Act::Detach(number) => pick(number).into_iter().for_each(detach),
        Act::Ask(number) => {
            let Some(task) = pick(number) else { return };
            let ended = with(|state| state.handles[task].as_ref().map(JoinHandle::is_finished));
            if let Some(has_ended) = ended {
                note(Note::Asked { task, has_ended });
            }
        }
        Act::Spawn(script) => super::run::spawn_remote(script, false, false),
    }
}

/// What the handle of a task returned, as it is noted.
pub(crate) fn noted_end(end: &Result<Output, dormir::executor::Aborted>) -> End {
    match end {
        Ok(output) => End::Output(output.0),
        Err(_) => End::Aborted,
    }
}
