//! The runner's loops: when they end, what they wait for, and that no task delays a timer.

use super::*;
use core::{cell::Cell, future::pending};
use std::rc::Rc;

/// Returns a new executor and its runner, with the timers of `station`.
fn runner(station: Station) -> (&'static Executor<Up64>, Runner<Up64>) {
    let executor = executor::<Up64>();
    let runner = executor.enter().expect("the executor is new");
    (executor, runner.with_timers(station.timers))
}

#[test]
fn run_ends_with_the_last_task_even_if_handles_exist() {
    tasks! { async fn task() -> u32, pool = 3 { turns(2).await; 7 } }
    let (executor, mut runner) = runner(Station::new());
    runner.run(NeverIdle);
    let spawner = runner.spawner();
    let handles = [(); 3].map(|()| spawner.spawn(task()).unwrap());
    assert_eq!(executor.tasks(), 3);
    runner.run(NeverIdle);
    assert_eq!((executor.tasks(), executor.core.ended()), (0, 3));
    assert!(handles.iter().all(JoinHandle::is_finished));
    assert_eq!(handles.map(end_of), [Ok(7); 3]);
    assert_eq!(executor.core.ended(), 0);
}

#[test]
fn run_ends_when_no_task_is_left_not_when_no_bit_is_set() {
    tasks! {
        async fn ends_ready(), pool = 1 {
            core::future::poll_fn(|cx| { cx.waker().wake_by_ref(); Poll::Ready(()) }).await;
        }
        async fn sleeps(station: Station), pool = 1 { station.timer(50).await; }
    }
    let station = Station::new();
    let (executor, mut runner) = runner(station);
    // A task has ended, and its bit is set: the loop does not wait.
    runner.spawner().spawn_detached(ends_ready()).unwrap();
    runner.run(NeverIdle);
    assert!(executor.ready.is_empty());
    // No bit is set, and a task is left: the loop waits.
    runner.spawner().spawn_detached(sleeps(station)).unwrap();
    runner.run(station);
    assert_eq!((executor.tasks(), station.now()), (0, 50));
}

#[test]
fn sleepers_continue_in_the_order_of_their_deadlines() {
    type Log = Rc<std::cell::RefCell<Vec<u64>>>;
    tasks! {
        async fn sleeper(station: Station, deadline: u64, log: Log), pool = 64 {
            station.timer(deadline).await;
            assert_eq!(station.now(), deadline, "it is served in time");
            log.borrow_mut().push(deadline);
        }
    }
    let station = Station::new();
    let (_, mut runner) = runner(station);
    let log = Log::default();
    for number in 0..64 {
        let deadline = 1 + number * 37 % 64;
        let task = sleeper(station, deadline, log.clone());
        runner.spawner().spawn_detached(task).unwrap();
    }
    runner.run(station);
    assert_eq!(*log.borrow(), (1..=64).collect::<Vec<_>>());
    assert_eq!(station.clock.alarm(), None);
}

#[test]
fn the_idle_policy_is_called_only_when_nothing_is_ready_and_gets_the_deadline() {
    struct Listing(Station, Rc<std::cell::RefCell<Vec<Option<u64>>>>);
    impl Idle for Listing {
        fn wait(&mut self, cx: &IdleContext<'_>) {
            assert!(cx.is_idle(), "called although a task is ready");
            let listed = cx.deadline().map(Instant::as_nanos);
            self.1.borrow_mut().push(listed);
            // A policy may return early.
            if self.1.borrow().len().is_multiple_of(2) {
                self.0.wait(cx);
            }
        }
    }
    tasks! {
        async fn sleeper(station: Station), pool = 1 {
            turns(3).await;
            station.timer(10).await;
            turns(3).await;
            station.timer(20).await;
        }
    }
    let station = Station::new();
    let (_, mut runner) = runner(station);
    runner.spawner().spawn_detached(sleeper(station)).unwrap();
    let waits = Rc::default();
    runner.run(Listing(station, Rc::clone(&waits)));
    assert_eq!(*waits.borrow(), [Some(10), Some(10), Some(20), Some(20)]);
}

