use std::{
    cell::Cell,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    vec::Vec,
};

use proptest::prelude::*;

use super::{Monotonic, Readers, Reading, TOO_LATE_SECONDS};

const SECOND: u64 = 1_000_000;

fn clock(count: u64) -> Monotonic {
    Monotonic::start(count, SECOND)
}

fn read(clock: &Monotonic, count: u64) -> Reading {
    read_by(clock, Readers::ThisVcpu, || count)
}

/// Reads the time as a clock does.
fn read_by(clock: &Monotonic, readers: Readers, mut counter: impl FnMut() -> u64) -> Reading {
    let usual = match readers {
        Readers::ThisVcpu => clock.usual(|| Some(counter())),
        Readers::AnyVcpu => None,
    };
    match usual {
        Some(elapsed) => Reading {
            elapsed,
            held: 0,
            jumped: false,
        },
        None => clock.read(readers, counter),
    }
}

/// Any value; often one near the ends, or near to others.
fn count() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        0..4 * SECOND,
        u64::MAX - 4 * SECOND..=u64::MAX,
        1 << 40..(1 << 40) + 4 * SECOND,
    ]
}

proptest! {
    #[test]
    fn no_sequence_of_counts_makes_it_go_back(
        start in count(),
        counts in prop::collection::vec(count(), 0..100),
    ) {
        let clock = clock(start);
        let mut last = 0;
        for count in counts {
            let reading = read(&clock, count);
            prop_assert!(reading.elapsed >= last);
            last = reading.elapsed;
        }
    }

    #[test]
    fn it_follows_a_counter_that_is_not_set_back(
        start: u64,
        steps in prop::collection::vec(0..1u64 << 46, 0..100),
    ) {
        let (clock, mut count, mut elapsed) = (clock(start), start, 0);
        for step in steps {
            // A wrap is a step back, see below.
            let Some(next) = count.checked_add(step) else { break };
            (count, elapsed) = (next, elapsed + step);
            let reading = read(&clock, count);
            prop_assert_eq!(reading, Reading { elapsed, held: 0, jumped: step > 60 * SECOND });
            prop_assert_eq!(clock.at(count), elapsed);
        }
    }

    #[test]
    fn after_a_step_back_it_continues_at_the_same_rate(
        start in 0..1u64 << 60,
        ran in 0..1u64 << 50,
        back in SECOND..1 << 60,
        steps in prop::collection::vec(0..1u64 << 48, 0..20),
    ) {
        let clock = clock(start);
        prop_assert_eq!(read(&clock, start + ran).elapsed, ran);
        // Below zero is beyond the upper end: it wraps.
        let mut count = (start + ran).wrapping_sub(back);
        prop_assert_eq!(read(&clock, count), Reading { elapsed: ran, held: 0, jumped: true });
        let mut elapsed = ran;
        for step in steps {
            (count, elapsed) = (count.wrapping_add(step), elapsed + step);
            let reading = read(&clock, count);
            prop_assert_eq!(reading, Reading { elapsed, held: 0, jumped: step > 60 * SECOND });
        }
    }

    #[test]
    fn a_small_step_back_holds_the_time_until_the_counter_has_caught_up(
        start in SECOND..u64::MAX / 2,
        ran in 0..1u64 << 50,
        back in 1..SECOND,
        then in 0..2 * SECOND,
    ) {
        let clock = clock(start);
        read(&clock, start + ran);
        let held = read(&clock, start + ran - back);
        prop_assert_eq!(held, Reading { elapsed: ran, held: back, jumped: false });
        let later = read(&clock, start + ran - back + then);
        prop_assert_eq!(later.elapsed, ran + then.saturating_sub(back));
        prop_assert_eq!(later.held, back.saturating_sub(then));
    }

    /// Each read is interrupted by the next, with any value of the counter.
    #[test]
    fn an_interrupted_read_does_not_make_the_time_go_back(
        start in count(),
        rounds in prop::collection::vec(prop::collection::vec(count(), 1..6), 1..20),
    ) {
        let clock = clock(start);
        let last = Cell::new(0);
        for counts in &rounds {
            nested(&clock, counts, &last);
        }
    }
}

/// Reads the first count. An interrupting read takes the others, in turn before and after the
/// counter is read.
fn nested(clock: &Monotonic, counts: &[u64], last: &Cell<u64>) {
    let Some((&count, inner)) = counts.split_first() else {
        return;
    };
    let before = last.get();
    let mut first = true;
    let reading = read_by(clock, Readers::ThisVcpu, || {
        if core::mem::take(&mut first) {
            nested(clock, inner, last);
            count
        } else {
            // Read again after an interruption: the counter has moved on.
            inner.last().copied().unwrap_or(count)
        }
    });
    assert!(reading.elapsed >= before, "it went back");
    last.set(last.get().max(reading.elapsed));
    // A read after all of them.
    let after = read_by(clock, Readers::ThisVcpu, || count);
    assert!(after.elapsed >= last.get(), "it forgot a higher time");
    last.set(after.elapsed);
}

