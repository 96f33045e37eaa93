//! The queue's guarantees one by one. In other files: the queue against a sorted model, and many
//! timers at once.

mod many;
mod model;
mod owners;

use std::{
    boxed::Box,
    mem::ManuallyDrop,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    ptr,
    string::ToString,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{RawWaker, RawWakerVTable, Wake, Waker},
    time::Duration,
    vec,
    vec::Vec,
};

use super::{AlreadyInstalled, Devices};
use crate::time::{
    Timer, TimerQueue,
    testing::{Recorder, Recording, at, counting, poll, queue, settle, waiting},
};
use crate::{
    idle::{Idle, IdleContext, Spin},
    platform::host::VirtualClock,
    test_support::leak,
};

#[test]
fn a_thousand_timers_cost_one_alarm_write() {
    let (queue, clock, alarm) = counting(0);
    let recording = Recording::default();
    let timers: Vec<_> = (0..1000)
        .map(|n| waiting(queue, 5000 - n as u64, &recording.waker(n)))
        .collect();
    assert_eq!(settle(queue), Some(at(4001)));
    assert_eq!(settle(queue), Some(at(4001)));
    assert_eq!(alarm.writes(), 1);
    // A later timer needs no write; an earlier one does.
    let _later = waiting(queue, 9000, Waker::noop());
    settle(queue);
    assert_eq!(alarm.writes(), 1);
    let _earlier = waiting(queue, 3000, Waker::noop());
    assert!(
        !queue.is_settled(),
        "a timer that is earlier than the alarm must not be slept through"
    );
    settle(queue);
    assert_eq!(alarm.writes(), 2);
    assert!(queue.is_settled());

    clock.advance_to(at(5000), queue);
    settle(queue);
    assert_eq!(recording.take(), (0..1000).rev().collect::<Vec<_>>());
    drop(timers);
}

#[test]
fn a_deadline_that_passes_while_the_alarm_is_written_is_due() {
    let (queue, _clock, _alarm) = counting(100);
    let recording = Recording::default();
    let _soon = waiting(queue, 50, &recording.waker(1));
    assert_eq!(settle(queue), None);
    assert_eq!(recording.take(), [1]);
}

#[test]
fn deadlines_within_the_slack_are_served_by_one_interrupt() {
    let (queue, clock, alarm) = counting(0);
    let recording = Recording::default();
    queue.set_slack(Duration::from_nanos(10));
    let deadlines = [100, 105, 110, 111];
    let _timers = deadlines.map(|at| waiting(queue, at, &recording.waker(at as usize)));
    assert_eq!(settle(queue), Some(at(100)), "the deadline is what it was");
    assert_eq!((clock.alarm(), alarm.writes()), (Some(at(110)), 1));
    // No timer is early, and a look in between serves what is due.
    clock.advance_to(at(104), queue);
    assert_eq!((settle(queue), recording.take()), (Some(at(100)), vec![]));
    queue.on_interrupt();
    assert_eq!(settle(queue), Some(at(105)));
    assert_eq!((recording.take(), alarm.writes()), (vec![100], 2));
    clock.advance_to(at(115), queue);
    settle(queue);
    assert_eq!(recording.take(), [105, 110, 111]);
    assert_eq!(alarm.writes(), 2);
    // A wait that something else ended serves what is due.
    let _due = waiting(queue, 200, &recording.waker(200));
    settle(queue);
    clock.advance_to(at(199), queue);
    queue.look_after_wait();
    assert!(recording.take().is_empty());
    clock.advance_to(at(203), queue);
    queue.look_after_wait();
    assert_eq!(recording.take(), [200]);
    // At the end of the range it is the last instant, and not `NEVER`.
    queue.set_slack(Duration::MAX);
    let _last = waiting(queue, u64::MAX - 5, &recording.waker(0));
    settle(queue);
    assert_eq!(clock.alarm(), Some(at(u64::MAX - 1)));
    assert_eq!(queue.slack(), Duration::from_nanos(u64::MAX));
}

#[test]
fn an_early_alarm_only_causes_a_look_at_the_clock() {
    let (queue, clock) = queue();
    let recording = Recording::default();
    let _timer = waiting(queue, 100, &recording.waker(1));
    assert_eq!(settle(queue), Some(at(100)));
    queue.on_interrupt();
    assert!(!queue.is_settled());
    assert_eq!(settle(queue), Some(at(100)));
    assert!(recording.take().is_empty());
    assert_eq!(clock.alarm(), Some(at(100)), "the alarm is set again");
}

