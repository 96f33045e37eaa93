//! What every run loop guarantees: the runner's and `block_on`.

use super::*;
use crate::time::Clock;
use core::{cell::RefCell, future::poll_fn, time::Duration};

/// An idle policy each of whose waits ends after a millisecond, by a device's interrupt, unless the
/// alarm comes first.
#[derive(Clone, Copy)]
struct Device {
    timers: &'static TimerQueue,
    clock: &'static VirtualClock,
}

impl Idle for Device {
    fn wait(&mut self, cx: &IdleContext<'_>) {
        if cx.is_idle() {
            let later = self.clock.now().saturating_add(Duration::from_millis(1));
            self.clock.advance_to(later, self.timers);
        }
    }
}

/// When a wait has ended for any reason, timers that are due are served. Slack only delays the
/// alarm.
#[test]
fn slack_delays_nothing_once_a_wait_has_ended() {
    tasks! { async fn sleep(timer: Timer), pool = 1 { timer.await } }
    alone(|| {
        let timers = TimerQueue::global();
        let clock = leak(VirtualClock::new());
        timers.install(clock, clock).expect("the first clock");
        timers.set_slack(Duration::from_millis(100));
        let device = Device { timers, clock };
        let executor = executor::<Up64>();
        let mut runner = executor.enter().unwrap();
        let mut deadline = Instant::START;
        let mut next = || {
            deadline = deadline.saturating_add(Duration::from_millis(5));
            deadline
        };
        let until = next();
        crate::block_on(Timer::at(until), device);
        assert_eq!(clock.now(), until, "block_on");

        let until = next();
        let spawner = runner.spawner();
        spawner.spawn_detached(sleep(Timer::at(until))).unwrap();
        runner.run(device);
        assert_eq!(clock.now(), until, "run");

        let until = next();
        spawner.spawn_detached(sleep(Timer::at(until))).unwrap();
        while runner.run_until_idle().tasks_left != 0 {
            let cx = IdleContext::new(timers, None, &|| true);
            Device { timers, clock }.wait(&cx);
        }
        assert_eq!(clock.now(), until, "run_until_idle");
    });
}

/// A task makes a pass and a step of another executor.
#[test]
fn the_outer_task_is_current_again_after_a_pass_and_a_step() {
    tasks! {
        async fn outer(inner: &'static Executor<Up64>), pool = 1 {
            let mut runner = inner.enter().unwrap();
            for work in [Runner::pass, |runner: &mut Runner<Up64>| assert!(runner.step())] {
                runner.spawner().spawn_detached(inner_task()).unwrap();
                work(&mut runner);
                let name = current_task().expect("a task is being polled");
                assert!(name.ends_with("::outer"), "{name}");
            }
        }
        async fn inner_task(), pool = 1 {
            assert!(current_task().is_some_and(|name| name.ends_with("::inner_task")));
        }
    }
    alone(|| {
        let (executor, inner) = (executor::<Up64>(), executor::<Up64>());
        let mut runner = executor.enter().unwrap();
        runner.spawner().spawn_detached(outer(inner)).unwrap();
        runner.run(NeverIdle);
        assert_eq!(current_task(), None);
    });
}

/// Each step polls one task, in the order of the slots.
#[test]
fn steps_poll_ready_tasks_in_turn() {
    // More than a word of ready bits is for.
    const TASKS: usize = if cfg!(miri) { 70 } else { 300 };
    type Polls = std::rc::Rc<RefCell<Vec<usize>>>;
    tasks! {
        async fn ready(number: usize, polls: Polls), pool = 300 {
            for _ in 0..3 {
                polls.borrow_mut().push(number);
                yield_now().await;
            }
        }
    }
    let executor = executor::<Up4096>();
    let mut runner = executor.enter().unwrap();
    let polls = Polls::default();
    assert!(!runner.step(), "there is no task");
    for number in 0..TASKS {
        let task = ready(number, polls.clone());
        runner.spawner().spawn_detached(task).unwrap();
    }
    for steps in 1..=3 * TASKS {
        assert!(runner.step());
        assert_eq!(polls.borrow().len(), steps);
    }
    for turn in polls.borrow().chunks(TASKS) {
        assert!(turn.iter().copied().eq(0..TASKS));
    }
    // Each ends at its fourth poll.
    (0..TASKS).for_each(|_| assert!(runner.step()));
    assert!(!runner.step() && runner.is_idle());
    assert_eq!(executor.tasks(), 0);
}

