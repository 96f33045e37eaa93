use super::*;
use crate::time::testing::{Recording, at, queue, settle};
use core::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};

/// The next tick, if it is due.
fn next(ticker: &mut Ticker) -> Option<u64> {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(ticker.next()).poll(&mut context) {
        Poll::Ready(missed) => Some(missed),
        Poll::Pending => None,
    }
}

#[test]
fn a_late_tick_does_not_move_the_others() {
    let (queue, clock) = queue();
    let mut ticker = queue.ticker(at(7), Duration::from_nanos(10));
    // The time of each call and its result. The ticks are at 7, 17, 27...
    for (now, missed) in [
        (6, None),
        (7, Some(0)),
        (7, None),
        (16, None),
        (26, Some(0)),
        (27, Some(0)),
        (36, None),
        (66, Some(2)),
        (67, Some(0)),
        (97, Some(2)),
        (106, None),
        (107, Some(0)),
    ] {
        clock.advance_to(at(now), queue);
        assert_eq!(next(&mut ticker), missed, "at {now}");
    }
    assert_eq!(ticker.deadline(), at(117));
}

#[test]
fn each_tick_is_returned_or_counted_as_missed() {
    const PERIOD: u64 = 13;
    let (queue, clock) = queue();
    let mut ticker = queue.ticker(at(PERIOD), Duration::from_nanos(PERIOD));
    let (mut given, mut missed, mut step) = (0, 0, 1);
    for _ in 0..1000 {
        step = step * 31 % 101;
        clock.pass(step);
        if let Some(more) = next(&mut ticker) {
            given += 1;
            missed += more;
        }
        assert_eq!(given + missed, queue.now().as_nanos() / PERIOD);
    }
    assert!(given > 100 && missed > 100, "{given}, {missed}");
}

#[test]
fn a_tick_that_was_awaited_and_dropped_is_not_lost() {
    let (queue, clock) = queue();
    let recording = Recording::default();
    let mut ticker = queue.ticker(at(10), Duration::from_nanos(10));
    for now in [10, 20, 30] {
        {
            let waker = recording.waker(1);
            let mut wait = pin!(ticker.next());
            let poll = wait.as_mut().poll(&mut Context::from_waker(&waker));
            assert!(poll.is_pending());
            // It is due and its task is woken, but the future is dropped before it is polled.
            settle(queue);
            clock.advance_to(at(now), queue);
            settle(queue);
            assert_eq!(recording.take(), [1]);
        }
        assert_eq!(next(&mut ticker), Some(0));
    }
    // A dropped future leaves nothing in the queue.
    assert_eq!(next(&mut ticker), None);
    assert_eq!(settle(queue), None);
}

#[test]
fn a_reset_restarts_the_ticker() {
    let (queue, clock) = queue();
    let mut ticker = queue.ticker(at(10), Duration::from_nanos(10));
    clock.advance_to(at(1003), queue);
    ticker.reset();
    assert_eq!(next(&mut ticker), None);
    clock.advance_to(at(1013), queue);
    assert_eq!(next(&mut ticker), Some(0));
    ticker.reset_at(at(1014));
    clock.advance_to(at(1014), queue);
    assert_eq!(next(&mut ticker), Some(0));
    assert_eq!(ticker.deadline(), at(1024));
    // In the past: due at once, and the ticks since then are missed.
    ticker.reset_at(at(984));
    assert_eq!(next(&mut ticker), Some(3));
}

#[test]
fn a_period_of_zero_is_a_nanosecond() {
    let (queue, clock) = queue();
    let mut ticker = queue.ticker(at(0), Duration::ZERO);
    assert_eq!(next(&mut ticker), Some(0));
    assert_eq!(next(&mut ticker), None);
    clock.pass(5);
    assert_eq!(next(&mut ticker), Some(4));
}

#[test]
fn a_period_beyond_the_range_never_passes() {
    for period in [Duration::from_nanos(u64::MAX), Duration::MAX] {
        let (queue, clock) = queue();
        let mut ticker = queue.ticker(at(5), period);
        clock.advance_to(at(u64::MAX - 2), queue);
        assert_eq!(next(&mut ticker), Some(0), "the first tick is in range");
        assert_eq!(ticker.deadline(), Instant::NEVER);
        clock.advance_to(at(u64::MAX - 1), queue);
        assert_eq!(next(&mut ticker), None);
        assert_eq!(settle(queue), None, "`NEVER` is not queued");
        ticker.reset();
        assert_eq!(ticker.deadline(), Instant::NEVER);
    }
}

#[test]
fn ticks_end_at_the_end_of_the_range() {
    let (queue, clock) = queue();
    let mut ticker = queue.ticker(at(u64::MAX - 25), Duration::from_nanos(10));
    clock.advance_to(at(u64::MAX - 1), queue);
    assert_eq!(next(&mut ticker), Some(2));
    assert_eq!(ticker.deadline(), Instant::NEVER);
    assert_eq!(next(&mut ticker), None);
}
