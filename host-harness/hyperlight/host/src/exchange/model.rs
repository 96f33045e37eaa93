//! Both sides of the protocol, driven by a random scheduler: calls, cancellations, errors, panics,
//! pieces, batches and replies that are lost, snapshots, restores, and other hosts. Each call ends
//! once, with its own result or as lost, and nothing is left on the host.

use std::{
    env,
    future::poll_fn,
    sync::Mutex,
    task::{Context, Poll, Waker},
};

use dormir_hyperlight_protocol::{
    Reply,
    guest::{CallError, CallResult, Calls, Progress},
};

use super::*;
use crate::{
    limits::Limits,
    runtime::{HostTask, Runtime},
};

/// How many calls a run makes.
const CALLS: u32 = 4_000;

/// How many runs there are, each with another seed, unless the variable has another number.
const RUNS: u64 = 100;
const VARIABLE: &str = "DORMIR_MODEL_RUNS";

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

/// A runtime whose tasks are polled when the scheduler says so.
#[derive(Clone, Default)]
pub(super) struct Steps(pub(super) Arc<Mutex<Vec<HostTask>>>);

impl Runtime for Steps {
    fn spawn(&self, task: HostTask) {
        self.0.lock().expect("no panic").push(task);
    }
}

impl Steps {
    pub(super) fn poll_one(&self, random: &mut Random) {
        let mut tasks = self.0.lock().expect("no panic");
        if tasks.is_empty() {
            return;
        }
        let chosen = random.below(tasks.len());
        let mut task = tasks.swap_remove(chosen);
        drop(tasks);
        let polled = task.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if polled.is_pending() {
            self.spawn(task);
        }
    }

