//! Join against the end.

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

/// The end of a task, if it is over.
pub(super) fn poll_once<T>(handle: &mut JoinHandle<T>) -> Option<Result<T, Aborted>> {
    poll(handle, Waker::noop())
}

fn poll<T>(handle: &mut JoinHandle<T>, waker: &Waker) -> Option<Result<T, Aborted>> {
    match Pin::new(handle).poll(&mut Context::from_waker(waker)) {
        Poll::Ready(end) => Some(end),
        Poll::Pending => None,
    }
}

/// Set by its waker.
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Release);
    }
}

/// Polls when woken, and not otherwise: without a wake, it waits until loom loses patience.
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

/// A task ends at its first poll, while a thread does `other` with its handle, which is over then.
fn against_the_end(other: impl Fn(JoinHandle<Output>) + Copy + Send + Sync + 'static) {
    check(move |first| {
        let executor = keep(Executor::<Two>::new(Shared));
        let mut runner = enter(executor).expect("nobody else enters");
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
fn awaiting_against_the_end() {
    against_the_end(|handle| assert!(wait_for(handle).is_ok()));
}

/// What counts is the waker of the last poll.
#[test]
fn awaiting_with_another_waker_against_the_end() {
    against_the_end(|mut handle| match poll_once(&mut handle) {
        Some(end) => assert!(end.is_ok()),
        None => assert!(wait_for(handle).is_ok()),
    });
}

#[test]
fn asking_against_the_end() {
    against_the_end(|mut handle| {
        if handle.is_finished() {
            assert!(HAS_RUN.load(Relaxed), "what the task did is seen");
            assert!(poll_once(&mut handle).is_some(), "it said that it was");
        }
    });
}

#[test]
fn detaching_against_the_end() {
    against_the_end(drop);
}

#[test]
fn giving_up_against_the_end() {
    against_the_end(|mut handle| drop(poll_once(&mut handle)));
}

/// Somebody waits while the task is aborted.
#[test]
fn awaiting_against_abort() {
    check(|first| {
        let executor = keep(Executor::<Two>::new(Shared));
        let mut runner = enter(executor).expect("nobody else enters");
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

/// A task of the runner's own has ended or not when the runner goes.
fn against_leaving(ends: bool, other: impl Fn(JoinHandle<Output>) + Copy + Send + Sync + 'static) {
    check(move |first| {
        let executor = keep(Executor::<Two>::new(Shared));
        let mut runner = enter(executor).expect("nobody else enters");
        let fate = Fate::unknown();
        let spawned = runner.spawner().spawn(fate.task(move || ends));
        let handle = spawned.expect("there is room");
        runner.pass();
        let thread = thread::spawn(move || other(handle));
        first.goes();
        drop(runner);
        thread.join().expect("it does not panic");
        // Nothing was left to a runner that may never come.
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
fn awaiting_an_output_against_leaving() {
    against_leaving(true, |handle| assert!(wait_for(handle).is_ok()));
}

#[test]
fn detaching_an_output_against_leaving() {
    against_leaving(true, drop);
}

#[test]
fn awaiting_against_leaving() {
    against_leaving(false, |handle| assert!(wait_for(handle).is_err()));
}

#[test]
fn detaching_against_leaving() {
    against_leaving(false, drop);
}
