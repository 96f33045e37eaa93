use core::{
    future::poll_fn,
    task::{Poll, Waker},
    time::Duration,
};
use std::{boxed::Box, cell::RefCell, rc::Rc, vec::Vec};

use super::*;
use crate::{
    Event,
    executor::{Shared, Up64, yield_now},
    idle::{Idle, IdleContext},
    platform::host::{Skip, VirtualClock, init},
    test_support::alone,
    time::{Timer, TimerQueue},
};

/// An executor, its timers and their clock.
struct Rig {
    executor: Executor<Up64>,
    timers: TimerQueue,
    clock: VirtualClock,
}

fn machine() -> &'static Rig {
    let machine: &Rig = Box::leak(Box::new(Rig {
        executor: Executor::new(Shared),
        timers: TimerQueue::new(),
        clock: VirtualClock::new(),
    }));
    let installed = machine.timers.install(&machine.clock, &machine.clock);
    installed.expect("it is new");
    machine
}

/// Advances the clock to the next deadline.
struct Advance(&'static Rig);

impl Idle for Advance {
    fn wait(&mut self, cx: &IdleContext<'_>) {
        let until = cx.deadline().expect("a timer is set");
        self.0.clock.advance_to(until, &self.0.timers);
    }
}

#[test]
fn an_executor_counts_polls_wakes_and_waits() {
    crate::tasks! {
        async fn sleeper(machine: &'static Rig), pool = 1 {
            let sleep = Duration::from_millis(20);
            machine.timers.timer(machine.timers.now().saturating_add(sleep)).await;
        }
        async fn slow(machine: &'static Rig), pool = 1 {
            machine.clock.pass(3_000);
        }
        async fn quick(machine: &'static Rig), pool = 1 {
            machine.clock.pass(1_000);
        }
    }
    let machine = machine();
    let mut runner = machine
        .executor
        .enter()
        .unwrap()
        .with_timers(&machine.timers);
    let spawner = runner.spawner();
    spawner.spawn_detached(sleeper(machine)).unwrap();
    spawner.spawn_detached(slow(machine)).unwrap();
    spawner.spawn_detached(quick(machine)).unwrap();
    runner.run(Advance(machine));

    let metrics = machine.executor.metrics();
    assert_eq!((metrics.spawned, metrics.ended), (3, 3));
    assert_eq!(
        metrics.polls, 4,
        "one for each task, and the sleeper's second"
    );
    assert_eq!(metrics.wakes, 4, "one for each spawn, and the timer's");
    assert!(metrics.passes >= 2);
    assert_eq!(metrics.waits, 1);
    // The sleeper set its timer before the others let time pass.
    let passed = Duration::from_nanos(4_000);
    assert_eq!(metrics.waited, Duration::from_millis(20) - passed);
    assert_eq!(metrics.longest_poll, Duration::from_nanos(3_000));
    assert_eq!(metrics.polled, passed);
    let longest = metrics.longest_poll_task.expect("there was a poll");
    assert!(longest.ends_with("::slow"), "{longest}");
}

#[test]
fn the_first_of_equally_long_polls_is_named() {
    crate::tasks! {
        async fn first(machine: &'static Rig), pool = 1 { machine.clock.pass(2_000); }
        async fn second(machine: &'static Rig), pool = 1 { machine.clock.pass(2_000); }
    }
    let machine = machine();
    let runner = machine.executor.enter().unwrap();
    let mut runner = runner.with_timers(&machine.timers);
    runner.spawner().spawn_detached(first(machine)).unwrap();
    runner.spawner().spawn_detached(second(machine)).unwrap();
    runner.run_until_idle();
    let metrics = machine.executor.metrics();
    assert_eq!(metrics.longest_poll, Duration::from_nanos(2_000));
    let longest = metrics.longest_poll_task.expect("there was a poll");
    assert!(longest.ends_with("::first"), "{longest}");
}

#[test]
fn a_task_has_its_processor_time_and_share() {
    crate::tasks! {
        async fn works(machine: &'static Rig, nanos: u64), pool = 2 {
            loop {
                machine.clock.pass(nanos);
                yield_now().await;
            }
        }
    }
    let machine = machine();
    let runner = machine.executor.enter().unwrap();
    let mut runner = runner.with_timers(&machine.timers);
    let spawner = runner.spawner();
    spawner.spawn_detached(works(machine, 300)).unwrap();
    spawner.spawn_detached(works(machine, 100)).unwrap();
    let read = || {
        let mut all = Vec::new();
        machine.executor.for_each_task(|task| all.push(task));
        (machine.timers.now(), all)
    };
    runner.pass();
    let (start, before) = read();
    let nanos = |tasks: &[TaskMetrics]| -> Vec<_> {
        tasks.iter().map(|task| task.polled.as_nanos()).collect()
    };
    assert_eq!(nanos(&before), [300, 100]);
    for _ in 0..3 {
        runner.pass();
    }
    let (end, after) = read();
    assert_eq!(nanos(&after), [1_200, 400]);
    assert_eq!(
        machine.executor.metrics().polled,
        Duration::from_nanos(1_600)
    );
    let span = end.saturating_duration_since(start);
    let shares = after.iter().zip(&before);
    let shares: Vec<_> = shares
        .map(|(now, before)| now.share_since(before, span))
        .collect();
    assert_eq!(shares, [750, 250]);
    assert_eq!(after[0].share_since(&before[0], Duration::ZERO), 0);
}

#[test]
fn a_task_counts_from_its_spawn() {
    type Kept = Rc<RefCell<Option<Waker>>>;
    crate::tasks! {
        async fn keeps_waker(kept: Kept), pool = 1 {
            poll_fn(|cx| {
                *kept.borrow_mut() = Some(cx.waker().clone());
                Poll::<()>::Pending
            })
            .await;
        }
        async fn yields(times: u32), pool = 1 {
            for _ in 0..times {
                yield_now().await;
            }
        }
    }
    let executor: &Executor<Up64> = Box::leak(Box::new(Executor::new(Shared)));
    let mut runner = executor.enter().unwrap();
    let spawner = runner.spawner();
    // The next task gets the slot of this one.
    spawner.spawn_detached(yields(7)).unwrap();
    runner.run_until_idle();

    let kept = Kept::default();
    spawner
        .spawn_detached(keeps_waker(Rc::clone(&kept)))
        .unwrap();
    runner.run_until_idle();
    let waker = kept.borrow_mut().take().expect("it was polled");
    waker.wake_by_ref();
    waker.wake();
    runner.run_until_idle();

    let mut seen = Vec::new();
    executor.for_each_task(|task| seen.push(task));
    let [task] = seen[..] else {
        panic!("there is one task: {seen:?}")
    };
    assert!(task.name.ends_with("::keeps_waker"), "{}", task.name);
    assert_eq!((task.polls, task.wakes), (2, 3), "one wake is its spawn's");
    assert_eq!(task.number, 2);
}

#[test]
fn a_stale_wake_is_not_a_poll() {
    crate::tasks! { async fn leaves_waker(kept: Rc<RefCell<Option<Waker>>>), pool = 1 {
        poll_fn(|cx| {
            *kept.borrow_mut() = Some(cx.waker().clone());
            Poll::Ready(())
        })
        .await;
    } }
    let executor: &Executor<Up64> = Box::leak(Box::new(Executor::new(Shared)));
    let mut runner = executor.enter().unwrap();
    let kept = Rc::default();
    let task = leaves_waker(Rc::clone(&kept));
    runner.spawner().spawn_detached(task).unwrap();
    runner.run_until_idle();
    kept.borrow_mut().take().expect("it was polled").wake();
    runner.run_until_idle();
    let metrics = executor.metrics();
    assert_eq!((metrics.polls, metrics.wakes), (1, 2));
}

/// Each of two tasks replaces the other's waker and wakes the other, as two receivers of a channel
/// do that stores only one waker.
#[test]
fn tasks_that_wake_each_other_forever_are_restless() {
    crate::tasks! { async fn waits(place: Rc<RefCell<Option<Waker>>>), pool = 2 {
        poll_fn(|cx| {
            if let Some(other) = place.borrow_mut().replace(cx.waker().clone()) {
                other.wake();
            }
            Poll::<()>::Pending
        })
        .await;
    } }
    // Alone, since timers and events of other tests are causes too.
    alone(|| {
        let executor: &Executor<Up64> = Box::leak(Box::new(Executor::new(Shared)));
        let mut runner = executor.enter().unwrap();
        let place = Rc::default();
        for _ in 0..2 {
            runner
                .spawner()
                .spawn_detached(waits(Rc::clone(&place)))
                .unwrap();
        }
        (0..100).for_each(|_| runner.pass());
        let metrics = executor.metrics();
        // The first pass had a cause.
        assert_eq!(
            (metrics.restless_passes, metrics.longest_restless),
            (99, 99)
        );
    });
}

/// Timers, events and waits are causes.
#[test]
fn passes_caused_by_timers_and_events_are_not_restless() {
    crate::tasks! {
        async fn sleeps(), pool = 1 {
            for _ in 0..20 {
                Timer::after(Duration::from_millis(1)).await;
            }
        }
        async fn signals(event: &'static Event), pool = 1 {
            for _ in 0..20 {
                Timer::after(Duration::from_millis(1)).await;
                event.signal();
            }
        }
        async fn receives(event: &'static Event), pool = 1 {
            let mut wait = event.wait().unwrap();
            for _ in 0..20 {
                (&mut wait).await;
            }
        }
    }
    alone(|| {
        init();
        let executor: &Executor<Up64> = Box::leak(Box::new(Executor::new(Shared)));
        let mut runner = executor.enter().unwrap();
        let event = Box::leak(Box::new(Event::new()));
        let spawner = runner.spawner();
        spawner.spawn_detached(receives(event)).unwrap();
        spawner.spawn_detached(sleeps()).unwrap();
        spawner.spawn_detached(signals(event)).unwrap();
        runner.run(Skip);
        let metrics = executor.metrics();
        assert_eq!((metrics.restless_passes, metrics.longest_restless), (0, 0));
    });
}
