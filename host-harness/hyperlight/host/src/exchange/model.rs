//! Both sides of the protocol, driven by a random scheduler: calls, cancellations, errors, panics,
//! pieces, batches and replies that are lost, snapshots, restores, and other hosts. Each call ends
//! once, with its own result or as lost, and nothing is left on the host.
//!
//! This file has the host: its functions, and a runtime that polls them in any order. The guest and
//! the scheduler are in `run`.

use std::{
    future::poll_fn,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use dormir_hyperlight_protocol::guest::{CallError, CallResult};

use super::*;
use crate::{
    limits::Limits,
    runtime::{HostTask, Runtime},
};

/// How many seeds a model takes: `usual`, unless the variable has another number.
fn number_of_runs(usual: u64) -> u64 {
    let runs = std::env::var("DORMIR_MODEL_RUNS").ok();
    runs.map_or(usual, |runs| runs.parse().expect("a number of runs"))
}

pub(super) const LIMITS: Limits = Limits::new().with_calls(60).with_bytes(120_000);

/// Marsaglia's xorshift.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

/// Whether a task was woken.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Whether a task is to be polled, since it was woken. Clones are the same task's.
#[derive(Clone)]
pub(super) struct Task {
    woken: Arc<Woken>,
    /// Whether it was woken, in a snapshot.
    saved: bool,
}

impl Task {
    pub(super) fn new() -> Self {
        let task = Self {
            woken: Arc::default(),
            saved: true,
        };
        task.wake();
        task
    }

    pub(super) fn wake(&self) {
        self.woken.0.store(true, Ordering::Relaxed);
    }

    pub(super) fn takes_wake(&self) -> bool {
        self.woken.0.swap(false, Ordering::Relaxed)
    }

    pub(super) fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.woken))
    }

    fn save(&mut self) {
        self.saved = self.woken.0.load(Ordering::Relaxed);
    }

    fn restore(&self) {
        self.woken.0.store(self.saved, Ordering::Relaxed);
    }
}

/// A runtime whose tasks are polled when they were woken and the scheduler says so.
#[derive(Clone, Default)]
pub(super) struct Steps(pub(super) Arc<Mutex<Vec<(HostTask, Task)>>>);

impl Runtime for Steps {
    fn spawn(&self, task: HostTask) {
        self.0.lock().expect("no panic").push((task, Task::new()));
    }
}

impl Steps {
    pub(super) fn poll_one(&self, random: &mut Random) {
        let mut tasks = self.0.lock().expect("no panic");
        if tasks.is_empty() {
            return;
        }
        let first = random.below(tasks.len());
        let mut order = (first..tasks.len()).chain(0..first);
        let Some(chosen) = order.find(|at| tasks[*at].1.takes_wake()) else {
            return;
        };
        let (mut task, woken) = tasks.swap_remove(chosen);
        drop(tasks);
        let polled = task.as_mut().poll(&mut Context::from_waker(&woken.waker()));
        if polled.is_pending() {
            self.0.lock().expect("no panic").push((task, woken));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().expect("no panic").is_empty()
    }
}

/// What a call asks for; its argument says so.
#[derive(Clone, Copy)]
pub(super) struct Wish {
    /// 0 to 5: a result; 6: an error; 7: a panic; 8: an unknown function; 9: too large a result.
    kind: u8,
    polls: u8,
    number: u32,
    length: u32,
}

impl Wish {
    pub(super) fn new(number: u32, random: &mut Random) -> Self {
        let large = random.below(8) == 0;
        Self {
            kind: random.below(10) as u8,
            polls: random.below(4) as u8,
            number,
            length: random.below(if large { 60_000 } else { 40 }) as u32,
        }
    }

    pub(super) fn argument(self) -> Vec<u8> {
        let mut argument = vec![self.kind, self.polls];
        argument.extend(self.number.to_le_bytes());
        argument.extend(self.length.to_le_bytes());
        argument
    }

    fn bytes(number: u32, length: u32) -> Vec<u8> {
        (0..length).map(|at| (at ^ number) as u8).collect()
    }

    /// Whether a call may end like this. It is lost only if something was; and `is_scarce` if the
    /// host's limits are less than what the guest asks for.
    fn may_be(self, result: &CallResult, may_be_lost: bool, is_scarce: bool) -> bool {
        match (self.kind, result) {
            (_, Err(CallError::Lost)) => may_be_lost,
            (_, Err(CallError::Busy)) => is_scarce,
            (8, Err(CallError::Unknown)) | (7, Err(CallError::Panicked)) => true,
            (6, Err(CallError::Host(message))) => *message == self.number.to_string(),
            (9, Err(CallError::TooLarge)) => true,
            (0..=6, Err(CallError::TooLarge)) => is_scarce,
            (0..=5, Ok(bytes)) => *bytes == Self::bytes(self.number, self.length),
            _ => false,
        }
    }
}

/// A host with the function `wish`. As many of its futures exist as `alive` has other owners.
pub(super) fn host(alive: &Arc<()>) -> (Arc<HostState>, Steps) {
    let steps = Steps::default();
    let state = HostState::new(false, Duration::from_secs(60), Duration::ZERO);
    let state = Arc::new(state);
    assert!(state.set_runtime(steps.clone()));
    state.set_limits(LIMITS);
    let alive = Arc::downgrade(alive);
    let wish = |alive: Option<Arc<()>>, argument: Vec<u8>| async move {
        let _alive = alive;
        let word = |at: usize| {
            let word = argument
                .get(at..at + 4)
                .and_then(|word| word.try_into().ok());
            u32::from_le_bytes(word.expect("the model sends it"))
        };
        let (number, length) = (word(2), word(6));
        let mut polls = argument[1];
        poll_fn(|cx| {
            let is_over = polls == 0;
            polls = polls.saturating_sub(1);
            cx.waker().wake_by_ref();
            if is_over {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
        match argument[0] {
            6 => Err(number.to_string()),
            7 => std::panic::resume_unwind(Box::new("on purpose")),
            9 => Ok(vec![0; LIMITS.bytes + 1]),
            _ => Ok(Wish::bytes(number, length)),
        }
    };
    let wish = move |argument| wish(alive.upgrade(), argument);
    state.functions.add("wish".into(), wish);
    (state, steps)
}

mod connected;
mod run;
mod streams;
