//! The tasks of a sweep, whose polls are counted and stamped.

use core::{
    future::Future,
    pin::Pin,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    task::{Context, Poll, Waker},
};

use dormir::{arch::x86_64::tsc, tasks};
use dormir_programs::machine::apic;
use spin::Once;

use crate::{
    fixture::{Fixture, WORD},
    mutants,
};

/// What is recorded about a task.
pub(crate) struct PollRecord {
    waker: Once<Waker>,
    /// Polls in this step.
    pub(crate) polls: AtomicU32,
    /// The TSC at the last of them.
    pub(crate) polled_at: AtomicU64,
}

const SLOTS: usize = 256;

static RECORDS: [PollRecord; SLOTS] = [const {
    PollRecord {
        waker: Once::new(),
        polls: AtomicU32::new(0),
        polled_at: AtomicU64::new(0),
    }
}; SLOTS];

pub(crate) fn record(slot: usize) -> &'static PollRecord {
    &RECORDS[slot]
}

/// Returns the waker of a task that has been polled.
pub(crate) fn waker_of(slot: usize) -> &'static Waker {
    let waker = record(slot).waker.get();
    waker.expect("each task is polled before the first step")
}

/// Checks that tasks share words as the fixture assumes. A waker's data is the word's address plus
/// the bit.
pub(crate) fn check_slots(fixture: &Fixture) {
    let data = |slot| waker_of(slot).data().addr();
    for slot in 0..fixture.slots {
        let (word, bit) = (data(slot - slot % WORD), slot % WORD);
        assert!(word % WORD == 0, "task {slot} is not in a word of its own");
        assert!(data(slot) == word + bit, "task {slot} is elsewhere");
    }
}

/// How many instructions after the waker's next poll the interrupt comes; 0 for none.
pub(crate) static ARM: AtomicU32 = AtomicU32::new(0);

tasks! {
    pub(crate) fn waking(fixture: &'static Fixture) -> WakingTask, pool = 1 {
        WakingTask(fixture)
    }

    pub(crate) fn watched(slot: usize) -> WatchedTask, pool = 256 {
        WatchedTask(slot)
    }
}

/// A task that does nothing and never completes.
pub(crate) struct WatchedTask(usize);

impl Future for WatchedTask {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        note(self.0, cx);
        mutants::after_poll();
        Poll::Pending
    }
}

/// The task that starts a step: it arms the interrupt and wakes others.
pub(crate) struct WakingTask(&'static Fixture);

impl Future for WakingTask {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let step = ARM.load(Ordering::Relaxed);
        if step != 0 {
            ARM.store(0, Ordering::Relaxed);
            apic().start_count(step);
        }
        note(self.0.waker, cx);
        if step != 0 {
            for &woken in self.0.woken {
                waker_of(woken).wake_by_ref();
            }
        }
        mutants::after_poll();
        Poll::Pending
    }
}

/// Records a poll. A task that was woken before this stamp is polled in time.
#[inline(always)]
fn note(slot: usize, cx: &mut Context<'_>) {
    let record = record(slot);
    record.polled_at.store(tsc::read(), Ordering::Relaxed);
    let polls = record.polls.load(Ordering::Relaxed);
    record.polls.store(polls + 1, Ordering::Relaxed);
    record.waker.call_once(|| cx.waker().clone());
}
