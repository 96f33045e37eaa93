//! Wake against abort, abort against the end, and abort handles that outlive their task.

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
        let mut runner = enter(executor).expect("nobody else enters");
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
            "the handle says so"
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
        let mut runner = enter(executor).expect("nobody else enters");
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
        let end = poll_once(&mut handle).expect("it is over");
        assert_eq!(fate.polls(), usize::from(end.is_ok()));
        drop(end);
        fate.assert_is_over();
        assert_eq!(released(), 1);
        assert_eq!(executor.core.ended(), 0, "slots that are in use");
    });
}

/// The slot is another task's soon, which must not be what is aborted.
#[test]
fn abort_against_the_next_task() {
    check(|first| {
        let executor = keep(Executor::<Two>::new(Shared));
        let mut runner = enter(executor).expect("nobody else enters");
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
        let end = poll_once(&mut second).expect("it is over");
        assert!(
            end.is_ok(),
            "the first task's handle has aborted the second"
        );
        drop(end);
        if fates[0].polls() == 1 {
            let wakers = fates.map(Fate::waker);
            assert!(wakers[0].will_wake(&wakers[1]), "they had one slot");
        }
        for fate in fates {
            fate.assert_is_over();
        }
        assert_eq!(released(), 2);
    });
}

/// The same, once numbers are given out anew: the second task may be aborted by the first one's
/// handle, at any moment from its slot being claimed, and is over all the same.
#[test]
fn abort_against_the_next_task_of_that_number() {
    check(|first| {
        let executor = keep(Executor::<Two>::new(Shared));
        let mut runner = enter(executor).expect("nobody else enters");
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
        assert_eq!(runner.run_until_idle().tasks_left, 0, "it is over");
        let end = poll_once(&mut second).expect("it is over");
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

/// Who holds the handle drops it while somebody else aborts the task, and it ends.
#[test]
fn abort_against_detaching_and_the_end() {
    check(|first| {
        let executor = keep(Executor::<Two>::new(Shared));
        let mut runner = enter(executor).expect("nobody else enters");
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
        assert_eq!(runner.run_until_idle().tasks_left, 0, "it is over");
        fate.assert_is_over();
        assert_eq!(released(), 1);
        assert_eq!(executor.core.ended(), 0, "slots that are in use");
    });
}
