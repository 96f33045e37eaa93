//! The executor under test: against models, on several threads, at its limits, and where panics
//! unwind.

mod beginning;
mod foreign_code;
mod layout;
mod lifecycle;
mod lifecycle_model;
mod loops;
mod nesting;
mod output_chains;
mod owners;
mod ready_model;
mod running;
mod spawning;
mod threads;
mod unwinding;
mod wakers;
mod with_futures_util;

use std::{
    any::type_name,
    boxed::Box,
    ptr,
    string::String,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    vec::Vec,
};

use proptest::prelude::ProptestConfig;

use super::*;
use crate::{
    idle::{Idle, IdleContext},
    platform::host::VirtualClock,
    task,
    test_support::{alone, leak},
    time::{Instant, Timer, TimerQueue},
};

/// An executor of the test's own.
fn executor<C: Capacity>() -> &'static Executor<C> {
    leak(Executor::new(Shared))
}

/// So many times the usual number of cases; and how many under Miri, which takes a thousand times
/// as long. No files.
fn cases(times: f32, under_miri: u32) -> ProptestConfig {
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let cases = if cfg!(miri) {
        under_miri
    } else {
        (config.cases as f32 * times) as u32
    };
    ProptestConfig { cases, ..config }
}

/// A queue with a virtual clock of the test's own. As an idle policy it advances the clock to the
/// next deadline.
#[derive(Clone, Copy)]
struct Station {
    timers: &'static TimerQueue,
    clock: &'static VirtualClock,
}

impl Station {
    fn new() -> Self {
        let (timers, clock) = (leak(TimerQueue::new()), leak(VirtualClock::new()));
        timers.install(clock, clock).expect("the first clock");
        Self { timers, clock }
    }

    fn timer(self, nanos: u64) -> Timer {
        self.timers.timer(Instant::from_nanos(nanos))
    }

    fn now(self) -> u64 {
        self.timers.now().as_nanos()
    }

    fn advance_to(self, nanos: u64) {
        let to = Instant::from_nanos(nanos);
        self.clock.advance_to(to, self.timers);
    }
}

impl Idle for Station {
    fn wait(&mut self, cx: &IdleContext<'_>) {
        if cx.is_idle() {
            let until = cx.deadline().expect("something to wait for");
            self.clock.advance_to(until, self.timers);
        }
    }
}

/// For executors that never wait.
struct NeverIdle;

impl Idle for NeverIdle {
    fn wait(&mut self, cx: &IdleContext<'_>) {
        let deadline = cx.deadline();
        panic!("nothing is ready, and the next deadline is {deadline:?}");
    }
}

/// A waker that counts its wakes.
#[derive(Default, Debug)]
struct Counter(AtomicUsize);

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Counter {
    fn wakes(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// How often something was dropped.
#[derive(Clone, Default)]
struct Drops(Arc<AtomicUsize>);

impl Drops {
    /// Something to be dropped.
    fn counted(&self) -> Counted {
        Counted(self.clone())
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

struct Counted(Drops);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Polls a handle once, with a waker that does nothing.
fn poll_once<T>(handle: &mut JoinHandle<T>) -> Poll<Result<T, Aborted>> {
    std::pin::Pin::new(handle).poll(&mut Context::from_waker(Waker::noop()))
}

/// What an ended task has left.
fn end_of<T>(mut handle: JoinHandle<T>) -> Result<T, Aborted> {
    match poll_once(&mut handle) {
        Poll::Ready(end) => end,
        Poll::Pending => panic!("the task has not ended"),
    }
}

/// Wakes itself at its first polls, so that it is polled `times` times more.
async fn turns(times: usize) {
    for _ in 0..times {
        yield_now().await;
    }
}
