//! The watchdog on a virtual clock. There is one for a process, so each test runs in its own.

use core::{
    future::pending,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::Duration,
};
use std::{panic::catch_unwind, string::String, sync::Mutex, vec::Vec};

use super::*;
use crate::{
    block_on,
    executor::{Executor, Shared, Up64, last_yield, yield_now},
    idle::{Idle, IdleContext},
    platform::host::VirtualClock,
    tasks,
    test_support::alone,
    time::{Alarm, Clock, Instant},
};

const MILLI: u64 = 1_000_000;
const LIMIT: Duration = Duration::from_secs(1);

static CLOCK: VirtualClock = VirtualClock::new();
static TIMERS: TimerQueue = TimerQueue::new();
static EXECUTOR: Executor<Up64> = Executor::new(Shared);
static STALLS: Mutex<Vec<Stall>> = Mutex::new(Vec::new());
static INTERRUPTS: AtomicU32 = AtomicU32::new(0);

/// An alarm that takes time to set, ignores what has passed by then, and cannot count far.
struct Hardware {
    takes: AtomicU64,
    longest: AtomicU64,
    writes: AtomicU32,
}

static ALARM: Hardware = Hardware {
    takes: AtomicU64::new(0),
    longest: AtomicU64::new(u64::MAX),
    writes: AtomicU32::new(0),
};

impl Alarm for Hardware {
    fn set(&self, at: Instant) {
        self.writes.fetch_add(1, Ordering::Relaxed);
        CLOCK.pass(self.takes.load(Ordering::Relaxed));
        let now = CLOCK.now();
        let longest = Duration::from_nanos(self.longest.load(Ordering::Relaxed));
        if now < at {
            CLOCK.set(at.min(now.saturating_add(longest)));
        } else {
            CLOCK.off();
        }
    }

    fn off(&self) {
        CLOCK.off();
    }
}

fn start_with(limit: Duration) {
    if !TIMERS.has_clock() {
        TIMERS.install(&CLOCK, &ALARM).unwrap();
    }
    start(&TIMERS, limit);
}

/// Lets time pass, with the interrupts that come meanwhile.
fn pass(time: Duration) {
    let end = CLOCK.now().saturating_add(time);
    while let Some(at) = CLOCK.alarm().filter(|at| *at <= end) {
        interrupt_at(at);
    }
    let left = end.saturating_duration_since(CLOCK.now());
    CLOCK.pass(left.as_nanos() as u64);
}

/// Lets time pass until the alarm interrupts.
fn interrupt_at(at: Instant) {
    let left = at.saturating_duration_since(CLOCK.now());
    CLOCK.pass(left.as_nanos() as u64);
    CLOCK.off();
    INTERRUPTS.fetch_add(1, Ordering::Relaxed);
    STALLS.lock().unwrap().extend(on_interrupt());
}

fn millis(number: u64) -> Duration {
    Duration::from_millis(number)
}

fn take_stalls() -> Vec<Stall> {
    core::mem::take(&mut STALLS.lock().unwrap())
}

/// Waits for interrupts until one of them ends the idle time.
struct HaltUntilInterrupt;

impl Idle for HaltUntilInterrupt {
    fn wait(&mut self, cx: &IdleContext<'_>) {
        while cx.is_idle() {
            interrupt_at(CLOCK.alarm().expect("an interrupt is to come"));
        }
    }
}

fn assert_one_stall_of(length: Duration, task: Option<&str>) {
    let stalls = take_stalls();
    assert_eq!(stalls.len(), 1, "{stalls:?}");
    let longest = length + length / 8;
    assert!((length..=longest).contains(&stalls[0].length), "{stalls:?}");
    assert_eq!(stalls[0].limit, length);
    match (task, stalls[0].task) {
        (Some(task), Some(found)) => assert!(found.ends_with(task), "{found}"),
        (task, found) => assert_eq!(task, found),
    }
}

tasks! {
    async fn works(length: Duration), pool = 1 { pass(length) }
    async fn waits(until: Instant), pool = 8 {
        TIMERS.timer(until).await;
        assert_eq!(CLOCK.now(), until);
    }
    async fn calls(function: fn()), pool = 1 { function() }
    async fn works_and_yields(length: Duration, times: u32), pool = 2 {
        for _ in 0..times {
            pass(length);
            yield_now().await;
        }
    }
}

fn run(spawn: impl FnOnce(crate::executor::Spawner)) {
    let mut runner = EXECUTOR.enter().unwrap().with_timers(&TIMERS);
    spawn(runner.spawner());
    runner.run(HaltUntilInterrupt);
}

