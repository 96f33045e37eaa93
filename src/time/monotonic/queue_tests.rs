//! A queue with a clock and an alarm by a counter that is set back and ahead.

use std::{boxed::Box, pin::Pin, vec::Vec};

use core::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use proptest::prelude::*;

use super::{Monotonic, Readers};
use crate::{
    test_support::leak,
    time::{
        Alarm, Clock, Instant, Timer, TimerQueue,
        testing::{Recording, waiting},
    },
};

const SECOND: u64 = 1_000_000_000;
const HOUR: u64 = 3600 * SECOND;
const OFF: u64 = u64::MAX;

/// A counter like a TSC of 1 GHz with its deadline register, with a clock and an alarm by them.
struct Counter {
    count: AtomicU64,
    deadline: AtomicU64,
    time: Monotonic,
    queue: &'static TimerQueue,
}

impl Counter {
    fn install() -> &'static Self {
        const START: u64 = 1000 * HOUR;
        let counter = leak(Self {
            count: AtomicU64::new(START),
            deadline: AtomicU64::new(OFF),
            time: Monotonic::start(START, SECOND),
            queue: leak(TimerQueue::new()),
        });
        counter.queue.install(counter, counter).expect("the first");
        counter
    }

    /// Elapsed time, the ticks for which it is held, and the counter.
    fn look(&self) -> (u64, u64, u64) {
        let count = || self.count.load(Ordering::Relaxed);
        if let Some(elapsed) = self.time.usual(|| Some(count())) {
            return (elapsed, 0, count());
        }
        let reading = self.time.read(Readers::ThisVcpu, count);
        if reading.jumped {
            self.queue.on_interrupt();
        }
        (reading.elapsed, reading.held, count())
    }

    fn set(&self, count: u64) {
        self.count.store(count, Ordering::Relaxed);
        if self.deadline.load(Ordering::Relaxed) <= count {
            self.off();
            self.queue.on_interrupt();
        }
    }

    fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Does what a run loop does until it would halt.
    fn settle(&self) -> Option<Instant> {
        for _ in 0..1000 {
            let next = self.queue.turn();
            if self.queue.is_settled() {
                return next;
            }
        }
        panic!("the queue does not settle");
    }

    fn timer(&'static self, after: u64, number: usize, woken: &Recording) -> Pin<Box<Timer>> {
        let deadline = self.now().saturating_add(Duration::from_nanos(after));
        waiting(self.queue, deadline.as_nanos(), &woken.waker(number))
    }
}

impl Clock for Counter {
    fn now(&self) -> Instant {
        Instant::from_nanos(self.look().0)
    }
}

impl Alarm for Counter {
    fn set(&self, at: Instant) {
        let (now, held, count) = self.look();
        if let Some(left) = at.as_nanos().checked_sub(now) {
            self.deadline.store(count + left + held, Ordering::Relaxed);
        }
    }

    fn off(&self) {
        self.deadline.store(OFF, Ordering::Relaxed);
    }
}

/// Timers that are due fire once, in order, and no others.
#[test]
fn a_jump_ahead_by_hours_fires_due_timers_once_in_order() {
    let counter = Counter::install();
    let woken = Recording::default();
    let timers = [3, 1, 5, 2, 4].map(|hours| counter.timer(hours as u64 * HOUR, hours, &woken));
    counter.settle();
    counter.set(counter.count() + 4 * HOUR + HOUR / 2);
    let next = counter.settle();
    assert_eq!(woken.take(), [1, 2, 3, 4]);
    assert_eq!(next, Some(Instant::from_nanos(5 * HOUR)));
    counter.set(counter.count() + HOUR / 3);
    counter.settle();
    assert!(woken.take().is_empty());
    drop(timers);
}

/// If the alarm does not follow the counter (KVM's, when a guest writes its TSC), the next read of
/// the clock makes the queue look.
#[test]
fn the_next_read_of_the_clock_sees_a_jump_that_the_alarm_missed() {
    let counter = Counter::install();
    let woken = Recording::default();
    let timer = counter.timer(HOUR, 1, &woken);
    counter.settle();
    counter.off();
    counter.set(counter.count() + 2 * HOUR);
    counter.settle();
    assert!(woken.take().is_empty(), "the clock was not read");
    counter.now();
    counter.settle();
    assert_eq!(woken.take(), [1]);
    drop(timer);
}

#[test]
fn timers_continue_after_a_step_back() {
    let counter = Counter::install();
    let woken = Recording::default();
    let timers = [20, 10].map(|millis| counter.timer(millis as u64 * 1_000_000, millis, &woken));
    counter.settle();
    counter.set(counter.count() - 100 * HOUR);
    let before = counter.now();
    assert_eq!(
        counter.settle(),
        Some(before.saturating_add(Duration::from_millis(10)))
    );
    for expected in [10, 20] {
        counter.set(counter.count() + 10_000_000);
        counter.settle();
        assert_eq!(woken.take(), [expected]);
    }
    drop(timers);
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Arm(u64),
    Pass(u64),
    Jump(i64),
}

fn act() -> impl Strategy<Value = Act> {
    let length = prop_oneof![0..SECOND / 100, 0..5 * SECOND, 0..5 * HOUR];
    let jump = prop_oneof![
        -2 * SECOND as i64..2 * SECOND as i64,
        -2 * HOUR as i64..2 * HOUR as i64,
    ];
    prop_oneof![
        length.clone().prop_map(Act::Arm),
        length.prop_map(Act::Pass),
        jump.prop_map(Act::Jump),
    ]
}

proptest! {
    /// Time never goes back; timers fire in order, none early and none twice; and after the first
    /// read of the clock after a jump, no alarm is later than its deadline.
    #[test]
    fn any_sequence_of_steps_and_jumps(acts in prop::collection::vec(act(), 1..60)) {
        let counter = Counter::install();
        let woken = Recording::default();
        let mut timers: Vec<Option<Pin<Box<Timer>>>> = Vec::new();
        let mut last = Instant::START;
        for act in acts {
            match act {
                Act::Arm(after) if after > 0 => {
                    let timer = counter.timer(after, timers.len(), &woken);
                    timers.push(Some(timer));
                }
                Act::Arm(_) => {}
                Act::Pass(length) => counter.set(counter.count() + length),
                Act::Jump(by) => counter.set(counter.count().saturating_add_signed(by)),
            }
            let now = counter.now();
            prop_assert!(now >= last, "it went back");
            last = now;
            let next = counter.settle();

            let mut deadline = Instant::START;
            for number in woken.take() {
                let timer = timers[number].take().expect("no timer fires twice");
                prop_assert!(deadline <= timer.deadline(), "out of order");
                deadline = timer.deadline();
            }
            let (now, held, count) = counter.look();
            prop_assert!(deadline.as_nanos() <= now, "fired early");
            let earliest = timers.iter().flatten().map(|timer| timer.deadline()).min();
            prop_assert_eq!(earliest, next, "a timer was lost");
            if let Some(next) = next {
                prop_assert!(next.as_nanos() > now, "due, but did not fire");
                let alarm = counter.deadline.load(Ordering::Relaxed);
                let latest = count + (next.as_nanos() - now) + held;
                prop_assert!(alarm <= latest, "the alarm is later than the deadline");
            }
        }
    }
}
