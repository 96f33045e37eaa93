//! Many timers at once.

use std::{pin::Pin, vec::Vec};

use super::*;

/// Fewer under Miri, which is a thousand times as slow.
const MANY: usize = if cfg!(miri) { 300 } else { 100_000 };

/// A fixed sequence that looks random.
fn scrambled(index: usize) -> u64 {
    (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20
}

/// A hundred thousand timers are pending at once. Some are reset, some are dropped; the others end
/// in order, each once.
#[test]
fn a_hundred_thousand_timers_at_once() {
    let (queue, clock, alarm) = counting(0);
    let recording = Recording::default();
    let mut timers: Vec<Option<Pin<_>>> = (0..MANY)
        .map(|n| Some(waiting(queue, scrambled(n), &recording.waker(n))))
        .collect();
    for (number, place) in timers.iter_mut().enumerate() {
        let timer = place.as_mut().expect("not dropped yet");
        match number % 5 {
            0 => *place = None,
            1 | 2 => {
                timer.as_mut().reset(at(scrambled(number + MANY)));
                assert!(poll(timer, &recording.waker(number)).is_pending());
            }
            _ => {}
        }
    }
    let deadline = |number: &usize| timers[*number].as_ref().unwrap().deadline();
    let mut expected: Vec<usize> = (0..MANY).filter(|number| number % 5 != 0).collect();
    expected.sort_by_key(deadline);

    // At first by one alarm after another, then in a few jumps of the clock.
    let mut woken = Vec::new();
    for _ in 0..100 {
        let next = settle(queue).expect("there are timers left");
        assert_eq!(Some(next), clock.alarm());
        clock.advance_to(next, queue);
        settle(queue);
        woken.extend(recording.take());
    }
    assert_eq!(woken, expected[..woken.len()]);
    assert!((100..200).contains(&woken.len()), "{}", woken.len());
    for leap in 1..=8 {
        clock.advance_to(at(leap << 41), queue);
        settle(queue);
        woken.extend(recording.take());
    }
    assert_eq!(woken, expected);
    assert_eq!(settle(queue), None);
    assert!(
        alarm.writes() <= 110,
        "{} writes for some 110 turns",
        alarm.writes()
    );
}

/// The clock jumps ahead by hours, as when a snapshot is restored: timers that are due by then end
/// at once, each once, in order. Later ones wait for their time.
#[test]
fn a_jump_of_hours_ends_due_timers_once_and_in_order() {
    const SECOND: u64 = 1_000_000_000;
    const HOUR: u64 = 3600 * SECOND;
    let (queue, clock, alarm) = counting(0);
    let recording = Recording::default();
    clock.advance_to(at(SECOND), queue);
    // One every two minutes, for ten hours, made in a scrambled order: 7 and 300 are coprime.
    let timers: Vec<_> = (0..300)
        .map(|n| n * 7 % 300)
        .map(|n| waiting(queue, (n as u64 + 1) * 120 * SECOND, &recording.waker(n)))
        .collect();
    let mut ticker = queue.ticker(at(2 * SECOND), core::time::Duration::from_secs(1));
    assert_eq!(settle(queue), Some(at(120 * SECOND)));

    clock.advance_to(at(5 * HOUR), queue);
    assert_eq!(settle(queue), Some(at(5 * HOUR + 120 * SECOND)));
    assert_eq!(recording.take(), (0..150).collect::<Vec<_>>());
    assert_eq!(alarm.writes(), 2, "one before the jump, and one after it");
    // A ticker returns one tick for all that it missed.
    let mut next = std::boxed::Box::pin(ticker.next());
    assert_eq!(
        poll(&mut next, Waker::noop()),
        core::task::Poll::Ready(5 * 3600 - 2)
    );
    drop(next);
    assert_eq!(ticker.deadline(), at(5 * HOUR + SECOND));

    // Nothing ends twice.
    queue.on_interrupt();
    settle(queue);
    assert!(recording.take().is_empty());
    clock.advance_to(at(20 * HOUR), queue);
    assert_eq!(settle(queue), None);
    assert_eq!(recording.take(), (150..300).collect::<Vec<_>>());
    drop(timers);
}

/// Timers with the same deadline end in the order of their first polls.
#[test]
fn equal_deadlines_end_in_the_order_of_first_polls() {
    let (queue, clock) = queue();
    let recording = Recording::default();
    let mut timers: Vec<_> = (0..100)
        .map(|n| waiting(queue, 10 + n as u64 % 2, &recording.waker(n)))
        .collect();
    // A reset changes the order; a poll by another task does not.
    timers[40].as_mut().reset(at(10));
    assert!(poll(&mut timers[40], &recording.waker(40)).is_pending());
    assert!(poll(&mut timers[20], &recording.waker(20)).is_pending());
    settle(queue);
    clock.advance_to(at(11), queue);
    settle(queue);
    let even = (0..100).step_by(2).filter(|n| *n != 40).chain([40]);
    let expected: Vec<_> = even.chain((0..100).skip(1).step_by(2)).collect();
    assert_eq!(recording.take(), expected);
}
