//! Models of the executor, for loom: it tries the orders of what threads do, and the values that a
//! load may give, until it has seen all that can make a difference. `cargo vm test` runs them; by
//! hand:
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test --release -p dormir --lib --features alloc loom
//! ```
//!
//! loom sees what goes through [`crate::sync`]: atomics, and critical sections, as one lock. Plain
//! memory it sees where the models' futures and outputs have some ([`Plain`]). Its threads stand
//! for vCPUs, so
//! [`SingleVcpu`](super::SingleVcpu), which is for one, has no models: interrupts at each instruction of one
//! vCPU are what the guest program `wake-sweep` tries.
//!
//! The models use boxed tasks, since a static pool would outlive an execution, and small executors,
//! since each atomic costs time in each execution. A model in which somebody waits for good fails
//! because loom loses patience: it "exceeds the maximum number of branches".

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

/// Tries the orders of `model`, without a bound.
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

/// Who goes first in the execution that loom begins with.
///
/// It derives the others from conflicting accesses, but overlooks a conflict where the thread that
/// changes a word has loaded it just before, so it is given two to begin with.
#[derive(Clone, Copy, Debug)]
enum First {
    Runner,
    Others,
}

impl First {
    /// To be called by the thread that has the runner, when the others are there.
    fn goes(self) {
        if matches!(self, Self::Others) {
            loom::thread::yield_now();
        }
    }
}

/// What stands in for a static: `value`, until the end of the execution.
fn keep<T: Send + 'static>(value: T) -> &'static T {
    keep_boxed(Box::new(value))
}

/// The same, where it is.
fn keep_boxed<T: Send + 'static>(value: Box<T>) -> &'static T {
    loom::lazy_static! {
        static ref KEPT: Mutex<Vec<Box<dyn Any + Send>>> = Mutex::new(Vec::new());
    }
    let kept: *const T = &*value;
    KEPT.lock().expect("nobody panics here").push(value);
    // SAFETY: the box stays where it is until loom drops its statics, when the threads of the
    // execution have ended. Nothing of one execution is used in another.
    unsafe { &*kept }
}

/// A runner with timers of its own: what loom does not see must be the same in each execution.
fn enter<C: Capacity, M: Cpus>(
    executor: &'static Executor<C, M>,
) -> Result<Runner<C, M>, AlreadyEntered> {
    loom::lazy_static! {
        static ref TIMERS: TimerQueue = TimerQueue::new();
    }
    Ok(executor.enter()?.with_timers(&TIMERS))
}

/// Memory that is not atomic: loom fails where two uses of it are not ordered.
struct Plain(UnsafeCell<()>);

impl Plain {
    fn new() -> Self {
        Self(UnsafeCell::new(()))
    }

    /// What stands for any use.
    fn touch(&self) {
        self.0.with_mut(|_| ());
    }
}

/// Two tasks in one word.
struct Two;

impl Capacity for Two {
    const TASKS: u32 = 2;
}

impl Sealed for Two {
    type Root = Leaf;
    type Summaries = [Node; 0];
    type Blocks = [Block; 1];
}

/// Two words below one.
struct TwoWords;

impl Capacity for TwoWords {
    const TASKS: u32 = 128;
}

impl Sealed for TwoWords {
    type Root = Summary<0, Leaf>;
    type Summaries = [Node; 1];
    type Blocks = [Block; 2];
}
