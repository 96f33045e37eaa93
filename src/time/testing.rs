//! Test support for timers: queues with a virtual clock of their own, wakers that record their
//! wakes, and an alarm that counts.

use std::{
    boxed::Box,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    vec::Vec,
};

use super::{Alarm, Clock, Instant, Timer, TimerQueue};
use crate::{platform::host::VirtualClock, test_support::leak};

pub(super) fn at(nanos: u64) -> Instant {
    Instant::from_nanos(nanos)
}

/// A new queue with a virtual clock.
pub(super) fn queue() -> (&'static TimerQueue, &'static VirtualClock) {
    let (queue, clock) = (leak(TimerQueue::new()), leak(VirtualClock::new()));
    queue.install(clock, clock).expect("the first clock");
    (queue, clock)
}

/// A waker that appends its number to a list.
pub(super) struct Recorder {
    pub(super) number: usize,
    pub(super) list: Arc<Mutex<Vec<usize>>>,
}

impl Wake for Recorder {
    fn wake(self: Arc<Self>) {
        self.list.lock().unwrap().push(self.number);
    }
}

/// The list of these wakes.
#[derive(Default)]
pub(super) struct Recording(Arc<Mutex<Vec<usize>>>);

impl Recording {
    /// A waker with this number.
    pub(super) fn waker(&self, number: usize) -> Waker {
        Waker::from(Arc::new(Recorder {
            number,
            list: self.0.clone(),
        }))
    }

    /// The numbers of the wakes since the last call.
    pub(super) fn take(&self) -> Vec<usize> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

pub(super) fn poll<F: Future>(future: &mut Pin<Box<F>>, waker: &Waker) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(waker))
}

/// Turns the queue until it is settled, as a run loop without ready tasks does. Returns the next
/// deadline.
pub(super) fn settle(queue: &TimerQueue) -> Option<Instant> {
    for _ in 0..10_000 {
        let next = queue.turn();
        if queue.is_settled() {
            return next;
        }
    }
    panic!("the queue does not settle");
}

/// A timer that has been polled once and is pending.
pub(super) fn waiting(queue: &'static TimerQueue, deadline: u64, waker: &Waker) -> Pin<Box<Timer>> {
    let mut timer = Box::pin(queue.timer(at(deadline)));
    assert!(poll(&mut timer, waker).is_pending());
    timer
}

/// An alarm that counts its writes. Each write takes time.
pub(super) struct CountingAlarm {
    clock: &'static VirtualClock,
    writes: AtomicU64,
    offs: AtomicU64,
    takes: u64,
}

impl CountingAlarm {
    /// How often it was set.
    pub(super) fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }

    /// How often it was turned off.
    pub(super) fn offs(&self) -> u64 {
        self.offs.load(Ordering::Relaxed)
    }
}

impl Alarm for CountingAlarm {
    fn set(&self, deadline: Instant) {
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.clock.pass(self.takes);
        // It ignores a deadline that has passed, as the contract allows.
        if self.clock.now() < deadline {
            self.clock.set(deadline);
        } else {
            self.clock.off();
        }
    }

    fn off(&self) {
        self.offs.fetch_add(1, Ordering::Relaxed);
        self.clock.off();
    }
}

/// A new queue with such an alarm. Each write takes `takes` nanoseconds.
pub(super) fn counting(
    takes: u64,
) -> (
    &'static TimerQueue,
    &'static VirtualClock,
    &'static CountingAlarm,
) {
    let (queue, clock) = (leak(TimerQueue::new()), leak(VirtualClock::new()));
    let alarm = leak(CountingAlarm {
        clock,
        writes: AtomicU64::new(0),
        offs: AtomicU64::new(0),
        takes,
    });
    queue.install(clock, alarm).expect("the first clock");
    (queue, clock, alarm)
}
