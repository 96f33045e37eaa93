//! Models of a join or a drop of the handle while the task ends or the runner leaves.

use core::{
    pin::Pin,
    sync::atomic::Ordering::{Acquire, Relaxed, Release},
    task::{Context, Poll, Waker},
};
use std::{sync::Arc, task::Wake};

use loom::{sync::atomic::AtomicBool, thread};

use super::{
    Two, check, enter, keep,
    watched::{Fate, Output, released},
};
use crate::executor::{Aborted, Executor, JoinHandle, Shared};

/// Polls a handle once, with a waker that does nothing. Returns the end, if the task has ended.
pub(super) fn poll_once<T>(handle: &mut JoinHandle<T>) -> Option<Result<T, Aborted>> {
    poll(handle, Waker::noop())
}

fn poll<T>(handle: &mut JoinHandle<T>, waker: &Waker) -> Option<Result<T, Aborted>> {
    match Pin::new(handle).poll(&mut Context::from_waker(waker)) {
        Poll::Ready(end) => Some(end),
        Poll::Pending => None,
    }
}

/// A flag that its waker sets.
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Release);
    }
}

/// Polls again only when woken. Without a wake, the model fails.
fn wait_for<T>(mut handle: JoinHandle<T>) -> Result<T, Aborted> {
    loop {
        let woken = Arc::new(Woken(AtomicBool::new(false)));
        let waker = Waker::from(Arc::clone(&woken));
        if let Some(end) = poll(&mut handle, &waker) {
            return end;
        }
        while !woken.0.load(Acquire) {
            thread::yield_now();
        }
    }
}

loom::lazy_static! {
    /// Set by the task of [`against_the_end`], relaxed.
    static ref HAS_RUN: AtomicBool = AtomicBool::new(false);
}

/// A task ends at its first poll, while a thread does `other` with its handle.
fn against_the_end(other: impl Fn(JoinHandle<Output>) + Copy + Send + Sync + 'static) {
    check(move |first| {
        let executor = keep(Executor::<Two>::new(Shared));
        let mut runner = enter(executor).expect("there is no other runner");
        let fate = Fate::unknown();
        let task = fate.task(|| {
            HAS_RUN.store(true, Relaxed);
            true
        });
        let spawned = executor.remote().spawn(task);
        let handle = spawned.expect("there is room");
        let thread = thread::spawn(move || other(handle));
        first.goes();
        runner.pass();
        thread.join().expect("it does not panic");
        assert_eq!(runner.run_until_idle().tasks_left, 0);
        fate.assert_is_over();
        assert_eq!(fate.polls(), 1);
        assert_eq!(released(), 1);
        assert_eq!(executor.core.ended(), 0, "slots that are in use");
    });
}

#[test]
fn await_against_the_end() {
    against_the_end(|handle| assert!(wait_for(handle).is_ok()));
}

/// The waker of the last poll is called.
#[test]
fn await_with_another_waker_against_the_end() {
    against_the_end(|mut handle| match poll_once(&mut handle) {
        Some(end) => assert!(end.is_ok()),
        None => assert!(wait_for(handle).is_ok()),
    });
}

#[test]
fn is_finished_against_the_end() {
    against_the_end(|mut handle| {
        if handle.is_finished() {
            assert!(HAS_RUN.load(Relaxed), "what the task did is seen");
            assert!(
                poll_once(&mut handle).is_some(),
                "`is_finished` returned true"
            );
        }
    });
}

#[test]
fn drop_against_the_end() {
    against_the_end(drop);
}

#[test]
fn one_poll_and_drop_against_the_end() {
    against_the_end(|mut handle| drop(poll_once(&mut handle)));
}

/// A thread awaits the handle while another one aborts the task.
#[test]
fn await_against_abort() {
    check(|first| {
        let executor = keep(Executor::<Two>::new(Shared));
        let mut runner = enter(executor).expect("there is no other runner");
        let fate = Fate::unknown();
        let spawned = executor.remote().spawn(fate.task(|| false));
        let handle = spawned.expect("there is room");
        let abort = handle.abort_handle();
        let waiting = thread::spawn(move || assert!(wait_for(handle).is_err()));
        let aborting = thread::spawn(move || abort.abort());
        first.goes();
        runner.pass();
        aborting.join().expect("it does not panic");
        assert_eq!(runner.run_until_idle().tasks_left, 0);
        waiting.join().expect("it does not panic");
        fate.assert_is_over();
        assert_eq!(released(), 1);
        assert_eq!(executor.core.ended(), 0, "slots that are in use");
    });
}

/// A thread does `other` with the handle of a local task, while the runner leaves. The task has
/// ended before, if `ends`.
fn against_leaving(ends: bool, other: impl Fn(JoinHandle<Output>) + Copy + Send + Sync + 'static) {
    check(move |first| {
        let executor = keep(Executor::<Two>::new(Shared));
        let mut runner = enter(executor).expect("there is no other runner");
        let fate = Fate::unknown();
        let spawned = runner.spawner().spawn(fate.task(move || ends));
        let handle = spawned.expect("there is room");
        runner.pass();
        let thread = thread::spawn(move || other(handle));
        first.goes();
        drop(runner);
        thread.join().expect("it does not panic");
        // Nothing was left to a later runner.
        fate.assert_is_over();
        assert_eq!(released(), 1);
        assert_eq!(
            executor.tasks() + executor.core.ended(),
            0,
            "slots that are in use"
        );
    });
}

#[test]
fn await_of_an_output_against_leaving() {
    against_leaving(true, |handle| assert!(wait_for(handle).is_ok()));
}

#[test]
fn drop_with_an_output_against_leaving() {
    against_leaving(true, drop);
}

#[test]
fn await_against_leaving() {
    against_leaving(false, |handle| assert!(wait_for(handle).is_err()));
}

#[test]
fn drop_against_leaving() {
    against_leaving(false, drop);
}
