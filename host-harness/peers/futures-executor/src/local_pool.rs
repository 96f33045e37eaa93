//! [`LocalPool`]: an executor of dormir's, and one thread.

use crate::{
    enter::{Enter, enter},
    idle::{Wait, wait_while},
    lease::Lease,
};
use dormir::executor::{JoinHandle, Runner, SpawnErrorKind, Spawner, Task, Up4096};
use futures_task::{FutureObj, LocalFutureObj, LocalSpawn, Spawn, SpawnError};
use std::{
    cell::Cell,
    fmt, mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    rc::{Rc, Weak},
};

/// A pool of tasks, which one thread runs.
pub struct LocalPool {
    lease: Lease,
    shared: Rc<Shared>,
}

/// What a pool and its spawners share.
struct Shared {
    spawner: Spawner,
    /// How many tasks have ended.
    ended: Cell<usize>,
}

/// Spawns tasks in a pool.
#[derive(Clone)]
pub struct LocalSpawner(Weak<Shared>);

/// Runs a future to its end, as a task of an executor.
///
/// # Panics
///
/// If this thread runs an executor already.
pub fn block_on<F: Future>(future: F) -> F::Output {
    LocalPool::on(Lease::again()).run_until(future)
}

fn entered() -> Enter {
    enter().expect("a task cannot run a pool")
}

impl LocalPool {
    /// Makes an empty pool.
    #[must_use]
    pub fn new() -> Self {
        Self::on(Lease::new())
    }

    fn on(mut lease: Lease) -> Self {
        let shared = Rc::new(Shared {
            spawner: lease.runner().spawner(),
            ended: Cell::new(0),
        });
        Self { lease, shared }
    }

    /// Returns a spawner.
    #[must_use]
    pub fn spawner(&self) -> LocalSpawner {
        LocalSpawner(Rc::downgrade(&self.shared))
    }

    /// Runs all tasks to their ends.
    ///
    /// # Panics
    ///
    /// If this thread runs an executor already.
    pub fn run(&mut self) {
        let _entered = entered();
        self.lease.runner().run(Wait);
    }

    /// Runs the tasks until `future`, which becomes one of them, has ended.
    ///
    /// # Panics
    ///
    /// If this thread runs an executor already.
    pub fn run_until<F: Future>(&mut self, future: F) -> F::Output {
        let _entered = entered();
        let mut output = None;
        let place = &raw mut output;
        let task = async move {
            let value = future.await;
            // SAFETY: `Scope` has this task end before `output` leaves, and until then nothing else
            // reads or writes that.
            unsafe { *place = Some(value) };
        };
        let task: Pin<Box<dyn Future<Output = ()> + '_>> = Box::pin(task);
        // SAFETY: only the lifetime changes. `Scope` has the task end, which drops this box, before
        // what the future borrows ends.
        let task: Pin<Box<dyn Future<Output = ()>>> = unsafe { mem::transmute(task) };
        let handle = self.shared.spawner.spawn(Task::boxed(task));
        let handle = handle.expect("an executor has room for 4,096 tasks");
        let scope = Scope(self.lease.runner(), handle);
        while !scope.1.is_finished() {
            wait_while(|| scope.0.is_idle());
            scope.0.pass();
        }
        drop(scope);
        output.expect("the task has ended")
    }

    /// Runs the tasks until one has ended, and returns `true`; or until none is ready, and returns
    /// `false`.
    ///
    /// # Panics
    ///
    /// If this thread runs an executor already.
    pub fn try_run_one(&mut self) -> bool {
        let _entered = entered();
        let before = self.shared.ended.get();
        while self.lease.runner().step() {
            if self.shared.ended.get() != before {
                return true;
            }
        }
        false
    }

    /// Runs the tasks until none is ready.
    ///
    /// # Panics
    ///
    /// If this thread runs an executor already.
    pub fn run_until_stalled(&mut self) {
        let _entered = entered();
        self.lease.runner().run_until_idle();
    }
}

/// Has a task end before what it borrows does.
struct Scope<'a>(&'a mut Runner<Up4096>, JoinHandle<()>);

impl Drop for Scope<'_> {
    fn drop(&mut self) {
        self.1.abort();
        while !self.1.is_finished() {
            // This task may not outlive what it borrows, whatever others do meanwhile.
            let _ = catch_unwind(AssertUnwindSafe(|| self.0.step()));
        }
    }
}

impl LocalSpawner {
    fn spawn_any(&self, future: LocalFutureObj<'static, ()>) -> Result<(), SpawnError> {
        let shared = self.0.upgrade().ok_or_else(SpawnError::shutdown)?;
        let ended = self.0.clone();
        let task = async move {
            future.await;
            if let Some(shared) = ended.upgrade() {
                shared.ended.set(shared.ended.get() + 1);
            }
        };
        let spawned = shared.spawner.spawn_detached(Task::boxed(task));
        spawned.map_err(|error| match error.kind() {
            SpawnErrorKind::RunnerGone => SpawnError::shutdown(),
            // The peer's pools have no limit, and its error has no word for one.
            _ => panic!("{error}"),
        })
    }

    fn is_open(&self) -> Result<(), SpawnError> {
        self.0.upgrade().map(drop).ok_or_else(SpawnError::shutdown)
    }
}

impl Spawn for LocalSpawner {
    fn spawn_obj(&self, future: FutureObj<'static, ()>) -> Result<(), SpawnError> {
        self.spawn_any(future.into())
    }

    fn status(&self) -> Result<(), SpawnError> {
        self.is_open()
    }
}

impl LocalSpawn for LocalSpawner {
    fn spawn_local_obj(&self, future: LocalFutureObj<'static, ()>) -> Result<(), SpawnError> {
        self.spawn_any(future)
    }

    fn status_local(&self) -> Result<(), SpawnError> {
        self.is_open()
    }
}

impl Default for LocalPool {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for LocalPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalPool").finish_non_exhaustive()
    }
}

impl fmt::Debug for LocalSpawner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalSpawner").finish_non_exhaustive()
    }
}