/// After another interrupt than the alarm's, the alarm is still to come.
#[test]
fn disarm_turns_the_alarm_off_after_any_interrupt() {
    let (queue, clock) = queue();
    let stray = waiting(queue, 100, Waker::noop());
    settle(queue);
    clock.advance_to(at(50), queue);
    queue.on_interrupt();
    queue.turn();
    drop(stray);
    queue.disarm();
    assert_eq!(clock.alarm(), None);

    // With slack, a look before the alarm serves what is due.
    queue.set_slack(Duration::from_nanos(10));
    let looked_at = waiting(queue, 200, Waker::noop());
    settle(queue);
    clock.advance_to(at(205), queue);
    queue.look();
    queue.disarm();
    assert_eq!(clock.alarm(), None);

    // The slack that counts is the one with which the alarm was set.
    let slack_is_less = waiting(queue, 300, Waker::noop());
    settle(queue);
    queue.set_slack(Duration::ZERO);
    clock.advance_to(at(305), queue);
    queue.on_interrupt();
    settle(queue);
    queue.on_interrupt();
    settle(queue);
    assert_eq!(clock.alarm(), None, "no timer is pending");
    drop((looked_at, slack_is_less));
}

/// A read while another thread installs the clock.
#[test]
fn has_clock_is_true_only_once_the_clock_can_be_read() {
    let (queue, clock) = (leak(TimerQueue::new()), leak(VirtualClock::new()));
    // The first half of `install`.
    queue.installed.call_once(|| Devices {
        clock,
        alarm: clock,
    });
    assert!(!queue.has_clock() || queue.now() == at(0));
    let refused = queue.install(clock, clock).unwrap_err();
    assert_eq!(refused, AlreadyInstalled);
    assert!(
        refused.to_string().contains("install one clock, once"),
        "{refused}"
    );
    assert!(queue.has_clock() && queue.now() == at(0));
}

