//! Models of the executor, for loom: it runs each model again and again, until it has tried all
//! orders of what threads do, and all values that loads may return, that can make a difference.
//! `cargo vm test` runs them; by hand:
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test --profile models -p dormir --lib --features alloc loom
//! ```
//!
//! loom sees what goes through [`crate::sync`]: atomics, and critical sections, as one lock. It
//! sees plain memory only as [`Plain`], in the models' futures and outputs. Its threads stand for
//! vCPUs, so there is no model of wakes with [`SingleVcpu`](super::SingleVcpu): the guest program
//! `wake-sweep` places an interrupt at each instruction of one vCPU instead.
//!
//! The models use boxed tasks, since a static pool would outlive an execution, and small executors,
//! since each atomic costs time in each execution. A model in which a thread waits forever fails
//! with "exceeded maximum number of branches".

mod abort;
mod enter;
mod join;
mod mutants;
mod ready_set;
mod run;
mod stale;
mod watched;

use core::sync::atomic::{AtomicUsize as Count, Ordering::Relaxed};
use std::{
    any::Any,
    boxed::Box,
    println,
    sync::{Arc, Mutex},
    vec::Vec,
};

use loom::cell::UnsafeCell;

use super::{
    AlreadyEntered, Capacity, Cpus, Executor, Runner,
    capacity::sealed::Sealed,
    ready::{
        levels::{Leaf, Summary},
        node::Node,
    },
    slot::Block,
};
use crate::time::TimerQueue;

/// Runs `model` in all orders, without a bound.
fn check(model: impl Fn(First) + Copy + Send + Sync + 'static) {
    for first in [First::Runner, First::Others] {
        let executions = Arc::new(Count::new(0));
        let count = Arc::clone(&executions);
        loom::model(move || {
            count.fetch_add(1, Relaxed);
            model(first);
        });
        println!("{} executions, {first:?} first", executions.load(Relaxed));
    }
}

/// Which threads go first in the first execution.
///
/// loom derives further executions from conflicting accesses. It overlooks a conflict if the thread
/// that changes a word has loaded it just before, so each model begins with two executions.
#[derive(Clone, Copy, Debug)]
enum First {
    Runner,
    Others,
}

impl First {
    /// Called by the thread that has the runner, after it has started the others.
    fn goes(self) {
        if matches!(self, Self::Others) {
            loom::thread::yield_now();
        }
    }
}

/// Makes `value` a static, for the rest of the execution.
fn keep<T: Send + 'static>(value: T) -> &'static T {
    keep_boxed(Box::new(value))
}

/// The same for a value that is boxed already.
fn keep_boxed<T: Send + 'static>(value: Box<T>) -> &'static T {
    loom::lazy_static! {
        static ref KEPT: Mutex<Vec<Box<dyn Any + Send>>> = Mutex::new(Vec::new());
    }
    let kept: *const T = &*value;
    KEPT.lock().expect("no thread panics here").push(value);
    // SAFETY: the box stays where it is until loom drops its statics, after the threads of the
    // execution have ended. Nothing of one execution is used in another.
    unsafe { &*kept }
}

/// Enters with timers of the execution's own: what loom does not see must be the same in each
/// execution.
fn enter<C: Capacity, M: Cpus>(
    executor: &'static Executor<C, M>,
) -> Result<Runner<C, M>, AlreadyEntered> {
    loom::lazy_static! {
        static ref TIMERS: TimerQueue = TimerQueue::new();
    }
    Ok(executor.enter()?.with_timers(&TIMERS))
}

/// Memory that is not atomic: loom fails if two uses of it are not ordered.
struct Plain(UnsafeCell<()>);

impl Plain {
    fn new() -> Self {
        Self(UnsafeCell::new(()))
    }

    /// Uses the memory.
    fn touch(&self) {
        self.0.with_mut(|_| ());
    }
}

/// A capacity of two tasks in one word.
struct Two;

impl Capacity for Two {
    const TASKS: u32 = 2;
}

impl Sealed for Two {
    type Root = Leaf;
    type Summaries = [Node; 0];
    type Blocks = [Block; 1];
}

/// A capacity of two words below a summary word.
struct TwoWords;

impl Capacity for TwoWords {
    const TASKS: u32 = 128;
}

impl Sealed for TwoWords {
    type Root = Summary<0, Leaf>;
    type Summaries = [Node; 1];
    type Blocks = [Block; 2];
}