#[test]
fn run_until_idle_returns_what_is_left_and_never_waits() {
    tasks! {
        async fn sleeper(station: Station, deadline: u64), pool = 3 {
            station.timer(deadline).await;
            turns(2).await;
        }
    }
    let station = Station::new();
    let (_, mut runner) = runner(station);
    let at = Instant::from_nanos;
    let turn = |tasks_left, next_deadline: Option<u64>| Turn {
        tasks_left,
        next_deadline: next_deadline.map(at),
    };
    assert_eq!(runner.run_until_idle(), turn(0, None));
    for deadline in [30, 10, 20] {
        let task = sleeper(station, deadline);
        runner.spawner().spawn_detached(task).unwrap();
    }
    assert_eq!(runner.run_until_idle(), turn(3, Some(10)));
    assert!(runner.is_idle());
    // Too early; and then after the alarm's time, but without its interrupt.
    station.clock.pass(9);
    assert_eq!(runner.run_until_idle(), turn(3, Some(10)));
    station.clock.pass(11);
    assert_eq!(runner.run_until_idle(), turn(1, Some(30)));
    // With the alarm's interrupt.
    assert_eq!(station.clock.alarm(), Some(at(30)));
    station.advance_to(30);
    assert!(!runner.is_idle(), "the timers need to be served");
    assert_eq!(runner.run_until_idle(), turn(0, None));
    assert!(runner.is_idle());
}

#[test]
fn a_pass_polls_each_ready_task_once_and_serves_no_timer() {
    type Polls = Rc<Cell<u32>>;
    tasks! {
        async fn busy(polls: Polls), pool = 64 {
            loop { polls.set(polls.get() + 1); turns(1).await; }
        }
        async fn sleeper(station: Station), pool = 1 { station.timer(1).await; }
    }
    let station = Station::new();
    let (executor, mut runner) = runner(station);
    runner.spawner().spawn_detached(sleeper(station)).unwrap();
    let polls = Polls::default();
    for _ in 0..10 {
        runner
            .spawner()
            .spawn_detached(busy(polls.clone()))
            .unwrap();
    }
    for pass in 1..5 {
        runner.pass();
        assert_eq!(polls.get(), 10 * pass);
        station.advance_to(u64::from(pass));
        assert_eq!(executor.tasks(), 11);
    }
    station.timers.turn();
    runner.pass();
    assert_eq!(executor.tasks(), 10);
}

/// A task wakes itself a thousand times, and each of its polls advances the clock. Another task
/// sleeps.
#[test]
fn a_task_that_wakes_itself_does_not_delay_timers() {
    type Passes = Rc<Cell<u64>>;
    tasks! {
        async fn busy(station: Station, passes: Passes), pool = 1 {
            for _ in 0..1000 {
                passes.set(passes.get() + 1);
                station.advance_to(station.now() + 10);
                turns(1).await;
            }
        }
        async fn sleeper(station: Station, passes: Passes), pool = 1 {
            for deadline in (105..9000).step_by(503) {
                let timer = station.timer(deadline);
                timer.await;
                let late = (station.now() - deadline) / 10;
                assert!(late <= 2, "served {late} passes late, in pass {}", passes.get());
            }
        }
    }
    // The sleeper's slot is after the busy task's, or before it.
    for busy_first in [true, false] {
        let station = Station::new();
        let (_, mut runner) = runner(station);
        let (spawner, passes) = (runner.spawner(), Passes::default());
        let spawn_busy = || {
            spawner
                .spawn_detached(busy(station, passes.clone()))
                .unwrap()
        };
        if busy_first {
            spawn_busy();
        }
        let sleeper = spawner.spawn(sleeper(station, passes.clone())).unwrap();
        if !busy_first {
            spawn_busy();
        }
        runner.run(NeverIdle);
        assert_eq!((end_of(sleeper), passes.get()), (Ok(()), 1000));
    }
}

#[test]
fn run_forever_waits_even_while_there_is_no_task() {
    /// Spawns a task at each of its first waits, as an interrupt handler would.
    struct Spawning(RemoteSpawner, u32);
    impl Idle for Spawning {
        fn wait(&mut self, cx: &IdleContext<'_>) {
            assert_eq!(cx.deadline(), None);
            if self.1 == 0 {
                unwind();
            }
            self.1 -= 1;
            self.0.spawn_detached(task()).unwrap();
        }
    }
    tasks! { async fn task(), pool = 1 { turns(3).await; } }
    let (executor, mut runner) = runner(Station::new());
    let idle = Spawning(executor.remote(), 10);
    assert!(unwinds(|| runner.run_forever(idle)));
    assert_eq!(executor.tasks(), 0);
}

