//! Models of spawns and wakes against the last checks of `run` and `run_until_idle`.

use core::mem::ManuallyDrop;

use loom::{
    sync::atomic::{
        AtomicBool, AtomicUsize,
        Ordering::{AcqRel, Acquire, Relaxed},
    },
    thread,
};

use super::{
    Two, TwoWords, check, enter, keep,
    watched::{Fate, released},
};
use crate::{
    executor::{Capacity, Cpus, Executor, Shared},
    idle::{Idle, IdleContext},
};

/// Sleeps until the loop is no longer idle. If a wake is lost, this never returns, and the model
/// fails.
struct Sleep;

impl Idle for Sleep {
    fn wait(&mut self, cx: &IdleContext<'_>) {
        while cx.is_idle() {
            thread::yield_now();
        }
    }
}

/// A thread spawns a task while the runner's only task ends, and so `run` ends. This run polls the
/// new task, or else the next run does.
fn spawn_against_run<C: Capacity>() {
    check(|first| {
        let executor = keep(Executor::<C>::new(Shared));
        let mut runner = enter(executor).expect("there is no other runner");
        let fates = [Fate::unknown(), Fate::unknown()];
        let own = runner.spawner().spawn_detached(fates[0].task(|| true));
        own.expect("there is room");
        let remote = executor.remote();
        let thread = thread::spawn(move || {
            let spawned = remote.spawn_detached(fates[1].task(|| true));
            spawned.expect("there is room");
        });
        first.goes();
        runner.run(Sleep);
        thread.join().expect("it does not panic");
        runner.run(Sleep);
        for fate in fates {
            assert_eq!(fate.polls(), 1);
            fate.assert_is_over();
        }
        assert_eq!(released(), 2);
        assert!(runner.is_idle() && executor.tasks() + executor.core.ended() == 0);
    });
}

#[test]
fn spawn_against_the_end_of_run() {
    spawn_against_run::<Two>();
}

#[test]
fn spawn_against_the_end_of_run_below_a_summary() {
    spawn_against_run::<TwoWords>();
}

/// A thread writes what a task waits for, and wakes it, while `run` is about to sleep.
fn wake_against_run<C: Capacity>() {
    check(|first| {
        let executor = keep(Executor::<C>::new(Shared));
        let mut runner = enter(executor).expect("there is no other runner");
        let fate = Fate::unknown();
        let written = keep(AtomicBool::new(false));
        let task = fate.task(|| written.load(Relaxed));
        let spawned = runner.spawner().spawn_detached(task);
        spawned.expect("there is room");
        runner.pass();
        let waker = fate.waker();
        let thread = thread::spawn(move || {
            written.store(true, Relaxed);
            waker.wake();
        });
        first.goes();
        runner.run(Sleep);
        thread.join().expect("it does not panic");
        fate.assert_is_over();
    });
}

#[test]
fn wake_against_sleep() {
    wake_against_run::<Two>();
}

#[test]
fn wake_against_sleep_below_a_summary() {
    wake_against_run::<TwoWords>();
}

/// A loop of another library sleeps until the hook is called, while a thread spawns a task or, if
/// `was_polled`, wakes it.
pub(super) fn wake_against_a_hooked_loop<M: Cpus>(cpus: M, was_polled: bool) {
    loom::lazy_static! {
        static ref CALLS: AtomicUsize = AtomicUsize::new(0);
    }
    check(move |first| {
        let executor = keep(Executor::<Two, M>::new(cpus));
        executor.on_wake(|| {
            CALLS.fetch_add(1, AcqRel);
        });
        // Not dropped if loom gives up.
        let mut runner = ManuallyDrop::new(enter(executor).expect("there is no other runner"));
        let fate = Fate::unknown();
        let written = keep(AtomicBool::new(false));
        let remote = executor.remote();
        let spawn = move || {
            let spawned = remote.spawn_detached(fate.task(|| written.load(Relaxed)));
            spawned.expect("there is room");
        };
        if was_polled {
            spawn();
            runner.pass();
        }
        let thread = thread::spawn(move || {
            written.store(true, Relaxed);
            if was_polled {
                fate.waker().wake();
            } else {
                spawn();
            }
        });
        first.goes();
        while !fate.is_over() {
            let calls = CALLS.load(Acquire);
            runner.run_until_idle();
            while !fate.is_over() && CALLS.load(Acquire) == calls {
                thread::yield_now();
            }
        }
        thread.join().expect("it does not panic");
        drop(ManuallyDrop::into_inner(runner));
        fate.assert_is_over();
    });
}

#[test]
fn wake_against_a_loop_with_a_hook() {
    wake_against_a_hooked_loop(Shared, true);
}

#[test]
fn spawn_against_a_loop_with_a_hook() {
    wake_against_a_hooked_loop(Shared, false);
}