#[test]
fn a_step_back_of_exactly_a_second_is_not_small() {
    for (back, elapsed_later) in [(SECOND - 1, 11), (SECOND, 10 + SECOND)] {
        let clock = clock(5 * SECOND);
        read(&clock, 5 * SECOND + 10);
        read(&clock, 5 * SECOND + 10 - back);
        let later = read(&clock, 5 * SECOND + 10 - back + SECOND);
        assert_eq!(later.elapsed, elapsed_later, "{back} ticks back");
    }
}

#[test]
fn a_jump_of_exactly_a_minute_is_not_reported() {
    for (elapsed, jumped) in [(60 * SECOND, false), (60 * SECOND + 1, true)] {
        let held = 0;
        let expected = Reading {
            elapsed,
            held,
            jumped,
        };
        assert_eq!(read(&clock(7), 7 + elapsed), expected);
    }
}

#[test]
fn a_counter_that_goes_ahead_is_the_usual_case() {
    let clock = clock(3);
    assert_eq!(clock.usual(|| Some(7)), Some(4));
    assert_eq!(clock.usual(|| Some(7)), Some(4));
    assert_eq!(clock.usual(|| Some(6)), None);
    assert_eq!(clock.usual(|| Some(8)), Some(5));
}

#[test]
fn a_counter_that_cannot_be_read_changes_nothing() {
    let clock = clock(0);
    read(&clock, 7);
    assert_eq!(clock.usual(|| None), None);
    assert_eq!(read(&clock, 8).elapsed, 8);
}

#[test]
fn a_wrap_of_the_counter_does_not_stop_the_time() {
    let clock = clock(u64::MAX - 5);
    assert_eq!(read(&clock, u64::MAX).elapsed, 5);
    assert_eq!(read(&clock, 3).elapsed, 9);
}

#[test]
fn a_jump_by_a_century_is_not_believed() {
    let clock = clock(0);
    assert_eq!(read(&clock, 5).elapsed, 5);
    let unbelieved = Reading {
        elapsed: 5,
        held: 0,
        jumped: true,
    };
    assert_eq!(read(&clock, 1 << 63), unbelieved);
    assert_eq!(read(&clock, (1 << 63) + 1).elapsed, 6);
    // No sequence of believed jumps leads nearer to the end.
    let mut last = 6;
    for count in (0..64).map(|bit| 1 << bit).cycle().take(1000) {
        let elapsed = read(&clock, count).elapsed;
        assert!((last..(1 << 63) + (1 << 40)).contains(&elapsed));
        last = elapsed;
    }
}

/// The range is that of an `Instant`, or of a fast counter's half.
#[test]
fn a_jump_to_the_end_of_the_range_is_not_believed() {
    for (second, end) in [
        (SECOND, SECOND * TOO_LATE_SECONDS),
        (1000 * SECOND, 1 << 63),
    ] {
        for (count, elapsed) in [(end - 1, end - 1), (end, 0)] {
            let reading = read(&Monotonic::start(0, second), count);
            assert_eq!((reading.elapsed, reading.jumped), (elapsed, true));
        }
    }
}

#[test]
fn a_jump_ahead_moves_the_time_permanently() {
    let clock = clock(7);
    let hours = 5 * 3600 * SECOND;
    let ahead = read(&clock, 7 + hours);
    assert_eq!((ahead.elapsed, ahead.jumped), (hours, true));
    // And back again.
    assert!(read(&clock, 8).jumped);
    assert_eq!(read(&clock, 9).elapsed, hours + 1);
}

#[test]
fn a_count_before_the_start_is_at_the_start() {
    let clock = clock(1000);
    assert_eq!(clock.at(1), 0);
    assert_eq!(clock.at(1001), 1);
}

/// Each thread is a vCPU. Their counters differ, and are sometimes set back together.
#[test]
fn no_thread_sees_the_time_go_back() {
    const THREADS: u64 = 4;
    let rounds = if cfg!(miri) { 200 } else { 50_000 };
    let (clock, counter, shown) = (clock(0), AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (clock, counter, shown) = (&clock, &counter, &shown);
                scope.spawn(move || {
                    for round in 0..rounds {
                        if thread == 0 && round % 1000 == 999 {
                            counter.store(0, Ordering::SeqCst);
                        }
                        // The highest time that any thread has read.
                        let before = shown.load(Ordering::SeqCst);
                        let reading = read_by(clock, Readers::AnyVcpu, || {
                            let count = counter.fetch_add(1 + SECOND / 500, Ordering::SeqCst);
                            // This vCPU's counter is a little behind.
                            count.saturating_sub(7 * thread)
                        });
                        assert!(reading.elapsed >= before, "it went back");
                        shown.fetch_max(reading.elapsed, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
    });
    assert!(shown.into_inner() > 0);
}