#[test]
fn run_continues_when_the_policy_wakes_a_task() {
    struct Waking(Waker);
    impl Idle for Waking {
        fn wait(&mut self, cx: &IdleContext<'_>) {
            assert!(cx.is_idle());
            self.0.wake_by_ref();
            assert!(!cx.is_idle(), "it was woken");
        }
    }
    tasks! {
        async fn woken(waker: Rc<Cell<Option<Waker>>>), pool = 1 {
            for _ in 0..5 {
                let mut is_first = true;
                core::future::poll_fn(|cx| {
                    waker.set(Some(cx.waker().clone()));
                    if core::mem::take(&mut is_first) { Poll::Pending } else { Poll::Ready(()) }
                }).await;
            }
        }
    }
    let (executor, mut runner) = runner(Station::new());
    let waker = Rc::new(Cell::new(None));
    runner
        .spawner()
        .spawn_detached(woken(waker.clone()))
        .unwrap();
    runner.pass();
    runner.run(Waking(waker.take().expect("it was polled")));
    assert_eq!(executor.tasks(), 0);
}

#[test]
fn the_alarm_is_off_after_run() {
    tasks! { async fn sleeper(station: Station), pool = 2 { station.timer(1000).await; } }
    let station = Station::new();
    let (_, mut runner) = runner(station);
    let spawner = runner.spawner();
    // The sleeper is aborted during `run`.
    let handle = spawner.spawn(sleeper(station)).unwrap();
    runner.run_until_idle();
    assert!(station.clock.alarm().is_some());
    handle.abort();
    runner.run(station);
    assert_eq!(station.clock.alarm(), None, "the sleeper was aborted");
    // The sleeper was dropped before `run`.
    let handle = spawner.spawn(sleeper(station)).unwrap();
    runner.run_until_idle();
    handle.abort();
    runner.run_until_idle();
    runner.run(station);
    assert_eq!(
        station.clock.alarm(),
        None,
        "the sleeper was dropped before"
    );
}

#[test]
fn a_second_runner_continues_remote_tasks() {
    tasks! {
        async fn remote(station: Station) -> u64, pool = 1 {
            station.timer(10).await;
            turns(2).await;
            station.timer(20).await;
            station.now()
        }
    }
    let station = Station::new();
    let executor = executor::<Up64>();
    let mut handle = executor.remote().spawn(remote(station)).unwrap();
    for deadline in [10, 20] {
        let mut runner = executor.enter().unwrap().with_timers(station.timers);
        let refused = executor.enter().expect_err("there is a runner").to_string();
        assert!(refused.contains("drop the runner first"), "{refused}");
        let turn = runner.run_until_idle();
        assert_eq!(turn.next_deadline, Some(Instant::from_nanos(deadline)));
        assert!(poll_once(&mut handle).is_pending());
        drop(runner);
        station.advance_to(deadline);
    }
    executor
        .enter()
        .unwrap()
        .with_timers(station.timers)
        .run(station);
    assert_eq!(end_of(handle), Ok(20));
}

#[test]
fn run_calls_the_policy_without_a_deadline_if_no_task_can_be_woken() {
    tasks! { async fn waits(), pool = 1 { pending().await } }
    let (executor, mut runner) = runner(Station::new());
    runner.spawner().spawn_detached(waits()).unwrap();
    let turn = runner.run_until_idle();
    assert_eq!((turn.tasks_left, turn.next_deadline), (1, None));
    // The policy is called, without a deadline. What it does then is up to the policy.
    assert!(unwinds(|| runner.run(Refusing)));
    assert_eq!(executor.tasks(), 1);
}

struct Refusing;

impl Idle for Refusing {
    fn wait(&mut self, cx: &IdleContext<'_>) {
        assert!(cx.deadline().is_none() && cx.is_idle());
        unwind();
    }
}
