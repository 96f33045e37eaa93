//! Bugs that users of other runtimes' timers reported: a test for each.

use std::{boxed::Box, pin::Pin, sync::Arc, task::Waker, vec::Vec};

use core::{
    future::{Future, pending},
    task::Poll,
    time::Duration,
};

use super::{
    Clock, Instant, Ticker, Timer,
    testing::{Recorder, Recording, at, counting, poll, queue, settle, waiting},
};
use crate::platform::host;

/// A deadline that passes before or while the alarm is written does not stop the timers: it is due,
/// and the alarm is set for the deadlines after it.
#[test]
fn alarm_in_the_past() {
    let (queue, clock, alarm) = counting(100);
    let recording = Recording::default();
    // It has passed at the first poll.
    clock.pass(1000);
    for past in [0, 999, 1000] {
        assert!(poll(&mut Box::pin(queue.timer(at(past))), Waker::noop()).is_ready());
    }
    assert_eq!((settle(queue), alarm.writes()), (None, 0));
    // It passes while the alarm is written, which then ignores it.
    let _written = waiting(queue, 1050, &recording.waker(1));
    let _follows = waiting(queue, 5000, &recording.waker(2));
    assert_eq!(settle(queue), Some(at(5000)));
    assert_eq!(recording.take(), [1]);
    assert_eq!(clock.alarm(), Some(at(5000)));
    // It passes between the poll and the turn.
    let _between = waiting(queue, 2000, &recording.waker(3));
    clock.pass(1000);
    assert_eq!(settle(queue), Some(at(5000)));
    assert_eq!(recording.take(), [3]);
    assert_eq!(clock.alarm(), Some(at(5000)));
    // It passes while the alarm is set for another deadline, and no interrupt comes.
    let _missed = waiting(queue, 4500, &recording.waker(4));
    settle(queue);
    clock.pass(10_000);
    clock.advance_to(clock.now(), queue);
    assert_eq!(settle(queue), None);
    assert_eq!(recording.take(), [4, 2]);
}

/// `NEVER` is not a deadline: no node and no alarm is needed for it, and other timers are served as
/// without it.
#[test]
fn sentinel_deadline() {
    let (queue, clock, alarm) = counting(0);
    let recording = Recording::default();
    let task = Arc::new(Recorder {
        number: 0,
        list: Arc::default(),
    });
    let mut never = waiting(queue, u64::MAX, &Waker::from(task.clone()));
    assert_eq!(
        Arc::strong_count(&task),
        1,
        "a timer that never ends is in the queue"
    );
    let mut limited = Box::pin(queue.with_deadline(Instant::NEVER, pending::<()>()));
    assert!(poll(&mut limited, Waker::noop()).is_pending());
    let mut ticker = queue.ticker(Instant::NEVER, Duration::from_secs(1));
    let mut tick = Box::pin(ticker.next());
    assert!(poll(&mut tick, Waker::noop()).is_pending());
    assert_eq!((settle(queue), alarm.writes()), (None, 0));
    assert!(poll(&mut Box::pin(Timer::never()), Waker::noop()).is_pending());

    let one = waiting(queue, 10, &recording.waker(1));
    assert_eq!(settle(queue), Some(at(10)));
    clock.advance_to(at(10), queue);
    assert_eq!(settle(queue), None);
    assert_eq!(recording.take(), [1]);
    assert_eq!(
        alarm.writes(),
        1,
        "the alarm is not set after the last timer"
    );
    assert_eq!(clock.alarm(), None);
    drop(one);

    // The last instant is a deadline: the clock may reach it.
    let mut last = waiting(queue, u64::MAX - 1, &recording.waker(2));
    assert_eq!(settle(queue), Some(at(u64::MAX - 1)));
    // From never to a deadline, and back.
    never.as_mut().reset(at(20));
    assert!(poll(&mut never, &recording.waker(3)).is_pending());
    assert_eq!(settle(queue), Some(at(20)));
    never.as_mut().reset(Instant::NEVER);
    assert!(poll(&mut never, &recording.waker(3)).is_pending());
    clock.advance_to(at(30), queue);
    assert_eq!(settle(queue), Some(at(u64::MAX - 1)));
    assert!(recording.take().is_empty());
    clock.advance_to(at(u64::MAX - 1), queue);
    assert_eq!(settle(queue), None);
    assert_eq!(recording.take(), [2]);
    assert!(poll(&mut last, Waker::noop()).is_ready());
    assert!(poll(&mut never, Waker::noop()).is_pending());
    assert!(poll(&mut limited, Waker::noop()).is_pending());
    assert!(poll(&mut tick, Waker::noop()).is_pending());
}

