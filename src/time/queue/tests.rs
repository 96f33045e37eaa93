//! The queue against a sorted model, and its promises one by one.

use std::{
    boxed::Box,
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    vec::Vec,
};

use proptest::prelude::*;

use crate::{
    platform::host::VirtualClock,
    time::{Alarm, Clock, Instant, Timer, TimerQueue},
};

fn at(nanos: u64) -> Instant {
    Instant::from_nanos(nanos)
}

fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

/// A queue of its own with a virtual clock.
fn queue() -> (&'static TimerQueue, &'static VirtualClock) {
    let (queue, clock) = (leak(TimerQueue::new()), leak(VirtualClock::new()));
    queue.install(clock, clock).expect("the first clock");
    (queue, clock)
}

/// Wakes are written into a list, by number.
struct Recorder {
    number: usize,
    list: Arc<Mutex<Vec<usize>>>,
}

impl Wake for Recorder {
    fn wake(self: Arc<Self>) {
        self.list.lock().unwrap().push(self.number);
    }
}

#[derive(Default)]
struct Recording(Arc<Mutex<Vec<usize>>>);

impl Recording {
    fn waker(&self, number: usize) -> Waker {
        Waker::from(Arc::new(Recorder {
            number,
            list: self.0.clone(),
        }))
    }

    fn take(&self) -> Vec<usize> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

fn poll(timer: &mut Pin<Box<Timer>>, waker: &Waker) -> Poll<()> {
    timer.as_mut().poll(&mut Context::from_waker(waker))
}

/// A timer that has been polled once and waits.
fn waiting(queue: &'static TimerQueue, deadline: u64, waker: &Waker) -> Pin<Box<Timer>> {
    let mut timer = Box::pin(queue.timer(at(deadline)));
    assert!(poll(&mut timer, waker).is_pending());
    timer
}

/// An alarm that counts its writes, and lets time pass while it is written.
struct CountingAlarm {
    clock: &'static VirtualClock,
    writes: AtomicU64,
    takes: u64,
}

impl Alarm for CountingAlarm {
    fn set(&self, deadline: Instant) {
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.clock.pass(self.takes);
        // What has passed by now is ignored, as the contract allows.
        if self.clock.now() < deadline {
            self.clock.set(deadline);
        }
    }

    fn off(&self) {
        self.clock.off();
    }
}

fn counting(
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
        takes,
    });
    queue.install(clock, alarm).expect("the first clock");
    (queue, clock, alarm)
}

#[test]
fn a_thousand_timers_cost_one_alarm_write() {
    let (queue, clock, alarm) = counting(0);
    let recording = Recording::default();
    let timers: Vec<_> = (0..1000)
        .map(|n| waiting(queue, 5000 - n as u64, &recording.waker(n)))
        .collect();
    assert_eq!(queue.turn(), Some(at(4001)));
    assert_eq!(queue.turn(), Some(at(4001)));
    assert_eq!(alarm.writes.load(Ordering::Relaxed), 1);
    // A later timer needs no write; an earlier one does.
    let _later = waiting(queue, 9000, Waker::noop());
    queue.turn();
    assert_eq!(alarm.writes.load(Ordering::Relaxed), 1);
    let _earlier = waiting(queue, 3000, Waker::noop());
    assert!(
        !queue.is_settled(),
        "an earlier timer than the alarm must not be slept on"
    );
    queue.turn();
    assert_eq!(alarm.writes.load(Ordering::Relaxed), 2);
    assert!(queue.is_settled());

    clock.advance_to(at(5000), queue);
    queue.turn();
    assert_eq!(recording.take(), (0..1000).rev().collect::<Vec<_>>());
    drop(timers);
}

#[test]
fn a_deadline_that_passes_while_the_alarm_is_written_is_due() {
    let (queue, _clock, _alarm) = counting(100);
    let recording = Recording::default();
    let _soon = waiting(queue, 50, &recording.waker(1));
    assert_eq!(queue.turn(), None);
    assert_eq!(recording.take(), [1]);
}

#[test]
fn an_early_alarm_is_a_reason_to_look_and_no_more() {
    let (queue, clock) = queue();
    let recording = Recording::default();
    let _timer = waiting(queue, 100, &recording.waker(1));
    assert_eq!(queue.turn(), Some(at(100)));
    queue.on_interrupt();
    assert!(!queue.is_settled());
    assert_eq!(queue.turn(), Some(at(100)));
    assert!(recording.take().is_empty());
    assert_eq!(clock.alarm(), Some(at(100)), "the alarm is asked for again");
}

#[test]
fn dropped_timers_leave_nothing_behind() {
    let (queue, _clock) = queue();
    let timers: Vec<_> = (1..100).map(|n| waiting(queue, n, Waker::noop())).collect();
    assert_eq!(queue.turn(), Some(at(1)));
    drop(timers);
    assert_eq!(queue.turn(), None);
}