/// A stale wake causes no poll, so `step` returns `false`.
#[test]
fn a_stale_wake_is_not_a_step() {
    tasks! {
        async fn leaves_its_waker(sender: std::sync::mpsc::Sender<Waker>), pool = 1 {
            core::future::poll_fn(|cx| {
                sender.send(cx.waker().clone()).unwrap();
                Poll::Ready(())
            })
            .await;
        }
    }
    let executor = executor::<Up64>();
    let mut runner = executor.enter().unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    runner
        .spawner()
        .spawn_detached(leaves_its_waker(sender))
        .unwrap();
    assert!(runner.step());
    receiver.recv().unwrap().wake();
    assert!(!runner.step() && runner.is_idle());
}

/// A task whose deadline passes during a long pass is polled in that pass, though the pass is past
/// its slot: at most 512 polls late, and without an alarm. It is not polled again for that wake.
#[test]
fn no_deadline_waits_for_the_end_of_a_long_pass() {
    const BUSY: usize = if cfg!(miri) { 600 } else { 4_000 };
    tasks! {
        async fn sleeper(
            station: Station,
            late: Arc<AtomicUsize>,
            useless: Arc<AtomicUsize>,
        ), pool = 1 {
            // Nothing is due between the last two.
            for at in (1..60).map(|step| step * 197).chain([1_000_000]) {
                let (mut timer, mut waits) = (std::pin::pin!(station.timer(at)), false);
                poll_fn(|cx| {
                    let polled = timer.as_mut().poll(cx);
                    if polled.is_pending() && core::mem::replace(&mut waits, true) {
                        useless.fetch_add(1, Ordering::SeqCst);
                    }
                    polled
                })
                .await;
                late.fetch_max((station.now() - at) as usize, Ordering::SeqCst);
            }
        }
        async fn busy(station: Station), pool = 4_000 {
            for _ in 0..4 {
                station.clock.pass(1);
                yield_now().await;
            }
        }
    }
    let station = Station::new();
    let executor = executor::<Up4096>();
    let mut runner = executor.enter().unwrap().with_timers(station.timers);
    let (late, useless) = <(Arc<_>, Arc<_>)>::default();
    let spawner = runner.spawner();
    spawner
        .spawn_detached(sleeper(station, Arc::clone(&late), Arc::clone(&useless)))
        .unwrap();
    runner.pass();
    for _ in 0..BUSY {
        spawner.spawn_detached(busy(station)).unwrap();
    }
    runner.run(station);
    let late = late.load(Ordering::SeqCst);
    assert!(late > 0 && late <= 512, "{late} polls late");
    assert_eq!(
        useless.load(Ordering::SeqCst),
        0,
        "polls of a timer that still waits"
    );
}

/// Timers that are always due do not reduce the polls of tasks that are ready.
#[test]
fn timers_that_are_always_due_starve_no_task() {
    const BUSY: usize = if cfg!(miri) { 20 } else { 1_000 };
    const TICKING: usize = if cfg!(miri) { 8 } else { 64 };
    const END: u64 = 20 * BUSY as u64;
    tasks! {
        async fn ticks(station: Station), pool = 64 {
            // The timer is due again a nanosecond later, which is before the next look.
            while station.now() < END {
                let next = station.now() + 1;
                station.timer(next).await;
            }
        }
        async fn busy(station: Station, turns: Arc<AtomicUsize>), pool = 1_000 {
            while station.now() < END {
                station.clock.pass(1);
                turns.fetch_add(1, Ordering::SeqCst);
                yield_now().await;
            }
        }
    }
    let station = Station::new();
    let executor = executor::<Up4096>();
    let mut runner = executor.enter().unwrap().with_timers(station.timers);
    let spawner = runner.spawner();
    (0..TICKING).for_each(|_| spawner.spawn_detached(ticks(station)).unwrap());
    let turns: Vec<_> = (0..BUSY)
        .map(|_| {
            let turns = Arc::default();
            spawner
                .spawn_detached(busy(station, Arc::clone(&turns)))
                .unwrap();
            turns
        })
        .collect();
    runner.run(station);
    let turns: Vec<_> = turns
        .iter()
        .map(|turns| turns.load(Ordering::SeqCst))
        .collect();
    let (least, most) = (turns.iter().min().unwrap(), turns.iter().max().unwrap());
    assert!(*least >= 19 && most - least <= 1, "{least} to {most} turns");
}
