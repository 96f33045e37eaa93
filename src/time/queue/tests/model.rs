//! The queue against a sorted model: a million operations in each run.

use std::{
    boxed::Box,
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    pin::Pin,
    vec::Vec,
};

use proptest::{
    collection::vec as many,
    prelude::*,
    test_runner::{TestCaseResult, TestRunner},
};

use crate::{
    platform::host::VirtualClock,
    time::{
        Instant, Timer, TimerQueue,
        testing::{Recording, at, poll, queue, settle},
    },
};

/// The minimum of operations in each run, and of each kind of them.
const OPERATIONS: u64 = 1_000_000;
const OF_EACH_KIND: u64 = 100_000;

/// One step. Its numbers select among the timers that exist.
#[derive(Clone, Copy, Debug)]
enum Step {
    Advance(u64),
    Insert(Deadline),
    Reset(usize, Deadline),
    Cancel(usize),
    /// Polled by another task than before. A timer that has ended is dropped.
    Poll(usize),
}

#[derive(Clone, Copy, Debug)]
enum Deadline {
    At(u64),
    /// The distance from now. Few distinct ones, so that equal deadlines are common.
    Ahead(u64),
    Ago(u64),
}

/// The step for a number: a strategy of strategies would take longer than the test.
fn step(random: u64) -> Step {
    let index = (random >> 32) as usize;
    let small = random >> 8 & 0xff;
    let deadline = match random >> 16 & 0xf {
        0 => Deadline::At(u64::MAX),
        1 => Deadline::At(u64::MAX - 1),
        2 => Deadline::At(0),
        3 => Deadline::Ago(small),
        4 => Deadline::Ahead(random >> 1),
        _ => Deadline::Ahead(small),
    };
    match random & 0xf {
        0..2 => Step::Advance(small / 16),
        2..7 => Step::Insert(deadline),
        7..10 => Step::Reset(index, deadline),
        10..13 => Step::Cancel(index),
        _ => Step::Poll(index),
    }
}

/// The start of the clock: at either end, or in between.
fn start() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(1 << 40), Just(u64::MAX - 4000)]
}

/// Counts of the operations on the queue.
#[derive(Debug, Default)]
struct Counts {
    inserted: u64,
    reset: u64,
    cancelled: u64,
    expired: u64,
}

/// A timer, and its last key in the model.
struct Held {
    timer: Pin<Box<Timer>>,
    key: (u64, u64),
}

struct Pair {
    queue: &'static TimerQueue,
    clock: &'static VirtualClock,
    recording: Recording,
    timers: Vec<Held>,
    /// The wakes to come, by deadline and then by the order of first polls.
    model: BTreeMap<(u64, u64), usize>,
    now: u64,
    armings: u64,
    /// Each poll is by another task.
    polls: usize,
}

impl Pair {
    fn new(start: u64) -> Self {
        let (queue, clock) = queue();
        clock.advance_to(at(start), queue);
        Self {
            queue,
            clock,
            recording: Recording::default(),
            timers: Vec::new(),
            model: BTreeMap::new(),
            now: start,
            armings: 0,
            polls: 0,
        }
    }

    fn deadline(&self, deadline: Deadline) -> u64 {
        match deadline {
            Deadline::At(nanos) => nanos,
            Deadline::Ahead(nanos) => self.now.saturating_add(nanos),
            Deadline::Ago(nanos) => self.now.saturating_sub(nanos),
        }
    }

