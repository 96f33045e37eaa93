//! The loops: when they end, what they wait for, and that no task keeps a timer waiting.

use super::*;
use core::{cell::Cell, future::pending};
use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    rc::Rc,
    vec,
};

/// A runner with timers of the test's own.
fn runner(station: Station) -> (&'static Executor<Up64>, Runner<Up64>) {
    let executor = executor::<Up64>();
    let runner = executor.enter().expect("it is the first");
    (executor, runner.with_timers(station.timers))
}

#[test]
fn run_ends_with_the_last_task_whatever_handles_there_are() {
    task! { async fn task() -> u32, pool = 3 { turns(2).await; 7 } }
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
fn run_does_not_end_on_bits_but_on_tasks() {
    task! {
        async fn ends_ready(), pool = 1 {
            core::future::poll_fn(|cx| { cx.waker().wake_by_ref(); Poll::Ready(()) }).await;
        }
        async fn sleeps(station: Station), pool = 1 { station.timer(50).await; }
    }
    let station = Station::new();
    let (executor, mut runner) = runner(station);
    // The bit of a task that is over is no reason to wait, nor to go on.
    runner.spawner().spawn_detached(ends_ready()).unwrap();
    runner.run(NeverIdle);
    assert!(executor.ready.is_empty());
    // No bit is set, and a task is there.
    runner.spawner().spawn_detached(sleeps(station)).unwrap();
    runner.run(station);
    assert_eq!((executor.tasks(), station.now()), (0, 50));
}

#[test]
fn sleepers_go_on_in_the_order_of_their_deadlines() {
    type Log = Rc<std::cell::RefCell<Vec<u64>>>;
    task! {
        async fn sleeper(station: Station, deadline: u64, log: Log), pool = 64 {
            station.timer(deadline).await;
            assert_eq!(station.now(), deadline, "it is served when it is due");
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
fn the_idle_policy_is_told_the_next_deadline_and_asked_only_when_nothing_is_ready() {
    struct Listing(Station, Rc<std::cell::RefCell<Vec<Option<u64>>>>);
    impl Idle for Listing {
        fn wait(&mut self, cx: &IdleContext<'_>) {
            assert!(cx.is_idle(), "asked to wait with something to do");
            let listed = cx.deadline().map(Instant::as_nanos);
            self.1.borrow_mut().push(listed);
            // Waking early is allowed at any time.
            if self.1.borrow().len().is_multiple_of(2) {
                self.0.wait(cx);
            }
        }
    }
    task! {
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
fn run_until_idle_says_what_is_left_and_never_waits() {
    task! {
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
    // Too early; and then past the alarm, which stays silent.
    station.clock.pass(9);
    assert_eq!(runner.run_until_idle(), turn(3, Some(10)));
    station.clock.pass(11);
    assert_eq!(runner.run_until_idle(), turn(1, Some(30)));
    // By the alarm.
    assert_eq!(station.clock.alarm(), Some(at(30)));
    station.advance_to(30);
    assert!(!runner.is_idle(), "the timers want to be served");
    assert_eq!(runner.run_until_idle(), turn(0, None));
    assert!(runner.is_idle());
}

#[test]
fn a_pass_polls_each_ready_task_once_and_serves_no_timer() {
    type Polls = Rc<Cell<u32>>;
    task! {
        async fn busy(polls: Polls), pool = 64 { loop { polls.set(polls.get() + 1); turns(1).await; } }
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

/// A task that wakes itself a thousand times, beside one sleeper, on a clock that each poll moves
/// on.
#[test]
fn a_task_that_wakes_itself_keeps_no_sleeper_waiting() {
    type Passes = Rc<Cell<u64>>;
    task! {
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
    // The sleeper lies before the busy one, and behind it.
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
fn run_forever_waits_also_while_there_is_no_task() {
    /// Spawns a task at each of its first waits, as an interrupt handler does.
    struct Spawning(RemoteSpawner, u32);
    impl Idle for Spawning {
        fn wait(&mut self, cx: &IdleContext<'_>) {
            assert_eq!(cx.deadline(), None);
            if self.1 == 0 {
                resume_unwind(Box::new("it has waited often enough"));
            }
            self.1 -= 1;
            self.0.spawn_detached(task()).unwrap();
        }
    }
    task! { async fn task(), pool = 1 { turns(3).await; } }
    let (executor, mut runner) = runner(Station::new());
    let idle = Spawning(executor.remote(), 10);
    let ran = catch_unwind(AssertUnwindSafe(|| runner.run_forever(idle)));
    assert!(ran.is_err());
    assert_eq!(executor.tasks(), 0);
}

#[test]
fn a_policy_that_spawns_or_wakes_keeps_run_going() {
    struct Waking(Waker);
    impl Idle for Waking {
        fn wait(&mut self, cx: &IdleContext<'_>) {
            assert!(cx.is_idle());
            self.0.wake_by_ref();
            assert!(!cx.is_idle(), "it was woken");
        }
    }
    task! {
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
    task! { async fn sleeper(station: Station), pool = 2 { station.timer(1000).await; } }
    let station = Station::new();
    let (_, mut runner) = runner(station);
    let spawner = runner.spawner();
    // Its sleeper is aborted.
    let handle = spawner.spawn(sleeper(station)).unwrap();
    runner.run_until_idle();
    assert!(station.clock.alarm().is_some());
    handle.abort();
    runner.run(station);
    assert_eq!(station.clock.alarm(), None, "its sleeper is gone");
    // It is aborted before, and the loop looks at the clock.
    let handle = spawner.spawn(sleeper(station)).unwrap();
    runner.run_until_idle();
    handle.abort();
    runner.run_until_idle();
    runner.run(station);
    assert_eq!(station.clock.alarm(), None, "its sleeper was gone before");
}

#[test]
fn a_second_runner_goes_on_where_the_first_left_remote_tasks() {
    task! {
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
        assert!(executor.enter().is_err());
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
fn a_runner_waits_for_nobody_when_its_only_task_waits_for_good() {
    task! { async fn waits(), pool = 1 { pending().await } }
    let (executor, mut runner) = runner(Station::new());
    runner.spawner().spawn_detached(waits()).unwrap();
    let turn = runner.run_until_idle();
    assert_eq!((turn.tasks_left, turn.next_deadline), (1, None));
    // The policy is asked, with no deadline: what it does then is its own affair.
    let ran = catch_unwind(AssertUnwindSafe(|| runner.run(Refusing)));
    assert!(ran.is_err());
    assert_eq!(vec![executor.tasks()], [1]);
}

struct Refusing;

impl Idle for Refusing {
    fn wait(&mut self, cx: &IdleContext<'_>) {
        assert!(cx.deadline().is_none() && cx.is_idle());
        resume_unwind(Box::new("nothing to wait for"));
    }
}
