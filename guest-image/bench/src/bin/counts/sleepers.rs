//! The tasks that await timers, the same for every runtime.

use core::{
    mem,
    pin::Pin,
    sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering},
    task::{Context, Poll, Waker},
};

use alloc::{boxed::Box, vec::Vec};

use dormir_bench_guest::stopwatch::{Stopwatch, stamp};

use crate::tasks;

/// A runtime's timer future.
pub(crate) trait BenchTimer: Future<Output = ()> {
    /// Makes a timer for this instant of the [clock](crate::clock).
    fn at(nanos: u64) -> Self;
}

/// What a polled [`SleeperTask`] does.
static ORDER: AtomicU8 = AtomicU8::new(NOTHING);
const NOTHING: u8 = 0;
/// Keep the waker.
const KEEP: u8 = 1;
/// Switch to the timer in slot `SLOT`.
const TURN_TO: u8 = 2;
/// Make that timer, with the deadline `DEADLINE`, and poll it.
const ARM: u8 = 3;
/// Poll that timer, and set `STAMP` if it is ready.
const LOOK: u8 = 4;
/// Drop that timer, and set `STAMP` to the cost of the drop.
const DROP: u8 = 5;
/// Complete.
const END: u8 = 6;

static SLOT: AtomicUsize = AtomicUsize::new(0);
static DEADLINE: AtomicU64 = AtomicU64::new(0);
static STAMP: AtomicU64 = AtomicU64::new(0);

/// A task that owns timers and uses one of them at a time.
pub(crate) struct SleeperTask<T> {
    index: usize,
    /// The timer in use. Its slot in `timers` holds `None` meanwhile.
    current: Pin<Box<Option<T>>>,
    slot: usize,
    timers: Vec<Pin<Box<Option<T>>>>,
}

impl<T: BenchTimer> SleeperTask<T> {
    /// Makes the task with this index and `timers` slots, all empty.
    pub(crate) fn new(index: usize, timers: usize) -> Self {
        Self {
            index,
            current: Box::pin(None),
            slot: 0,
            timers: (0..timers).map(|_| Box::pin(None)).collect(),
        }
    }

    fn turn_to(&mut self, slot: usize) {
        mem::swap(&mut self.current, &mut self.timers[self.slot]);
        self.slot = slot;
        mem::swap(&mut self.current, &mut self.timers[self.slot]);
    }

    /// Polls the timer, if there is one.
    #[inline]
    fn poll_current(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.current.as_mut().as_pin_mut() {
            Some(timer) => timer.poll(cx),
            None => Poll::Pending,
        }
    }

    #[cold]
    #[inline(never)]
    fn poll_seldom(&mut self, order: u8, cx: &mut Context<'_>) -> Poll<()> {
        match order {
            KEEP => tasks::keep_waker(self.index, cx.waker()),
            TURN_TO => self.turn_to(SLOT.load(Ordering::Relaxed)),
            DROP => {
                assert!(self.current.is_some(), "there is a timer");
                let start = stamp();
                self.current.set(None);
                let end = stamp();
                STAMP.store(end - start, Ordering::Relaxed);
            }
            END => return Poll::Ready(()),
            _ => {}
        }
        Poll::Pending
    }
}

impl<T: BenchTimer> Future for SleeperTask<T> {
    type Output = ();

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match ORDER.load(Ordering::Relaxed) {
            ARM => {
                let timer = T::at(DEADLINE.load(Ordering::Relaxed));
                self.current.set(Some(timer));
                let polled = self.poll_current(cx);
                assert!(polled.is_pending(), "its deadline is far away");
                Poll::Pending
            }
            LOOK => {
                if self.poll_current(cx).is_ready() {
                    STAMP.store(stamp(), Ordering::Relaxed);
                    self.current.set(None);
                }
                Poll::Pending
            }
            order => self.poll_seldom(order, cx),
        }
    }
}

/// Makes `n` tasks store their wakers in the polls that `first_polls` makes, and returns the
/// wakers.
pub(crate) fn wakers(n: usize, first_polls: impl FnOnce()) -> Vec<Waker> {
    ORDER.store(KEEP, Ordering::Relaxed);
    let wakers = tasks::wakers(n, first_polls);
    ORDER.store(NOTHING, Ordering::Relaxed);
    wakers
}

/// Makes the tasks that `polls` polls switch to the timer in this slot.
pub(crate) fn turn_to(slot: usize, polls: impl FnOnce()) {
    SLOT.store(slot, Ordering::Relaxed);
    give(TURN_TO, polls);
}

/// Makes the task that `polls` polls create its timer and poll it.
#[inline(always)]
pub(crate) fn arm<R>(deadline: u64, polls: impl FnOnce() -> R) -> R {
    DEADLINE.store(deadline, Ordering::Relaxed);
    give(ARM, polls)
}

/// Makes the task that `polls` polls poll its timer. Returns the instructions until the task sees
/// the timer ready, if it is.
#[inline(always)]
pub(crate) fn until_ready(watch: &Stopwatch, polls: impl FnOnce()) -> Option<u64> {
    STAMP.store(0, Ordering::Relaxed);
    let start = give(LOOK, || {
        let start = stamp();
        polls();
        start
    });
    match STAMP.load(Ordering::Relaxed) {
        0 => None,
        end => Some(watch.between(start, end)),
    }
}

/// Makes the task that `polls` polls drop its timer, and returns the cost of the drop in
/// instructions.
pub(crate) fn drop_timer(watch: &Stopwatch, polls: impl FnOnce()) -> u64 {
    give(DROP, polls);
    watch.between(0, STAMP.load(Ordering::Relaxed))
}

/// Makes the tasks that `polls` polls complete.
pub(crate) fn end(polls: impl FnOnce()) {
    give(END, polls);
}

#[inline(always)]
fn give<R>(order: u8, polls: impl FnOnce() -> R) -> R {
    ORDER.store(order, Ordering::Relaxed);
    let result = polls();
    ORDER.store(NOTHING, Ordering::Relaxed);
    result
}
