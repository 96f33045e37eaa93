//! [`Spawner`], and what it spawns.

use crate::raw::Executor;
use dormir::executor::Task;
use std::{error::Error, fmt, pin::Pin};

/// A task that was made, to be spawned.
#[derive(Debug)]
#[must_use]
pub struct SpawnToken(Task<Pin<Box<dyn Future<Output = ()>>>>);

impl SpawnToken {
    /// Makes a task of a future. The attribute `task` calls this.
    pub fn new(future: impl Future<Output = ()> + 'static) -> Self {
        let future: Pin<Box<dyn Future<Output = ()>>> = Box::pin(future);
        Self(Task::boxed(future))
    }
}

/// A task could not be made. Here, on the heap, it always can.
#[derive(Clone, Copy, Debug)]
pub enum SpawnError {
    /// There are as many of this task as its pool has room for.
    Busy,
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the task's pool is full")
    }
}

impl Error for SpawnError {}

/// Spawns tasks in an executor.
#[derive(Clone, Copy, Debug)]
pub struct Spawner(pub(crate) &'static Executor);

impl Spawner {
    /// Returns the spawner of the executor that polls this future.
    ///
    /// # Safety
    ///
    /// As the peer has it. Here it panics outside of such an executor.
    pub async unsafe fn for_current_executor() -> Self {
        Self(Executor::current().expect("an executor polls this"))
    }

    /// Spawns a task.
    ///
    /// # Panics
    ///
    /// If the executor is full.
    pub fn spawn(&self, token: SpawnToken) {
        let spawned = self.0.open().spawn_detached(token.0);
        spawned.expect("an executor has room for 64 tasks");
    }
}
