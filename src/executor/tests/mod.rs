//! Tests of the executor: against models, on several threads, at its limits, and where panics
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
#[cfg(feature = "alloc")]
mod random_programs;
mod ready_model;
mod running;
mod slots;
mod spawning;
mod threads;
mod unwinding;
mod wakers;
mod with_futures_util;

use std::{
    any::type_name,
    boxed::Box,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    ptr,
    string::{String, ToString},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread,
    vec::Vec,
};

use proptest::prelude::ProptestConfig;

use super::*;
use crate::{
    idle::{Idle, IdleContext},
    platform::host::VirtualClock,
    tasks,
    test_support::{alone, leak},
    time::{Instant, Timer, TimerQueue},
};

/// Returns a new executor.
fn executor<C: Capacity>() -> &'static Executor<C> {
    leak(Executor::new(Shared))
}

/// A proptest configuration with `times` the usual number of cases, or `under_miri` under Miri,
/// which takes a thousand times as long. It writes no files.
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

/// A queue with a virtual clock of its own. As an idle policy it advances the clock to the next
/// deadline.
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

/// An idle policy for executors that never wait.
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

/// Counts drops.
#[derive(Clone, Default)]
struct Drops(Arc<AtomicUsize>);

impl Drops {
    /// Returns a value whose drop is counted.
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

/// Wakes by unparking a thread.
struct Unpark(thread::Thread);

impl Unpark {
    fn this_thread() -> Waker {
        Waker::from(Arc::new(Self(thread::current())))
    }
}

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Polls a handle once.
fn poll_with<T>(handle: &mut JoinHandle<T>, waker: &Waker) -> Poll<Result<T, Aborted>> {
    Pin::new(handle).poll(&mut Context::from_waker(waker))
}

/// Polls a handle once, with a waker that does nothing.
fn poll_once<T>(handle: &mut JoinHandle<T>) -> Poll<Result<T, Aborted>> {
    poll_with(handle, Waker::noop())
}

/// Panics without the hook, which would print it.
fn unwind() -> ! {
    resume_unwind(Box::new("as the test wants it"))
}

/// Whether `body` unwinds.
fn unwinds(body: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(body)).is_err()
}

/// Returns what the handle of an ended task returns.
fn end_of<T>(mut handle: JoinHandle<T>) -> Result<T, Aborted> {
    match poll_once(&mut handle) {
        Poll::Ready(end) => end,
        Poll::Pending => panic!("the task has not ended"),
    }
}

/// Yields `times` times.
async fn turns(times: usize) {
    for _ in 0..times {
        yield_now().await;
    }
}
