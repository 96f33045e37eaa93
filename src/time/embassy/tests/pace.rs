//! The loop's pause.

use std::time::Duration;

use super::leak;
use crate::time::{
    Instant,
    embassy::pace::{PACE, Pace},
    testing::{Recording, at, queue, settle, waiting},
};

#[test]
fn a_pause_ends_when_its_time_has_passed() {
    let (queue, clock) = queue();
    let pace: &Pace = leak(Pace::new());
    clock.advance_to(at(500), queue);
    let end = at(500).saturating_add(PACE);
    assert!(!pace.is_on());
    for now in [500, 700] {
        clock.advance_to(at(now), queue);
        // SAFETY: all calls are with this queue.
        unsafe { pace.begin(queue) };
        assert!(pace.is_on());
        assert_eq!(settle(queue), Some(end), "it is not extended");
    }
    assert_eq!(clock.alarm(), Some(end));
    clock.advance_to(end, queue);
    assert_eq!(settle(queue), None);
    assert!(!pace.is_on());
}

#[test]
fn a_pause_ends_at_the_next_deadline() {
    let (queue, clock) = queue();
    let pace: &Pace = leak(Pace::new());
    let recording = Recording::default();
    let _timer = waiting(queue, 100, &recording.waker(1));
    // SAFETY: all calls are with this queue.
    unsafe { pace.begin(queue) };
    assert_eq!(settle(queue), Some(at(100)));
    clock.advance_to(at(100), queue);
    settle(queue);
    assert_eq!((recording.take(), pace.is_on()), ([1].to_vec(), false));
    // There is no pause while something is due.
    let _due = waiting(queue, 200, &recording.waker(2));
    clock.pass(100);
    // SAFETY: the same.
    unsafe { pace.begin(queue) };
    settle(queue);
    assert_eq!((recording.take(), pace.is_on()), ([2].to_vec(), false));
}

#[test]
fn an_interrupted_pause_leaves_no_deadline() {
    let (queue, clock) = queue();
    let pace: &Pace = leak(Pace::new());
    // SAFETY: all calls are with this queue.
    unsafe { pace.begin(queue) };
    settle(queue);
    // SAFETY: the same.
    unsafe { pace.end(queue) };
    assert!(!pace.is_on());
    assert_eq!(settle(queue), None);
    // At the end of the range too.
    clock.advance_to(Instant::from_nanos(u64::MAX - 10), queue);
    // SAFETY: the same.
    unsafe { pace.begin(queue) };
    // SAFETY: the same.
    unsafe { pace.end(queue) };
    assert_eq!(settle(queue), None);
    assert!(PACE < Duration::from_millis(2));
}
