//! The tasks, whose polls are counted and stamped.

use core::{
    future::Future,
    pin::Pin,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    task::{Context, Poll, Waker},
};

use dormir::{arch::x86_64::tsc, task};
use dormir_programs::machine::apic;
use spin::Once;

use crate::{cast::Cast, mutants};

/// What is known of a task.
pub(crate) struct Record {
    waker: Once<Waker>,
    /// Polls in this step.
    pub(crate) polls: AtomicU32,
    /// The TSC at the last of them.
    pub(crate) polled_at: AtomicU64,
}

const PLACES: usize = 256;

static RECORDS: [Record; PLACES] = [const {
    Record {
        waker: Once::new(),
        polls: AtomicU32::new(0),
        polled_at: AtomicU64::new(0),
    }
}; PLACES];

pub(crate) fn record(place: usize) -> &'static Record {
    &RECORDS[place]
}

/// The waker of a task that was polled before.
pub(crate) fn waker(place: usize) -> &'static Waker {
    let waker = record(place).waker.get();
    waker.expect("each task is polled before the first step")
}

/// How many instructions after the lead's next poll the interrupt comes; 0 for none.
pub(crate) static ARM: AtomicU32 = AtomicU32::new(0);

task! {
    pub(crate) fn lead(cast: &'static Cast) -> Lead, pool = 1 {
        Lead(cast)
    }

    pub(crate) fn watched(place: usize) -> Watched, pool = 256 {
        Watched(place)
    }
}

/// A task that does nothing and never ends.
pub(crate) struct Watched(usize);

impl Future for Watched {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        note(self.0, cx);
        mutants::after_poll();
        Poll::Pending
    }
}

/// The task with which a step begins.
pub(crate) struct Lead(&'static Cast);

impl Future for Lead {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let step = ARM.load(Ordering::Relaxed);
        if step != 0 {
            ARM.store(0, Ordering::Relaxed);
            apic().start_count(step);
        }
        note(self.0.lead, cx);
        if step != 0 {
            for &led in self.0.led {
                waker(led).wake_by_ref();
            }
        }
        mutants::after_poll();
        Poll::Pending
    }
}

/// A poll: whoever was woken before the stamp is polled in time.
#[inline(always)]
fn note(place: usize, cx: &mut Context<'_>) {
    let record = record(place);
    record.polled_at.store(tsc::read(), Ordering::Relaxed);
    let polls = record.polls.load(Ordering::Relaxed);
    record.polls.store(polls + 1, Ordering::Relaxed);
    record.waker.call_once(|| cx.waker().clone());
}
