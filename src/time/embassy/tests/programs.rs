//! Programs as users write them, on the virtual clock. They use the global queue, so each test runs
//! in a process of its own.

use std::{
    cell::RefCell,
    future::{self, Future},
    pin::pin,
    rc::Rc,
    vec::Vec,
};

use embassy_time::{Duration, Instant, Ticker, Timer, with_deadline, with_timeout};
use futures_util::future::{Either, join, select};

use super::{ms, run};
use crate::{
    block_on,
    event::Event,
    executor::{Executor, Shared, Up64},
    platform::host::{self, Skip},
    tasks,
    test_support::alone,
    time::{TimerQueue, embassy::early_wakes},
};

/// Names, with times in milliseconds.
type Log = Rc<RefCell<Vec<(&'static str, u64)>>>;

fn note(log: &Log, who: &'static str) {
    assert_eq!(Instant::now().as_ticks() % 1000, 0, "{who} is late");
    log.borrow_mut().push((who, Instant::now().as_millis()));
}

#[test]
fn the_time_is_zero_before_a_clock_is_installed() {
    alone(|| {
        assert_eq!(Instant::now().as_ticks(), 0);
        host::init();
        block_on(Timer::after(ms(7)), Skip);
        assert_eq!(Instant::now(), Instant::from_millis(7));
    });
}

#[test]
fn timers_tickers_and_timeouts_end_in_time() {
    alone(|| {
        tasks! {
            async fn sleeper(log: Log), pool = 1 {
                Timer::after(ms(5)).await;
                note(&log, "sleeper");
                Timer::at(Instant::from_millis(2)).await;
                note(&log, "sleeper, at once");
            }
            async fn ticking(log: Log), pool = 1 {
                let mut ticker = Ticker::every(ms(10));
                for work in [3, 0, 14, 2] {
                    ticker.next().await;
                    note(&log, "tick");
                    // Late work does not move the ticks after it.
                    Timer::after(ms(work)).await;
                }
            }
            async fn limited(log: Log), pool = 1 {
                let never = future::pending::<()>();
                assert!(with_timeout(ms(7), never).await.is_err());
                note(&log, "timeout");
                let nap = async { Timer::after(ms(1)).await };
                assert!(with_deadline(Instant::from_millis(100), nap).await.is_ok());
                note(&log, "in time");
            }
        }
        static EXECUTOR: Executor<Up64> = Executor::new(Shared);
        let log = Log::default();
        run(&EXECUTOR, |spawner| {
            spawner.spawn_detached(sleeper(log.clone())).unwrap();
            spawner.spawn_detached(ticking(log.clone())).unwrap();
            spawner.spawn_detached(limited(log.clone())).unwrap();
        });
        let expected = [
            ("sleeper", 5),
            ("sleeper, at once", 5),
            ("timeout", 7),
            ("in time", 8),
            ("tick", 10),
            ("tick", 20),
            ("tick", 30),
            ("tick", 44),
        ];
        assert_eq!(*log.borrow(), expected);
        assert_eq!(early_wakes(), 0);
    });
}

/// The deadlines of one task do not replace each other, in any order of their polls.
#[test]
fn the_timers_of_one_task_all_end() {
    alone(|| {
        tasks! {
            async fn both(log: Log), pool = 1 {
                let (first, second) = (Timer::after(ms(3)), Timer::after(ms(5)));
                join(
                    async { first.await; note(&log, "early") },
                    async { second.await; note(&log, "late") },
                ).await;
                let (first, second) = (Timer::after(ms(5)), Timer::after(ms(3)));
                join(
                    async { first.await; note(&log, "late") },
                    async { second.await; note(&log, "early") },
                ).await;
                let never = pin!(Timer::at(Instant::MAX));
                assert!(matches!(select(never, pin!(Timer::after(ms(1)))).await, Either::Right(_)));
                note(&log, "not disturbed by never");
            }
        }
        static EXECUTOR: Executor<Up64> = Executor::new(Shared);
        let log = Log::default();
        run(&EXECUTOR, |spawner| {
            spawner.spawn_detached(both(log.clone())).unwrap()
        });
        let expected = [
            ("early", 3),
            ("late", 5),
            ("early", 8),
            ("late", 10),
            ("not disturbed by never", 11),
        ];
        assert_eq!(*log.borrow(), expected);
    });
}

/// A task that ends or is aborted leaves no deadline in the queue.
#[test]
fn a_task_that_has_ended_leaves_no_deadline() {
    alone(|| {
        static GO: Event = Event::new();
        tasks! {
            async fn impatient(), pool = 1 {
                assert!(with_timeout(Duration::from_secs(3600), GO.wait().unwrap()).await.is_ok());
            }
            async fn forever(), pool = 2 { Timer::after(Duration::from_secs(3600)).await }
        }
        static EXECUTOR: Executor<Up64> = Executor::new(Shared);
        host::init();
        let mut runner = EXECUTOR.enter().unwrap();
        runner.spawner().spawn_detached(impatient()).unwrap();
        let hour = crate::time::Instant::from_nanos(3600 * 1_000_000_000);
        assert_eq!(runner.run_until_idle().next_deadline, Some(hour));
        GO.signal();
        assert_eq!(runner.run_until_idle().next_deadline, None);

        let aborted = runner.spawner().spawn(forever()).unwrap();
        assert_eq!(runner.run_until_idle().next_deadline, Some(hour));
        aborted.abort();
        assert_eq!(runner.run_until_idle().next_deadline, None);

        runner.spawner().spawn_detached(forever()).unwrap();
        assert_eq!(runner.run_until_idle().next_deadline, Some(hour));
        drop(runner);
        assert_eq!(TimerQueue::global().turn(), None);
    });
}

/// The deadline of a dropped timer, earlier than the next one, costs its task one poll.
#[test]
fn a_stale_deadline_causes_one_spurious_poll() {
    alone(|| {
        static GO: Event = Event::new();
        tasks! {
            async fn impatient(polls: Rc<RefCell<Vec<u64>>>), pool = 1 {
                let mut work = pin!(async {
                    assert!(with_timeout(ms(5), GO.wait().unwrap()).await.is_ok());
                    Timer::after(ms(100)).await;
                });
                future::poll_fn(|cx| {
                    polls.borrow_mut().push(Instant::now().as_millis());
                    work.as_mut().poll(cx)
                }).await;
            }
            async fn other(), pool = 1 {
                Timer::after(ms(1)).await;
                GO.signal();
            }
        }
        static EXECUTOR: Executor<Up64> = Executor::new(Shared);
        let polls = Rc::default();
        run(&EXECUTOR, |spawner| {
            spawner
                .spawn_detached(impatient(Rc::clone(&polls)))
                .unwrap();
            spawner.spawn_detached(other()).unwrap();
        });
        assert_eq!(*polls.borrow(), [0, 1, 5, 101]);
    });
}