#[test]
fn a_waker_is_let_go_when_its_timer_ends_or_is_dropped() {
    let (queue, clock) = queue();
    let counted = Arc::new(Recorder {
        number: 0,
        list: Arc::default(),
    });
    let ended = waiting(queue, 10, &Waker::from(counted.clone()));
    let dropped = waiting(queue, 20, &Waker::from(counted.clone()));
    drop(dropped);
    assert_eq!(Arc::strong_count(&counted), 2);
    clock.advance_to(at(10), queue);
    queue.on_interrupt();
    queue.turn();
    assert_eq!(Arc::strong_count(&counted), 1);
    drop(ended);
}

#[test]
fn never_is_not_queued() {
    let (queue, clock) = queue();
    let _never = waiting(queue, u64::MAX, Waker::noop());
    assert_eq!(queue.turn(), None);
    assert_eq!(clock.alarm(), None);
    let _last = waiting(queue, u64::MAX - 1, Waker::noop());
    assert_eq!(queue.turn(), Some(at(u64::MAX - 1)));
}

/// A waker whose clone, wake and drop use the queue that they are called from.
#[test]
fn foreign_wakers_may_use_the_queue() {
    struct Meddler(&'static TimerQueue);
    impl Meddler {
        fn meddle(&self) {
            let _timer = waiting(self.0, u64::MAX - 1, Waker::noop());
        }
    }
    impl Wake for Meddler {
        fn wake(self: Arc<Self>) {
            self.meddle();
        }
    }
    impl Drop for Meddler {
        fn drop(&mut self) {
            self.meddle();
        }
    }
    let (queue, clock) = queue();
    let mut timer = waiting(queue, 10, &Waker::from(Arc::new(Meddler(queue))));
    assert!(poll(&mut timer, &Waker::from(Arc::new(Meddler(queue)))).is_pending());
    clock.advance_to(at(10), queue);
    queue.on_interrupt();
    assert_eq!(queue.turn(), None);
    assert!(poll(&mut timer, Waker::noop()).is_ready());
}

/// Pinned memory that is forgotten stays as it is, so its node may be woken still.
#[test]
fn a_forgotten_timer_is_sound() {
    let (queue, clock) = queue();
    let recording = Recording::default();
    std::mem::forget(waiting(queue, 10, &recording.waker(1)));
    clock.advance_to(at(10), queue);
    queue.on_interrupt();
    queue.turn();
    assert_eq!(recording.take(), [1]);
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u64),
    Drop(usize),
    Reset(usize, u64),
    Advance(u64),
}

fn step() -> impl Strategy<Value = Step> {
    // Few distinct deadlines, so that equal ones are common; and the ends of the range.
    let deadline = prop_oneof![20 => 0u64..200, 1 => Just(u64::MAX), 1 => Just(u64::MAX - 1)];
    prop_oneof![
        5 => deadline.clone().prop_map(Step::Insert),
        2 => any::<usize>().prop_map(Step::Drop),
        2 => (any::<usize>(), deadline).prop_map(|(index, to)| Step::Reset(index, to)),
        3 => (0u64..20).prop_map(Step::Advance),
    ]
}

proptest! {
    /// Wakes come in the order of deadlines, equal ones in the order in which they began to wait.
    #[test]
    fn as_a_sorted_model_has_it(steps in proptest::collection::vec(step(), 1..200)) {
        let (queue, clock) = queue();
        let recording = Recording::default();
        let mut timers: BTreeMap<usize, Pin<Box<Timer>>> = BTreeMap::new();
        // By deadline, then by the order of the last arming.
        let mut model: BTreeMap<(u64, usize), usize> = BTreeMap::new();
        let (mut now, mut armings) = (0, 0);

        for (number, step) in steps.into_iter().enumerate() {
            let pick = |index: usize| {
                let count = timers.len().max(1);
                timers.keys().nth(index % count).copied()
            };
            let armed = match step {
                Step::Insert(deadline) => {
                    timers.insert(number, Box::pin(queue.timer(at(deadline))));
                    Some((number, deadline))
                }
                Step::Reset(index, deadline) => pick(index).map(|number| (number, deadline)),
                Step::Drop(index) => {
                    if let Some(number) = pick(index) {
                        timers.remove(&number);
                        model.retain(|_, waiting| *waiting != number);
                    }
                    None
                }
                Step::Advance(by) => {
                    now += by;
                    clock.advance_to(at(now), queue);
                    None
                }
            };
            if let Some((number, deadline)) = armed {
                let timer = timers.get_mut(&number).expect("picked or inserted");
                timer.as_mut().reset(at(deadline));
                model.retain(|_, waiting| *waiting != number);
                let ready = poll(timer, &recording.waker(number)).is_ready();
                prop_assert_eq!(ready, deadline <= now);
                if !ready && deadline != u64::MAX {
                    model.insert((deadline, armings), number);
                    armings += 1;
                }
            }
            let next = queue.turn();
            let waiting = model.split_off(&(now + 1, 0));
            let due: Vec<usize> = std::mem::replace(&mut model, waiting).into_values().collect();
            prop_assert_eq!(recording.take(), due);
            prop_assert_eq!(next.map(Instant::as_nanos), model.keys().next().map(|key| key.0));
        }
    }
}
