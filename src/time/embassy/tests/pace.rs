//! The rest of the loop.

use std::time::Duration;

use super::leak;
use crate::time::{
    Instant,
    embassy::pace::{PACE, Pace},
    testing::{Recording, at, queue, settle, waiting},
};

#[test]
fn a_rest_ends_when_its_time_has_passed() {
    let (queue, clock) = queue();
    let pace: &Pace = leak(Pace::new());
    clock.advance_to(at(500), queue);
    let end = at(500).saturating_add(PACE);
    assert!(!pace.rests());
    for now in [500, 700] {
        clock.advance_to(at(now), queue);
        // SAFETY: all calls are with this queue.
        unsafe { pace.begin(queue) };
        assert!(pace.rests());
        assert_eq!(settle(queue), Some(end), "it does not begin anew");
    }
    assert_eq!(clock.alarm(), Some(end));
    clock.advance_to(end, queue);
    assert_eq!(settle(queue), None);
    assert!(!pace.rests());
}

#[test]
fn a_rest_ends_with_the_next_deadline() {
    let (queue, clock) = queue();
    let pace: &Pace = leak(Pace::new());
    let recording = Recording::default();
    let _timer = waiting(queue, 100, &recording.waker(1));
    // SAFETY: all calls are with this queue.
    unsafe { pace.begin(queue) };
    assert_eq!(settle(queue), Some(at(100)));
    clock.advance_to(at(100), queue);
    settle(queue);
    assert_eq!((recording.take(), pace.rests()), ([1].to_vec(), false));
    // What is due already is not rested upon.
    let _due = waiting(queue, 200, &recording.waker(2));
    clock.pass(100);
    // SAFETY: the same.
    unsafe { pace.begin(queue) };
    settle(queue);
    assert_eq!((recording.take(), pace.rests()), ([2].to_vec(), false));
}

#[test]
fn a_rest_that_is_interrupted_leaves_no_deadline() {
    let (queue, clock) = queue();
    let pace: &Pace = leak(Pace::new());
    // SAFETY: all calls are with this queue.
    unsafe { pace.begin(queue) };
    settle(queue);
    // SAFETY: the same.
    unsafe { pace.end(queue) };
    assert!(!pace.rests());
    assert_eq!(settle(queue), None);
    // At the end of time too.
    clock.advance_to(Instant::from_nanos(u64::MAX - 10), queue);
    // SAFETY: the same.
    unsafe { pace.begin(queue) };
    // SAFETY: the same.
    unsafe { pace.end(queue) };
    assert_eq!(settle(queue), None);
    assert!(PACE < Duration::from_millis(2));
}