    fn is_empty(&self) -> bool {
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

    /// Whether a call may end like this. It is lost only if something was.
    fn may_be(self, result: &CallResult, may_be_lost: bool) -> bool {
        match (self.kind, result) {
            (_, Err(CallError::Lost)) => may_be_lost,
            // The guest's table, or the host's.
            (_, Err(CallError::Busy)) => true,
            (8, Err(CallError::Unknown)) | (7, Err(CallError::Panicked)) => true,
            (6, Err(CallError::Host(message))) => *message == self.number.to_string(),
            (9, Err(CallError::TooLarge)) => true,
            // Other results may take the host's memory or the guest's.
            (0..=5, Err(CallError::TooLarge)) => true,
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
        poll_fn(|_| {
            let is_over = polls == 0;
            polls = polls.saturating_sub(1);
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

/// A call that the guest waits for.
#[derive(Clone)]
struct Waiting {
    id: CallId,
    wish: Wish,
    is_sent: bool,
    may_be_lost: bool,
}

/// A guest: what a snapshot keeps.
#[derive(Clone)]
struct Guest {
    calls: Calls,
    waiting: Vec<Waiting>,
}

/// How an exchange ends.
enum Exchange {
    Good,
    BatchIsLost,
    ReplyIsLost,
}

impl Guest {
    fn new() -> Self {
        let mut calls = Calls::new();
        calls.set_budget(100_000);
        Self {
            calls,
            waiting: Vec::new(),
        }
    }

    fn call(&mut self, number: u32, random: &mut Random) {
        let wish = Wish::new(number, random);
        let name = if wish.kind == 8 { "nothing" } else { "wish" };
        if let Ok(id) = self.calls.call(name, &wish.argument()) {
            self.waiting.push(Waiting {
                id,
                wish,
                is_sent: false,
                may_be_lost: false,
            });
        }
    }

    fn all_may_be_lost(&mut self) {
        for waiting in &mut self.waiting {
            waiting.may_be_lost = true;
        }
    }

    fn exchange(&mut self, host: &Arc<HostState>, how: Exchange) {
        let batch = self.calls.batch(0, false, false);
        let header = Batch::parse(&batch).expect("it is sound").header;
        let reply = match how {
            Exchange::BatchIsLost => None,
            _ => Some(host.exchange(&batch).expect("it is no deadlock")),
        };
        if let (Exchange::Good, Some(reply)) = (&how, reply) {
            let reply = Reply::parse(&reply).expect("it is sound");
            assert!(self.calls.take_reply(&reply));
        } else {
            self.calls.no_answer();
            // The others are not, whatever became of the reply.
            let unsent = self.waiting.iter_mut().filter(|waiting| !waiting.is_sent);
            unsent.for_each(|waiting| waiting.may_be_lost = true);
        }
        if !header.flags.is_repeated {
            self.waiting
                .iter_mut()
                .for_each(|waiting| waiting.is_sent = true);
        }
        while self.calls.next_woken().is_some() {}
        let Self { calls, waiting } = self;
        waiting.retain(|waiting| match calls.poll(waiting.id, Waker::noop()) {
            Progress::Ended(result) => {
                let is_right = waiting.wish.may_be(&result, waiting.may_be_lost);
                assert!(is_right, "kind {} ended with {result:?}", waiting.wish.kind);
                false
            }
            Progress::Waits(_) => true,
        });
        assert_eq!(calls.in_use(), waiting.len());
    }
}

fn run(seed: u64) {
    let mut random = Random(seed);
    let alive = Arc::new(());
    let (mut host, mut steps) = self::host(&alive);
    let mut guest = Guest::new();
    let mut snapshot = guest.clone();
    let mut number = 0;
    while number < CALLS {
        match random.below(400) {
            0..150 => {
                number += 1;
                guest.call(number, &mut random);
            }
            150..165 => {
                if !guest.waiting.is_empty() {
                    let chosen = random.below(guest.waiting.len());
                    let dropped = guest.waiting.swap_remove(chosen);
                    guest.calls.cancel(dropped.id);
                }
            }
            165..300 => steps.poll_one(&mut random),
            300..380 => guest.exchange(&host, Exchange::Good),
            380..385 => guest.exchange(&host, Exchange::BatchIsLost),
            385..390 => guest.exchange(&host, Exchange::ReplyIsLost),
            390..394 => snapshot = guest.clone(),
            394..397 => {
                guest = snapshot.clone();
                guest.all_may_be_lost();
            }
            397 => {
                host.cancel();
                guest.all_may_be_lost();
                // What sandboxes do then.
                guest = snapshot.clone();
                guest.all_may_be_lost();
                host.changing().is_cancelled = false;
            }
            398 => host.signal(random.below(256) as u8),
            _ => {
                host.close();
                assert_eq!((host.usage().calls, host.usage().bytes), (0, 0));
                (host, steps) = self::host(&alive);
                guest.all_may_be_lost();
            }
        }
        let usage = host.usage();
        assert!(
            usage.calls <= LIMITS.calls && usage.bytes <= LIMITS.bytes,
            "{usage:?}"
        );
    }
    // Whatever happened, all end.
    let mut rounds = 0;
    while !(guest.waiting.is_empty() && steps.is_empty()) {
        steps.poll_one(&mut random);
        guest.exchange(&host, Exchange::Good);
        rounds += 1;
        assert!(rounds < 10_000, "{} calls do not end", guest.waiting.len());
    }
    guest.exchange(&host, Exchange::Good);
    guest.exchange(&host, Exchange::Good);
    assert_eq!((host.usage().calls, host.usage().bytes), (0, 0));
    assert!(!guest.calls.has_news() && !guest.calls.expects());
    assert_eq!(guest.calls.held(), 0);
    assert_eq!(Arc::strong_count(&alive), 1, "a function's future is left");
}

#[test]
fn every_call_ends_once() {
    let runs = env::var(VARIABLE).ok();
    let runs = runs.map_or(RUNS, |runs| runs.parse().expect("a number of runs"));
    for seed in 1..=runs {
        println!("seed {seed}");
        run(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    }
}
