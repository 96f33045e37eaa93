//! Foreign code that unwinds: trace hooks, clock, alarm, idle policy, the hook of wakes. Whichever
//! call unwinds, nothing is dropped twice, no task is forgotten, and no deadline is left without an
//! alarm.

use super::*;
use crate::time::{Alarm, Clock};
use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::atomic::{AtomicBool, AtomicU64},
};

/// The number of foreign calls so far, and the number of the one that unwinds. Each test that uses
/// them runs in a process of its own.
static CALLS: AtomicUsize = AtomicUsize::new(0);
static UNWINDS: AtomicUsize = AtomicUsize::new(usize::MAX);
/// Whether the calls after that unwind too, unless the thread is already unwinding.
static PERSISTS: AtomicBool = AtomicBool::new(false);

/// Called in each foreign call: unwinds, if that is this call's turn.
fn call() {
    let number = CALLS.fetch_add(1, Ordering::SeqCst);
    let first = UNWINDS.load(Ordering::SeqCst);
    let persists = PERSISTS.load(Ordering::SeqCst) && number < first.saturating_add(20);
    if (number == first || persists && number > first) && !std::thread::panicking() {
        // This does not call the panic hook, which would print the panic.
        resume_unwind(Box::new(AsWanted));
    }
}

struct AsWanted;

/// Whether a foreign call in `body` unwound. Any other panic goes on.
fn unwinds(body: impl FnOnce()) -> bool {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(()) => false,
        Err(panic) if panic.is::<AsWanted>() => true,
        Err(panic) => resume_unwind(panic),
    }
}

/// The values that were made and not dropped yet, by number.
#[derive(Clone, Default)]
struct Made(Arc<Mutex<(BTreeSet<usize>, usize)>>);

impl Made {
    fn one(&self) -> One {
        let (kept, made) = &mut *self.0.lock().unwrap();
        *made += 1;
        kept.insert(*made);
        One(*made, self.clone())
    }
}

struct One(usize, Made);

impl Drop for One {
    fn drop(&mut self) {
        let was_kept = self.1.0.lock().unwrap().0.remove(&self.0);
        assert!(was_kept, "it is dropped twice");
    }
}

/// A machine whose clock, alarm and idle policy may unwind. It waits for the alarm and nothing
/// else.
#[derive(Default)]
struct ForeignDevices {
    now: AtomicU64,
    alarm: AtomicU64,
}

const OFF: u64 = 0;

impl Clock for ForeignDevices {
    fn now(&self) -> Instant {
        call();
        Instant::from_nanos(self.now.fetch_add(1, Ordering::SeqCst))
    }
}

impl Alarm for ForeignDevices {
    fn set(&self, at: Instant) {
        call();
        self.alarm.store(at.as_nanos(), Ordering::SeqCst);
        call();
    }

    fn off(&self) {
        call();
        self.alarm.store(OFF, Ordering::SeqCst);
    }
}

#[derive(Clone, Copy)]
struct Wait(&'static ForeignDevices, &'static TimerQueue);

impl Idle for Wait {
    fn wait(&mut self, cx: &IdleContext<'_>) {
        call();
        if cx.is_idle() {
            let alarm = self.0.alarm.swap(OFF, Ordering::SeqCst);
            assert_ne!(
                alarm,
                OFF,
                "nothing ends this wait, whose deadline is {:?}",
                cx.deadline()
            );
            self.0.now.fetch_max(alarm, Ordering::SeqCst);
            self.1.on_interrupt();
        }
        call();
    }
}

tasks! {
    async fn parent(spawner: Spawner, timers: &'static TimerQueue, made: Made) -> One, pool = 64 {
        let _future = made.one();
        let joined = spawner.spawn(child(timers, 300, made.clone())).expect("there is room");
        let detached = spawner.spawn(child(timers, 200, made.clone())).expect("there is room");
        let aborted = spawner.spawn(child(timers, 1_000_000, made.clone())).expect("there is room");
        timers.timer(Instant::from_nanos(100)).await;
        drop(detached);
        aborted.abort();
        assert!(aborted.await.is_err());
        drop(joined.await);
        made.one()
    }

    async fn child(timers: &'static TimerQueue, until: u64, made: Made) -> One, pool = 64 {
        let _future = made.one();
        yield_now().await;
        timers.timer(Instant::from_nanos(until)).await;
        made.one()
    }
}

/// Runs a program, and checks that each value it made is dropped once.
fn run_program() {
    let (executor, machine) = (executor::<Up64>(), leak(ForeignDevices::default()));
    let (timers, made) = (leak(TimerQueue::new()), Made::default());
    timers.install(machine, machine).expect("the first clock");
    executor.on_wake(call);
    timers.on_earlier(call);
    let mut runner = executor.enter().unwrap().with_timers(timers);
    let spawner = runner.spawner();
    let mut handle = None;
    // If the spawn unwinds, the task exists without a handle.
    unwinds(|| handle = spawner.spawn(parent(spawner, timers, made.clone())).ok());
    let mut again = 0;
    while unwinds(|| runner.run(Wait(machine, timers))) {
        again += 1;
        assert!(again < 50, "it unwinds again and again");
    }
    assert_eq!(executor.tasks(), 0);
    if let Some(handle) = handle {
        drop(end_of(handle));
    }
    // The drop of the handle may have left work.
    while unwinds(|| runner.run(Wait(machine, timers))) {}
    assert_eq!((executor.tasks(), executor.core.ended()), (0, 0));
    let left = made.0.lock().unwrap().0.len();
    assert_eq!(left, 0, "values that were not dropped");
    drop(runner);
    assert!(executor.enter().is_ok());
}

/// Runs the program once for each foreign call, which unwinds: alone, or with the next 20.
fn each_call_unwinds() {
    CALLS.store(0, Ordering::SeqCst);
    run_program();
    let calls = CALLS.load(Ordering::SeqCst);
    assert!(calls > 30, "{calls} calls");
    for persists in [false, true] {
        PERSISTS.store(persists, Ordering::SeqCst);
        for number in 0..calls {
            CALLS.store(0, Ordering::SeqCst);
            UNWINDS.store(number, Ordering::SeqCst);
            run_program();
        }
    }
    UNWINDS.store(usize::MAX, Ordering::SeqCst);
}

#[test]
fn clock_alarm_idle_policy_and_hook_may_unwind() {
    alone(|| {
        each_call_unwinds();
    });
}

#[test]
#[cfg(feature = "trace")]
#[cfg_attr(
    miri,
    ignore = "there is one trace in a process, and Miri has one process"
)]
fn a_trace_may_unwind() {
    use crate::executor::trace::{self, TaskId, Trace};
    struct Unwinding;
    impl Trace for Unwinding {
        fn spawned(&self, _: TaskId, _: &'static str) {
            call();
        }
        fn woken(&self, _: TaskId) {
            call();
        }
        fn poll_begun(&self, _: TaskId) {
            call();
        }
        fn poll_ended(&self, _: TaskId) {
            call();
        }
        fn ended(&self, _: TaskId, _: bool) {
            call();
        }
        fn idle_entered(&self) {
            call();
        }
        fn idle_left(&self) {
            call();
        }
    }
    alone(|| {
        trace::install(&Unwinding).expect("the first trace");
        each_call_unwinds();
    });
}