#[test]
fn a_poll_that_takes_longer_than_the_limit_is_reported_once() {
    alone(|| {
        start_with(LIMIT);
        run(|spawner| spawner.spawn_detached(works(millis(20_000))).unwrap());
        assert_one_stall_of(LIMIT, Some("::works"));
        // Each such poll.
        for _ in 0..3 {
            run(|spawner| spawner.spawn_detached(works(millis(1_130))).unwrap());
            assert_one_stall_of(LIMIT, Some("::works"));
        }
    });
}

#[test]
fn a_future_of_block_on_is_watched_and_code_outside_of_polls_is_not() {
    alone(|| {
        start_with(LIMIT);
        pass(millis(10_000));
        block_on(async { pass(millis(2_000)) }, HaltUntilInterrupt);
        assert_one_stall_of(LIMIT, None);
        pass(millis(10_000));
        assert!(take_stalls().is_empty());
    });
}

#[test]
fn tasks_that_yield_in_time_are_not_reported() {
    alone(|| {
        start_with(LIMIT);
        run(|spawner| {
            for _ in 0..2 {
                let task = works_and_yields(millis(999), 50);
                spawner.spawn_detached(task).unwrap();
            }
        });
        assert_eq!(CLOCK.now(), Instant::from_nanos(2 * 50 * 999 * MILLI));
        assert!(take_stalls().is_empty());
    });
}

/// And is woken by its timers alone, and once by the watchdog after each time that it was busy,
/// even if the hardware cannot count far.
#[test]
fn an_idle_guest_is_neither_reported_nor_kept_awake() {
    alone(|| {
        for longest in [u64::MAX, 20 * MILLI] {
            ALARM.longest.store(longest, Ordering::Relaxed);
            start_with(Duration::from_secs(3600));
            INTERRUPTS.store(0, Ordering::Relaxed);
            let now = CLOCK.now();
            run(|spawner| {
                let until = now.saturating_add(millis(40_000_000));
                spawner.spawn_detached(waits(until)).unwrap();
                let until = now.saturating_add(millis(1));
                spawner.spawn_detached(waits(until)).unwrap();
            });
            let for_timers = if longest == u64::MAX { 2 } else { 2_000_001 };
            let count = INTERRUPTS.load(Ordering::Relaxed);
            assert!(count <= for_timers + 2, "{count} interrupts");
            assert!(take_stalls().is_empty());
        }
    });
}

#[test]
fn a_task_that_waits_in_a_loop_of_its_own_is_not_reported() {
    alone(|| {
        start_with(LIMIT);
        run(|spawner| {
            let task = calls(|| {
                static INNER: Executor<Up64> = Executor::new(Shared);
                // Halts for ten seconds, and then works for almost the limit.
                let mut runner = INNER.enter().unwrap().with_timers(&TIMERS);
                let until = CLOCK.now().saturating_add(millis(10_000));
                runner.spawner().spawn_detached(waits(until)).unwrap();
                runner.run(HaltUntilInterrupt);
                pass(millis(990));
                // Works for longer than the limit, in several polls.
                let task = works_and_yields(millis(700), 10);
                runner.spawner().spawn_detached(task).unwrap();
                runner.run(HaltUntilInterrupt);
                pass(millis(990));
                block_on(async { pass(millis(990)) }, HaltUntilInterrupt);
                assert!(take_stalls().is_empty());
                // Does not yield after the inner loop.
                pass(millis(1_200));
                assert_one_stall_of(LIMIT, Some("::calls"));
                // Nor in the next one.
                block_on(async { pass(millis(1_200)) }, HaltUntilInterrupt);
            });
            spawner.spawn_detached(task).unwrap();
        });
        assert_one_stall_of(LIMIT, Some("::calls"));
    });
}

#[test]
fn timers_expire_as_without_a_watchdog() {
    alone(|| {
        // Before the start, and after it.
        TIMERS.install(&CLOCK, &ALARM).unwrap();
        let mut runner = EXECUTOR.enter().unwrap().with_timers(&TIMERS);
        let spawner = runner.spawner();
        let wait_until = |time| {
            let until = Instant::from_nanos(time * MILLI);
            spawner.spawn_detached(waits(until)).unwrap();
        };
        wait_until(3_000);
        assert_eq!(runner.run_until_idle().tasks_left, 1);
        start_with(millis(8));
        // Deadlines before, at and after looks of the watchdog.
        for time in [1, 2, 3, 10, 17, 200, 2_999] {
            wait_until(time);
        }
        runner.run(HaltUntilInterrupt);
        assert_eq!(CLOCK.now(), Instant::from_nanos(3_000 * MILLI));
        pass(millis(1));
        assert_eq!(
            CLOCK.alarm(),
            None,
            "no timer is left, and nothing to watch"
        );
        assert!(take_stalls().is_empty());
    });
}