    fn take(&mut self, step: Step, counts: &mut Counts) -> TestCaseResult {
        let some = |index: usize| index % self.timers.len().max(1);
        match step {
            Step::Advance(nanos) => {
                self.now = self.now.saturating_add(nanos).min(u64::MAX - 1);
                self.clock.advance_to(at(self.now), self.queue);
            }
            Step::Insert(deadline) => {
                let timer = Box::pin(self.queue.timer(at(self.deadline(deadline))));
                let key = (u64::MAX, 0);
                self.timers.push(Held { timer, key });
                counts.inserted += 1;
                self.poll(self.timers.len() - 1)?;
            }
            Step::Reset(index, deadline) if !self.timers.is_empty() => {
                let (index, deadline) = (some(index), at(self.deadline(deadline)));
                let held = &mut self.timers[index];
                self.model.remove(&held.key);
                held.timer.as_mut().reset(deadline);
                counts.reset += 1;
                self.poll(index)?;
            }
            Step::Cancel(index) if !self.timers.is_empty() => {
                let held = self.timers.swap_remove(some(index));
                // A timer that has ended is only dropped.
                counts.cancelled += u64::from(self.model.remove(&held.key).is_some());
            }
            Step::Poll(index) if !self.timers.is_empty() => {
                let index = some(index);
                if self.poll(index)? {
                    self.timers.swap_remove(index);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Polls the timer, and returns whether it has ended. If not, it is added to the model.
    fn poll(&mut self, index: usize) -> Result<bool, TestCaseError> {
        self.polls += 1;
        let held = &mut self.timers[index];
        let ended = poll(&mut held.timer, &self.recording.waker(self.polls)).is_ready();
        let deadline = held.timer.deadline().as_nanos();
        prop_assert_eq!(ended, deadline <= self.now, "of {}", deadline);
        if let Some(waker) = self.model.get_mut(&held.key) {
            *waker = self.polls;
        } else if !ended && deadline != u64::MAX {
            self.armings += 1;
            held.key = (deadline, self.armings);
            self.model.insert(held.key, self.polls);
        }
        Ok(ended)
    }

    /// Turns the queue, and compares.
    fn turn(&mut self, counts: &mut Counts) -> TestCaseResult {
        let next = settle(self.queue);
        let waiting = self.model.split_off(&(self.now + 1, 0));
        let due = std::mem::replace(&mut self.model, waiting);
        counts.expired += due.len() as u64;
        let woken = self.recording.take();
        same_but_for_equal_deadlines(&woken, &due)?;
        let expected = self.model.keys().next().map(|key| key.0);
        prop_assert_eq!(next.map(Instant::as_nanos), expected);
        prop_assert_eq!(self.clock.alarm().is_some() || next.is_none(), true);
        Ok(())
    }
}

/// Checks that exactly the due tasks were woken, in the order of their deadlines. (The order of
/// equal deadlines has a test of its own.)
fn same_but_for_equal_deadlines(
    woken: &[usize],
    due: &BTreeMap<(u64, u64), usize>,
) -> TestCaseResult {
    if woken.iter().eq(due.values()) {
        return Ok(());
    }
    let deadlines: BTreeMap<usize, u64> = due.iter().map(|(key, waker)| (*waker, key.0)).collect();
    let in_turn: Option<Vec<u64>> = woken.iter().map(|w| deadlines.get(w).copied()).collect();
    prop_assert!(
        in_turn.is_some_and(|deadlines| deadlines.is_sorted()),
        "woken {:?}, due {:?}",
        woken,
        due
    );
    let once: BTreeSet<usize> = woken.iter().copied().collect();
    prop_assert_eq!(once.len(), woken.len(), "a task was woken twice");
    prop_assert_eq!(woken.len(), due.len(), "a task was not woken");
    Ok(())
}

#[test]
fn a_million_operations_equal_a_sorted_model() {
    // Miri is a thousand times as slow.
    let (cases, longest) = if cfg!(miri) { (4, 100) } else { (420, 8000) };
    let mut runner = TestRunner::new(ProptestConfig {
        cases,
        failure_persistence: None,
        max_shrink_time: 60_000,
        ..ProptestConfig::default()
    });
    let total = RefCell::new(Counts::default());
    let steps = many(any::<u64>().prop_map(step), 1..longest);
    let run = runner.run(&(start(), steps), |(start, steps)| {
        let mut counts = total.borrow_mut();
        let mut pair = Pair::new(start);
        for step in steps {
            pair.take(step, &mut counts)?;
            pair.turn(&mut counts)?;
        }
        Ok(())
    });
    if let Err(error) = run {
        panic!("{error}");
    }
    if cfg!(miri) {
        return;
    }
    let total = total.into_inner();
    let kinds = [total.inserted, total.reset, total.cancelled, total.expired];
    let sum: u64 = kinds.iter().sum();
    assert!(sum >= OPERATIONS, "{sum} operations: {total:?}");
    assert!(kinds.iter().all(|kind| *kind >= OF_EACH_KIND), "{total:?}");
}