/// A program that forgot to install a clock is told so, whatever it does first.
#[test]
fn without_a_clock_a_panic_says_what_to_call() {
    let queue = leak(TimerQueue::new());
    assert!(!queue.has_clock());
    let reads: [fn(&'static TimerQueue); 2] = [
        |queue| {
            let _ = queue.now();
        },
        |queue| {
            let _timer = waiting(queue, 5, Waker::noop());
            queue.turn();
        },
    ];
    for read in reads {
        let panic = catch_unwind(AssertUnwindSafe(|| read(queue))).expect_err("there is no clock");
        let text = panic.downcast_ref::<&str>().expect("a message");
        assert!(text.contains("`platform::bare::init`"), "{text}");
    }
    assert_eq!(queue.turn(), None, "the timer is gone");
}

/// Also what is due at this very instant, and all of it: the next pass polls it.
#[test]
fn after_a_wait_all_that_is_due_is_woken_before_the_pass() {
    let (queue, clock) = queue();
    let recording = Recording::default();
    let _timers = [100, 100, 100, 101].map(|at| waiting(queue, at, &recording.waker(at as usize)));
    settle(queue);
    clock.advance_to(at(100), queue);
    queue.look_after_wait();
    assert_eq!(recording.take(), [100, 100, 100]);
}

#[test]
fn disarm_does_not_write_an_alarm_that_has_interrupted() {
    let (queue, clock, alarm) = counting(0);
    let _timer = waiting(queue, 100, Waker::noop());
    settle(queue);
    clock.advance_to(at(100), queue);
    settle(queue);
    queue.disarm();
    assert_eq!((alarm.writes(), alarm.offs()), (1, 0));
    let _later = waiting(queue, 200, Waker::noop());
    settle(queue);
    queue.disarm();
    assert_eq!((alarm.writes(), alarm.offs()), (2, 1));
}

/// A loop that looks at the clock may see a deadline pass before the alarm interrupts.
#[test]
fn disarm_turns_off_an_alarm_whose_interrupt_was_not_seen() {
    let passes_by: [fn(&'static TimerQueue); 2] = [TimerQueue::look, |queue| {
        let is_settled = || queue.is_settled();
        Spin.wait(&IdleContext::new(queue, Some(at(100)), &is_settled));
    }];
    for look in passes_by {
        let (queue, clock, alarm) = counting(0);
        let _timer = waiting(queue, 100, Waker::noop());
        settle(queue);
        clock.pass(100);
        look(queue);
        settle(queue);
        queue.disarm();
        assert_eq!((clock.alarm(), alarm.offs()), (None, 1));
    }
    // It passes while the alarm is written.
    let (queue, clock, alarm) = counting(200);
    let _timer = waiting(queue, 100, Waker::noop());
    settle(queue);
    queue.disarm();
    assert_eq!((clock.alarm(), alarm.offs()), (None, 1));
}

#[test]
fn debug_shows_deadline_and_state() {
    let (queue, _clock) = queue();
    let timer = waiting(queue, 7, Waker::noop());
    let queue = std::format!("{queue:?}");
    assert!(
        queue.contains("next_deadline: Instant(7), is_settled: false"),
        "{queue}"
    );
    let timer = std::format!("{timer:?}");
    assert!(
        timer.contains("deadline: Instant(7), state: Waiting"),
        "{timer}"
    );
}

#[test]
fn a_timer_that_ends_at_its_first_poll_has_fired() {
    let (queue, _clock) = queue();
    let mut timer = Box::pin(queue.timer(at(0)));
    assert!(std::format!("{timer:?}").contains("state: Idle"));
    assert!(poll(&mut timer, Waker::noop()).is_ready());
    assert!(std::format!("{timer:?}").contains("state: Fired"));
}

#[test]
fn a_waker_that_polls_again_is_not_cloned_again() {
    static CLONES: AtomicUsize = AtomicUsize::new(0);
    static FUNCTIONS: RawWakerVTable = RawWakerVTable::new(
        |data| {
            CLONES.fetch_add(1, Ordering::Relaxed);
            RawWaker::new(data, &FUNCTIONS)
        },
        |_| (),
        |_| (),
        |_| (),
    );
    let (queue, _clock) = queue();
    // SAFETY: the functions ignore the data.
    let waker = unsafe { Waker::new(ptr::null(), &FUNCTIONS) };
    let mut timer = waiting(queue, 10, &waker);
    assert!(poll(&mut timer, &waker).is_pending());
    assert_eq!(CLONES.load(Ordering::Relaxed), 1);
}

#[test]
fn dropped_timers_leave_nothing_in_the_queue() {
    let (queue, _clock) = queue();
    let timers: Vec<_> = (1..100).map(|n| waiting(queue, n, Waker::noop())).collect();
    assert_eq!(settle(queue), Some(at(1)));
    drop(timers);
    assert_eq!(settle(queue), None);
}

#[test]
fn a_waker_is_dropped_when_its_timer_ends_is_reset_or_is_dropped() {
    let (queue, clock) = queue();
    let counted = Arc::new(Recorder {
        number: 0,
        list: Arc::default(),
    });
    let ended = waiting(queue, 10, &Waker::from(counted.clone()));
    let dropped = waiting(queue, 20, &Waker::from(counted.clone()));
    let mut reset = waiting(queue, 30, &Waker::from(counted.clone()));
    assert_eq!(Arc::strong_count(&counted), 4);
    drop(dropped);
    assert_eq!(Arc::strong_count(&counted), 3);
    reset.as_mut().reset(at(40));
    assert_eq!(Arc::strong_count(&counted), 2);
    clock.advance_to(at(10), queue);
    queue.on_interrupt();
    settle(queue);
    assert_eq!(Arc::strong_count(&counted), 1);
    drop(ended);
}

#[test]
fn never_is_not_queued() {
    let (queue, clock) = queue();
    let _never = waiting(queue, u64::MAX, Waker::noop());
    assert_eq!(settle(queue), None);
    assert_eq!(clock.alarm(), None);
    let _last = waiting(queue, u64::MAX - 1, Waker::noop());
    assert_eq!(settle(queue), Some(at(u64::MAX - 1)));
}

/// A waker whose clone, wake and drop use the queue that calls them.
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
    assert_eq!(settle(queue), None);
    assert!(poll(&mut timer, Waker::noop()).is_ready());
}

/// Forgotten pinned memory stays as it is, so its node may still be woken.
#[test]
fn a_forgotten_timer_is_sound() {
    let (queue, clock) = queue();
    let recording = Recording::default();
    // SAFETY: the timer is neither moved nor dropped. Only its memory is kept, so that it is not
    // leaked.
    let timer = unsafe { Pin::into_inner_unchecked(waiting(queue, 10, &recording.waker(1))) };
    let memory = Box::into_raw(timer).cast::<ManuallyDrop<Timer>>();
    clock.advance_to(at(10), queue);
    queue.on_interrupt();
    settle(queue);
    assert_eq!(recording.take(), [1]);
    // SAFETY: it came from a box of a type with the same layout.
    drop(unsafe { Box::from_raw(memory) });
}
