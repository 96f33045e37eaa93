//! A task that could not be spawned, and why.

use core::fmt;

use super::task::Task;

/// A task that could not be spawned: why not, and the task.
///
/// # Examples
///
/// ```
/// use dormir::executor::{Executor, Shared, Up64};
///
/// dormir::task! { async fn work(), pool = 1 {} }
///
/// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
///
/// let mut runner = EXECUTOR.enter()?;
/// let spawner = runner.spawner();
/// spawner.spawn_detached(work())?;
/// let full = spawner.spawn_detached(work()).expect_err("its pool has one place");
/// println!("{full}");
/// runner.run_until_idle();
/// // Now there is room.
/// spawner.spawn_detached(full.into_task())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SpawnError<F> {
    limit: SpawnLimit,
    task: Task<F>,
}

/// Why a task could not be spawned.
///
/// # Examples
///
/// ```
/// use dormir::executor::SpawnLimit;
///
/// /// Whether it may help to try again once other tasks have ended.
/// fn is_passing(limit: SpawnLimit) -> bool {
///     matches!(limit, SpawnLimit::PoolFull | SpawnLimit::ExecutorFull)
/// }
/// # use dormir::executor::{Executor, Shared, Up64};
/// # dormir::task! { async fn work(), pool = 1 {} }
/// # static EXECUTOR: Executor<Up64> = Executor::new(Shared);
/// # let spawner = EXECUTOR.enter()?.spawner();
/// # let gone = spawner.spawn(work()).expect_err("the runner is gone");
/// # assert!(!is_passing(gone.limit()));
/// # Ok::<(), dormir::executor::AlreadyEntered>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpawnLimit {
    /// All places of the task's own pool are taken.
    PoolFull,
    /// All places of the executor are taken.
    ExecutorFull,
    /// The runner that the spawner came from is gone.
    RunnerGone,
}

impl<F> SpawnError<F> {
    #[cold]
    pub(super) const fn new(limit: SpawnLimit, task: Task<F>) -> Self {
        Self { limit, task }
    }

    /// Which limit was met.
    ///
    /// # Examples
    ///
    /// ```
    /// use dormir::executor::{Executor, Shared, SpawnLimit, Up64};
    ///
    /// dormir::task! { async fn work(), pool = 1 {} }
    ///
    /// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
    ///
    /// let spawner = EXECUTOR.enter()?.spawner();
    /// let error = spawner.spawn(work()).expect_err("the runner was dropped");
    /// assert_eq!(error.limit(), SpawnLimit::RunnerGone);
    /// # Ok::<(), dormir::executor::AlreadyEntered>(())
    /// ```
    #[must_use]
    pub const fn limit(&self) -> SpawnLimit {
        self.limit
    }

    /// The task, to be spawned again later.
    ///
    /// # Examples
    ///
    /// ```
    /// use dormir::executor::{Executor, Shared, Up64};
    ///
    /// dormir::task! { async fn work(), pool = 1 {} }
    ///
    /// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
    ///
    /// let mut runner = EXECUTOR.enter()?;
    /// let spawner = runner.spawner();
    /// spawner.spawn_detached(work())?;
    /// if let Err(full) = spawner.spawn_detached(work()) {
    ///     runner.run_until_idle();
    ///     spawner.spawn_detached(full.into_task())?;
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn into_task(self) -> Task<F> {
        self.task
    }

    /// The future.
    ///
    /// # Examples
    ///
    /// ```
    /// use dormir::executor::{Executor, Shared, Up64};
    ///
    /// dormir::task! { async fn add(a: u32, b: u32) -> u32, pool = 1 { a + b } }
    ///
    /// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
    ///
    /// # let idle = dormir::platform::host::Skip;
    /// let runner = EXECUTOR.enter()?;
    /// let sum = runner.spawner().spawn(add(1, 2))?;
    /// let full = runner.spawner().spawn(add(3, 4)).expect_err("its pool has one place");
    /// // Then without a task.
    /// assert_eq!(dormir::block_on(full.into_future(), idle), 7);
    /// # drop(sum);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn into_future(self) -> F {
        self.task.into_future()
    }
}

impl<F> fmt::Debug for SpawnError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpawnError")
            .field("limit", &self.limit)
            .field("task", &self.task)
            .finish()
    }
}

impl<F> fmt::Display for SpawnError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = (self.task.kind.name)();
        match self.limit {
            SpawnLimit::PoolFull => write!(
                f,
                "the pool of `{name}` is full: give it more places (`pool = N`), or await or drop the handles of tasks that have ended"
            ),
            SpawnLimit::ExecutorFull => write!(
                f,
                "the executor has no place left for `{name}`: give it a larger capacity, or await or drop the handles of tasks that have ended"
            ),
            SpawnLimit::RunnerGone => write!(
                f,
                "`{name}` was spawned by a spawner whose runner is gone: enter the executor again and use that runner's spawner"
            ),
        }
    }
}

impl<F> core::error::Error for SpawnError<F> {}