#[test]
fn a_timer_that_was_set_before_the_start_expires() {
    alone(|| {
        TIMERS.install(&CLOCK, &ALARM).unwrap();
        let mut runner = EXECUTOR.enter().unwrap().with_timers(&TIMERS);
        let until = Instant::from_nanos(3_000 * MILLI);
        runner.spawner().spawn_detached(waits(until)).unwrap();
        assert_eq!(runner.run_until_idle().tasks_left, 1);
        start_with(LIMIT);
        runner.run(HaltUntilInterrupt);
        assert_eq!(CLOCK.now(), until);
    });
}

/// Though each write of the alarm takes longer than the time between two looks.
#[test]
fn a_slow_alarm_delays_the_watchdog_but_loses_no_deadline() {
    alone(|| {
        ALARM.takes.store(2 * MILLI, Ordering::Relaxed);
        TIMERS.install(&CLOCK, &ALARM).unwrap();
        static ENDED: AtomicU32 = AtomicU32::new(0);
        tasks! {
            async fn sleeps(time: u64), pool = 20 {
                TIMERS.timer(Instant::from_nanos(time)).await;
                ENDED.fetch_add(1, Ordering::Relaxed);
            }
        }
        start_with(millis(16));
        run(|spawner| {
            for number in 0..20 {
                spawner.spawn_detached(sleeps(number * MILLI)).unwrap();
            }
        });
        assert_eq!(ENDED.load(Ordering::Relaxed), 20);
        assert!(take_stalls().is_empty());
        block_on(async { pass(millis(100)) }, HaltUntilInterrupt);
        assert_eq!(take_stalls().len(), 1);
    });
}

#[test]
fn the_limit_can_be_changed_within_a_poll() {
    alone(|| {
        start_with(LIMIT);
        block_on(
            async {
                start_with(Duration::MAX);
                pass(Duration::from_secs(100_000));
                assert!(take_stalls().is_empty());
                start_with(millis(2));
                pass(millis(10));
                assert_eq!(take_stalls().len(), 1);
            },
            HaltUntilInterrupt,
        );
    });
}

/// A timer that interrupts often, as the queue's deadlines come, is not taken for a yield.
#[test]
fn interrupts_for_timers_are_no_yields() {
    alone(|| {
        start_with(LIMIT);
        block_on(
            async {
                for _ in 0..2_000 {
                    let soon = CLOCK.now().saturating_add(millis(1));
                    let mut timer = core::pin::pin!(TIMERS.timer(soon));
                    let mut cx = core::task::Context::from_waker(core::task::Waker::noop());
                    assert!(timer.as_mut().poll(&mut cx).is_pending());
                    TIMERS.turn();
                    pass(millis(1));
                    TIMERS.turn();
                }
            },
            HaltUntilInterrupt,
        );
        assert_one_stall_of(LIMIT, None);
    });
}

#[test]
fn the_last_yield_is_the_beginning_of_the_poll() {
    alone(|| {
        start_with(LIMIT);
        assert_eq!(last_yield(), None);
        tasks! {
            async fn asks(), pool = 1 {
                let start = CLOCK.now();
                pass(LIMIT / 2);
                let since = last_yield().expect("it was timed");
                let late = since.saturating_duration_since(start);
                assert!(late <= LIMIT / 8, "{late:?}");
                if cfg!(feature = "metrics") {
                    assert_eq!(since, start);
                }
                pending().await
            }
        }
        CLOCK.pass(5);
        let mut runner = EXECUTOR.enter().unwrap().with_timers(&TIMERS);
        runner.spawner().spawn_detached(asks()).unwrap();
        runner.run_until_idle();
        assert_eq!(last_yield(), None);
    });
}

#[test]
fn a_watchdog_needs_a_limit_a_clock_and_one_queue() {
    fn message(queue: &'static TimerQueue, limit: Duration) -> String {
        let start = core::panic::AssertUnwindSafe(|| start(queue, limit));
        let panic = catch_unwind(start).expect_err("it is refused");
        let text = panic.downcast_ref::<&str>().map(|text| (*text).into());
        text.or_else(|| panic.downcast_ref::<String>().cloned())
            .expect("a message")
    }
    alone(|| {
        static OTHER: TimerQueue = TimerQueue::new();
        assert!(message(&TIMERS, LIMIT).contains("no clock"));
        start_with(LIMIT);
        assert!(message(&TIMERS, Duration::from_micros(999)).contains("a millisecond"));
        OTHER.install(&CLOCK, &CLOCK).unwrap();
        assert!(message(&OTHER, LIMIT).contains("another queue"));
        // The first one goes on.
        block_on(async { pass(millis(2_000)) }, HaltUntilInterrupt);
        assert_one_stall_of(LIMIT, None);
    });
}
