//! Models of aborts: against a wake, against the end, and by handles that outlive their task.

use loom::thread;

use super::{
    Two, check, enter,
    join::poll_once,
    keep,
    watched::{Fate, released},
};
use crate::{
    executor::{Executor, Shared},
    sync::critical,
};

#[test]
fn wake_against_abort() {
    check(|first| {
        let executor = keep(Executor::<Two>::new(Shared));
        let mut runner = enter(executor).expect("there is no other runner");
        let fate = Fate::unknown();
        let spawned = executor.remote().spawn(fate.task(|| false));
        let mut handle = spawned.expect("there is room");
        runner.pass();
        let (waker, abort) = (fate.waker(), handle.abort_handle());
        let threads = [
            thread::spawn(move || waker.wake()),
            thread::spawn(move || abort.abort()),
        ];
        first.goes();
        runner.pass();
        for thread in threads {
            thread.join().expect("it does not panic");
        }
        assert_eq!(runner.run_until_idle().tasks_left, 0, "it was aborted");
        assert!(
            matches!(poll_once(&mut handle), Some(Err(_))),
            "the handle returns `Aborted`"
        );
        fate.assert_is_over();
        assert_eq!(released(), 1);
        assert_eq!(executor.core.ended(), 0, "slots that are in use");
    });
}

#[test]
fn abort_against_the_end() {
    check(|first| {
        let executor = keep(Executor::<Two>::new(Shared));
        let mut runner = enter(executor).expect("there is no other runner");
        let fate = Fate::unknown();
        let spawned = executor.remote().spawn(fate.task(|| true));
        let mut handle = spawned.expect("there is room");
        let abort = handle.abort_handle();
        let thread = thread::spawn(move || abort.abort());
        first.goes();
        runner.pass();
        thread.join().expect("it does not panic");
        assert_eq!(
            runner.run_until_idle().tasks_left,
            0,
            "it has ended, or else was aborted"
        );
        let end = poll_once(&mut handle).expect("it has ended");
        assert_eq!(fate.polls(), usize::from(end.is_ok()));
        drop(end);
        fate.assert_is_over();
        assert_eq!(released(), 1);
        assert_eq!(executor.core.ended(), 0, "slots that are in use");
    });
}

/// Another task gets the slot, and must not be aborted.
#[test]
fn abort_against_the_next_task() {
    check(|first| {
        let executor = keep(Executor::<Two>::new(Shared));
        let mut runner = enter(executor).expect("there is no other runner");
        let fates = [Fate::unknown(), Fate::unknown()];
        let spawned = executor.remote().spawn(fates[0].task(|| true));
        let handle = spawned.expect("there is room");
        let abort = handle.abort_handle();
        drop(handle);
        let thread = thread::spawn(move || abort.abort());
        first.goes();
        runner.run_until_idle();
        let spawned = executor.remote().spawn(fates[1].task(|| true));
        let mut second = spawned.expect("there is room");
        runner.run_until_idle();
        thread.join().expect("it does not panic");
        runner.run_until_idle();
        let end = poll_once(&mut second).expect("it has ended");
        assert!(
            end.is_ok(),
            "the first task's handle has aborted the second"
        );
        drop(end);
        if fates[0].polls() == 1 {
            let wakers = fates.map(Fate::waker);
            assert!(wakers[0].will_wake(&wakers[1]), "they had the same slot");
        }
        for fate in fates {
            fate.assert_is_over();
        }
        assert_eq!(released(), 2);
    });
}

/// The same, as if task numbers were used again: the first task's handle may abort the second task
/// at any moment after the claim of its slot, and the second task ends all the same.
#[test]
fn abort_against_the_next_task_of_that_number() {
    check(|first| {
        let executor = keep(Executor::<Two>::new(Shared));
        let mut runner = enter(executor).expect("there is no other runner");
        let fates = [Fate::unknown(), Fate::unknown()];
        let spawned = executor.remote().spawn(fates[0].task(|| true));
        let abort = spawned.expect("there is room").abort_handle();
        assert_eq!(runner.run_until_idle().tasks_left, 0);
        critical(|cs| executor.core.spawned.borrow(cs).set(0));
        let thread = thread::spawn(move || abort.abort());
        first.goes();
        let spawned = executor.remote().spawn(fates[1].task(|| true));
        let mut second = spawned.expect("there is room");
        runner.pass();
        thread.join().expect("it does not panic");
        assert_eq!(runner.run_until_idle().tasks_left, 0, "it has ended");
        let end = poll_once(&mut second).expect("it has ended");
        assert_eq!(fates[1].polls(), usize::from(end.is_ok()));
        drop(end);
        for fate in fates {
            fate.assert_is_over();
        }
        assert_eq!(released(), 2);
        assert_eq!(executor.core.live(), 0);
        assert_eq!(executor.core.ended(), 0, "slots that are in use");
    });
}

/// A thread drops the handle while another one aborts the task and it ends.
#[test]
fn abort_against_detaching_and_the_end() {
    check(|first| {
        let executor = keep(Executor::<Two>::new(Shared));
        let mut runner = enter(executor).expect("there is no other runner");
        let fate = Fate::unknown();
        let spawned = executor.remote().spawn(fate.task(|| true));
        let handle = spawned.expect("there is room");
        let abort = handle.abort_handle();
        let threads = [
            thread::spawn(move || drop(handle)),
            thread::spawn(move || abort.abort()),
        ];
        first.goes();
        runner.pass();
        for thread in threads {
            thread.join().expect("it does not panic");
        }
        assert_eq!(runner.run_until_idle().tasks_left, 0, "it has ended");
        fate.assert_is_over();
        assert_eq!(released(), 1);
        assert_eq!(executor.core.ended(), 0, "slots that are in use");
    });
}