/// The sum of now and a duration is never in the past.
#[test]
fn overflow_in_now_plus_duration() {
    let (queue, clock) = queue();
    for now in [0, 1, 1 << 40, u64::MAX - 10] {
        clock.advance_to(at(now), queue);
        let too_long = [
            Duration::from_nanos(u64::MAX - now),
            Duration::from_nanos(u64::MAX),
            Duration::from_nanos(u64::MAX) + Duration::from_nanos(1),
            Duration::from_secs(u64::MAX),
            Duration::MAX,
        ];
        for duration in too_long {
            let deadline = queue.now().saturating_add(duration);
            assert_eq!(deadline, Instant::NEVER, "{now} + {duration:?}");
            assert!(poll(&mut Box::pin(queue.timer(deadline)), Waker::noop()).is_pending());
            let mut limited = Box::pin(queue.with_deadline(deadline, pending::<()>()));
            assert!(poll(&mut limited, Waker::noop()).is_pending());
            let mut ticker = queue.ticker(queue.now(), duration);
            assert!(poll(&mut Box::pin(ticker.next()), Waker::noop()).is_ready());
            assert_eq!(ticker.deadline(), Instant::NEVER);
            assert_eq!(settle(queue), None);
        }
    }
    // On the global queue, at any time of its clock.
    host::init();
    assert_eq!(Timer::after(Duration::MAX).deadline(), Instant::NEVER);
    assert_eq!(Ticker::every(Duration::MAX).deadline(), Instant::NEVER);
    let mut limited = Box::pin(super::with_timeout(Duration::MAX, pending::<()>()));
    assert!(poll(&mut limited, Waker::noop()).is_pending());
}

/// Deadlines that pass faster than the alarm can be written do not cost a write each, and the queue
/// settles.
#[test]
fn near_deadline_storm() {
    // Ten deadlines pass in the time of one write.
    let (queue, clock, alarm) = counting(100);
    let recording = Recording::default();
    let _timers: Vec<_> = (0..1000)
        .map(|n| waiting(queue, 10 * (n as u64 + 1), &recording.waker(n)))
        .collect();
    assert_eq!(settle(queue), None);
    assert_eq!(recording.take(), (0..1000).collect::<Vec<_>>());
    assert!(
        alarm.writes() <= 101,
        "{} writes in the time of 100",
        alarm.writes()
    );

    // A task that sleeps for a nanosecond, again and again.
    let before = alarm.writes();
    for number in 0..1000 {
        let next = queue.now().as_nanos() + 1;
        let mut timer = waiting(queue, next, &recording.waker(number));
        assert_eq!(settle(queue), None);
        assert!(poll(&mut timer, Waker::noop()).is_ready());
        assert_eq!(recording.take(), [number]);
    }
    assert!(alarm.writes() - before <= 1000, "more writes than sleeps");

    // Ticks that pass faster than they are awaited are returned as one, without an alarm.
    let before = alarm.writes();
    let mut ticker = queue.ticker(queue.now(), Duration::from_nanos(1));
    for _ in 0..1000 {
        assert!(poll(&mut Box::pin(ticker.next()), Waker::noop()).is_ready());
        clock.pass(50);
        assert_eq!(settle(queue), None);
    }
    assert_eq!(alarm.writes(), before);
}

