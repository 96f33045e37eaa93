//! Executors, which are statics, for pools, which are not.

use crate::idle;
use dormir::executor::{Executor, Runner, Shared, Up4096};
use std::sync::{Mutex, PoisonError};

/// Executors that no pool has now. Each was leaked.
static FREE: Mutex<Vec<&'static Executor<Up4096>>> = Mutex::new(Vec::new());

/// An executor that belongs to one pool, with its runner.
pub(crate) struct Lease {
    executor: &'static Executor<Up4096>,
    /// `None` only while this is dropped.
    runner: Option<Runner<Up4096>>,
}

impl Lease {
    /// A new executor, for a pool of many tasks. Its first tasks have slots, and so are polled, in
    /// the order in which they are spawned, which the peer's tests expect.
    pub(crate) fn new() -> Self {
        let executor: &'static Executor<Up4096> = Box::leak(Box::new(Executor::new(Shared)));
        executor.on_wake(idle::on_wake);
        Self::of(executor)
    }

    /// One that is free, for one task: each call of `block_on` has one.
    pub(crate) fn again() -> Self {
        let free = FREE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        free.map_or_else(Self::new, Self::of)
    }

    fn of(executor: &'static Executor<Up4096>) -> Self {
        let runner = executor.enter().expect("no one else has this executor");
        Self {
            executor,
            runner: Some(runner),
        }
    }

    pub(crate) fn runner(&mut self) -> &mut Runner<Up4096> {
        self.runner
            .as_mut()
            .expect("it leaves when this is dropped")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Drops the tasks.
        self.runner = None;
        if self.executor.tasks() == 0 {
            let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
            free.push(self.executor);
        }
    }
}
