//! The four roles: a future that waits for another party, the task that awaits it, the waker by
//! which that party gets the task polled again, and the executor that polls until no task is left.

use alloc::rc::Rc;
use core::{
    cell::RefCell,
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use dormir::{
    executor::{Executor, SingleVcpu, SpawnError, Spawner, Up64},
    idle::Halt,
    tasks,
    time::{Instant, Timer},
};
use dormir_guest::{console::report, println};

use crate::{DemoResult, measure};

/// The time from the second line to the third.
const PAUSE: Duration = Duration::from_secs(2);

/// What a [`TimerFuture`] shares with the task that completes it.
#[derive(Default)]
struct SharedState {
    is_over: bool,
    /// Wakes the task that awaits the future.
    waker: Option<Waker>,
}

/// The future: pending until its time is over.
struct TimerFuture(Rc<RefCell<SharedState>>);

impl Future for TimerFuture {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.borrow_mut();
        if state.is_over {
            return Poll::Ready(());
        }
        // Another task may poll it than last time. If it is the same, `clone_from` clones nothing.
        match &mut state.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

tasks! {
    /// With threads, a second thread would sleep here. This is a second task, woken by its timer.
    async fn end_later(state: Rc<RefCell<SharedState>>, time: Duration), pool = 1 {
        Timer::after(time).await;
        state.borrow_mut().is_over = true;
        let waker = state.borrow_mut().waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    async fn greet(spawner: Spawner), pool = 1 {
        println!("hello");
        let state = Rc::default();
        let timer = TimerFuture(Rc::clone(&state));
        spawner.spawn_detached(end_later(state, PAUSE)).expect("the pool has room for one");
        println!("hello from the stage");
        let start = Instant::now();
        timer.await;
        report("pause_ns", measure::nanos(Instant::now().saturating_duration_since(start)));
        println!("hello again");
    }
}

// SAFETY: this guest has one vCPU.
static EXECUTOR: Executor<Up64, SingleVcpu> = Executor::new(unsafe { SingleVcpu::new() });

pub(crate) fn run() -> DemoResult {
    EXECUTOR.on_wake(measure::count_poll);
    let mut runner = EXECUTOR.enter()?;
    let spawner = runner.spawner();
    spawner.spawn_detached(greet(spawner))?;
    // It returns when no task is left.
    measure::napping(|idle| runner.run(idle));
    println!("no task is left");

    // A full pool or executor returns an error with the task in it.
    let refused = fill(|| spawner.spawn_detached(one_of_three()));
    println!("refused: {refused}");
    let refused = fill(|| spawner.spawn_detached(one_of_many()));
    println!("refused: {refused}");
    runner.run(Halt);
    spawner.spawn_detached(refused.into_task())?;
    println!("when the others had ended, there was room for it");
    runner.run(Halt);
    Ok(())
}

tasks! {
    async fn one_of_three(), pool = 3 {}
    async fn one_of_many(), pool = 100 {}
}

/// Spawns until there is no room.
fn fill<F>(mut spawn: impl FnMut() -> Result<(), SpawnError<F>>) -> SpawnError<F> {
    loop {
        if let Err(error) = spawn() {
            return error;
        }
    }
}