/// Timers that are dropped before they end leave no node, no waker and no alarm.
#[test]
fn cancelled_timers_pile_up() {
    const HOUR: Duration = Duration::from_secs(3600);
    const TIMES: usize = if cfg!(miri) { 100 } else { 10_000 };
    let (queue, clock, alarm) = counting(0);
    let task = Arc::new(Recorder {
        number: 0,
        list: Arc::default(),
    });
    let waker = Waker::from(task.clone());
    // Answers that come after a microsecond, each with a limit of an hour.
    for _ in 0..TIMES {
        let mut polls = 0;
        let answer = core::future::poll_fn(|_| {
            polls += 1;
            if polls == 2 {
                Poll::Ready(7)
            } else {
                Poll::Pending
            }
        });
        let limit = queue.now().saturating_add(HOUR);
        let mut limited: Pin<Box<dyn Future<Output = _>>> =
            Box::pin(queue.with_deadline(limit, answer));
        let mut context = core::task::Context::from_waker(&waker);
        assert!(limited.as_mut().poll(&mut context).is_pending());
        assert_eq!(settle(queue), Some(limit));
        clock.pass(1000);
        assert_eq!(limited.as_mut().poll(&mut context), Poll::Ready(Ok(7)));
        drop(limited);
        assert_eq!(settle(queue), None);
    }
    assert_eq!(
        alarm.writes(),
        1,
        "the alarm is not set again before it is due"
    );
    assert_eq!(Arc::strong_count(&task), 2, "a waker was not dropped");

    // Many at once; all but one are dropped.
    let stays = waiting(queue, 2 * HOUR.as_nanos() as u64, &waker);
    let dropped: Vec<_> = (0..TIMES)
        .map(|n| waiting(queue, HOUR.as_nanos() as u64 + n as u64, &waker))
        .collect();
    drop(dropped);
    assert_eq!(Arc::strong_count(&task), 3);
    assert_eq!(settle(queue), Some(stays.deadline()));
    assert!(alarm.writes() <= 2);
    // The alarm for the dropped timers comes, wakes no task, and is set for the remaining timer.
    clock.advance_to(at(HOUR.as_nanos() as u64 + 1_000_000_000), queue);
    assert_eq!(settle(queue), Some(stays.deadline()));
    assert!(task.list.lock().unwrap().is_empty());
    assert_eq!(clock.alarm(), Some(stays.deadline()));
}

/// A timer wakes only the last waker that polled it. The waker before is dropped at once.
#[test]
fn waker_not_refreshed() {
    let (queue, clock) = queue();
    let recording = Recording::default();
    let (first, last) = (recording.waker(1), recording.waker(2));
    let counted = Arc::new(Recorder {
        number: 3,
        list: Arc::default(),
    });
    let mut timer = waiting(queue, 10, &first);
    assert!(poll(&mut timer, &Waker::from(counted.clone())).is_pending());
    assert_eq!(Arc::strong_count(&counted), 2);
    assert!(poll(&mut timer, &last).is_pending());
    assert_eq!(
        Arc::strong_count(&counted),
        1,
        "an old waker was not dropped"
    );
    // The same for futures that contain a timer.
    let mut limited = Box::pin(queue.with_deadline(at(20), pending::<()>()));
    let mut ticker = queue.ticker(at(30), Duration::from_secs(1));
    let mut tick = Box::pin(ticker.next());
    for waker in [&first, &last] {
        assert!(poll(&mut limited, waker).is_pending());
        assert!(poll(&mut tick, waker).is_pending());
    }
    for deadline in [10, 20, 30] {
        settle(queue);
        clock.advance_to(at(deadline), queue);
        settle(queue);
        assert_eq!(recording.take(), [2], "at {deadline}");
    }
}
