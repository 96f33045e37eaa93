//! [`ThreadPool`]: a thread for each future, and an executor of dormir's for each thread.

use crate::block_on;
use futures_task::{FutureObj, Spawn, SpawnError};
use std::{io, thread};

/// Runs futures on other threads.
#[derive(Clone, Debug)]
pub struct ThreadPool(());

/// Makes a pool. Its size has no effect: there are as many threads as futures.
#[derive(Debug, Default)]
pub struct ThreadPoolBuilder(());

impl ThreadPoolBuilder {
    /// Makes a builder.
    #[must_use]
    pub fn new() -> Self {
        Self(())
    }

    /// Takes the number of threads.
    ///
    /// # Panics
    ///
    /// If that is 0.
    pub fn pool_size(&mut self, size: usize) -> &mut Self {
        assert!(size > 0, "a pool has a thread or more");
        self
    }

    /// Makes the pool.
    ///
    /// # Errors
    ///
    /// None: threads are started later.
    pub fn create(&mut self) -> io::Result<ThreadPool> {
        Ok(ThreadPool(()))
    }
}

impl ThreadPool {
    /// Makes a pool.
    ///
    /// # Errors
    ///
    /// None: threads are started later.
    pub fn new() -> io::Result<Self> {
        ThreadPoolBuilder::new().create()
    }

    /// Returns a builder.
    #[must_use]
    pub fn builder() -> ThreadPoolBuilder {
        ThreadPoolBuilder::new()
    }

    /// Runs a future on a thread of its own, whose executor has it as a task.
    pub fn spawn_obj_ok(&self, future: FutureObj<'static, ()>) {
        thread::spawn(|| block_on(future));
    }

    /// Runs a future on a thread of its own, whose executor has it as a task.
    pub fn spawn_ok(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.spawn_obj_ok(FutureObj::new(Box::new(future)));
    }
}

impl Spawn for ThreadPool {
    fn spawn_obj(&self, future: FutureObj<'static, ()>) -> Result<(), SpawnError> {
        self.spawn_obj_ok(future);
        Ok(())
    }
}
