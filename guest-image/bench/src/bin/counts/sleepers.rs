//! The tasks that wait for timers, the same for every runtime.

use core::{
    mem,
    pin::Pin,
    sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering},
    task::{Context, Poll, Waker},
};

use alloc::{boxed::Box, vec::Vec};

use dormir_bench_guest::stopwatch::{Stopwatch, stamp};

use crate::tasks;

/// A runtime's future that waits for an instant.
pub(crate) trait Timer: Future<Output = ()> {
    /// Waits for this instant of the [clock](crate::clock).
    fn at(nanos: u64) -> Self;
}

/// What the polled [`Sleeper`]s do.
static ORDER: AtomicU8 = AtomicU8::new(NOTHING);
const NOTHING: u8 = 0;
/// Keep the waker.
const KEEP: u8 = 1;
/// Turn to the timer of the number `SEAT`.
const TURN_TO: u8 = 2;
/// Make that timer, for `DEADLINE`, and poll it.
const ARM: u8 = 3;
/// Poll that timer, and set `STAMP` if it is ready.
const LOOK: u8 = 4;
/// Drop that timer, and set `STAMP` to what that takes.
const DROP: u8 = 5;
/// End.
const END: u8 = 6;

static SEAT: AtomicUsize = AtomicUsize::new(0);
static DEADLINE: AtomicU64 = AtomicU64::new(0);
static STAMP: AtomicU64 = AtomicU64::new(0);

/// A task with timers, of which it handles one at a time.
pub(crate) struct Sleeper<T> {
    index: usize,
    /// The timer that it has turned to. In its place in `timers` is an empty one.
    current: Pin<Box<Option<T>>>,
    seat: usize,
    timers: Vec<Pin<Box<Option<T>>>>,
}

impl<T: Timer> Sleeper<T> {
    /// The task of this number, with so many timers, none of which is made yet.
    pub(crate) fn new(index: usize, timers: usize) -> Self {
        Self {
            index,
            current: Box::pin(None),
            seat: 0,
            timers: (0..timers).map(|_| Box::pin(None)).collect(),
        }
    }

    fn turn_to(&mut self, seat: usize) {
        mem::swap(&mut self.current, &mut self.timers[self.seat]);
        self.seat = seat;
        mem::swap(&mut self.current, &mut self.timers[self.seat]);
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
            TURN_TO => self.turn_to(SEAT.load(Ordering::Relaxed)),
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

impl<T: Timer> Future for Sleeper<T> {
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

/// Has tasks, of which there are `n`, keep their wakers in the polls of `first_polls`, and gives these.
pub(crate) fn wakers(n: usize, first_polls: impl FnOnce()) -> Vec<Waker> {
    ORDER.store(KEEP, Ordering::Relaxed);
    let wakers = tasks::wakers(n, first_polls);
    ORDER.store(NOTHING, Ordering::Relaxed);
    wakers
}

/// Has tasks that are polled in `polls` turn to their timers of this number.
pub(crate) fn turn_to(seat: usize, polls: impl FnOnce()) {
    SEAT.store(seat, Ordering::Relaxed);
    give(TURN_TO, polls);
}

/// Has the task that is polled in `polls` make its timer and poll it.
#[inline(always)]
pub(crate) fn arm<R>(deadline: u64, polls: impl FnOnce() -> R) -> R {
    DEADLINE.store(deadline, Ordering::Relaxed);
    give(ARM, polls)
}

/// Has the task that is polled in `polls` look at its timer. Gives the instructions from the beginning
/// until it knows that the timer is ready, if it is.
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

/// Has the task that is polled in `polls` drop its timer, and gives the instructions of that.
pub(crate) fn drop_timer(watch: &Stopwatch, polls: impl FnOnce()) -> u64 {
    give(DROP, polls);
    watch.between(0, STAMP.load(Ordering::Relaxed))
}

/// Has the tasks that are polled in `polls` end.
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
