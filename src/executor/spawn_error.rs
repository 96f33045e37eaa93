//! [`SpawnError`]: why a task could not be spawned.

use core::fmt;

use super::task::Task;

/// A task that could not be spawned, and why.
///
/// # Examples
///
/// ```
/// use dormir::executor::{Executor, Shared, Up64};
///
/// dormir::tasks! { async fn work(), pool = 1 {} }
///
/// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
///
/// let mut runner = EXECUTOR.enter()?;
/// let spawner = runner.spawner();
/// spawner.spawn_detached(work())?;
/// let full = spawner.spawn_detached(work()).expect_err("one can exist at once");
/// println!("{full}");
/// runner.run_until_idle();
/// // The first task has ended, so there is room.
/// spawner.spawn_detached(full.into_task())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SpawnError<F> {
    kind: SpawnErrorKind,
    task: Task<F>,
}

/// Why a task could not be spawned.
///
/// # Examples
///
/// ```
/// use dormir::executor::SpawnErrorKind;
///
/// /// Whether the spawn may succeed once other tasks have ended.
/// fn is_temporary(kind: SpawnErrorKind) -> bool {
///     matches!(kind, SpawnErrorKind::PoolFull | SpawnErrorKind::ExecutorFull)
/// }
/// # use dormir::executor::{Executor, Shared, Up64};
/// # dormir::tasks! { async fn work(), pool = 1 {} }
/// # static EXECUTOR: Executor<Up64> = Executor::new(Shared);
/// # let spawner = EXECUTOR.enter()?.spawner();
/// # let gone = spawner.spawn(work()).expect_err("the runner was dropped");
/// # assert!(!is_temporary(gone.kind()));
/// # Ok::<(), dormir::executor::AlreadyEntered>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SpawnErrorKind {
    /// The task's pool is full.
    PoolFull,
    /// The executor is full.
    ExecutorFull,
    /// The spawner's runner was dropped.
    RunnerGone,
}

impl<F> SpawnError<F> {
    #[cold]
    pub(super) const fn new(kind: SpawnErrorKind, task: Task<F>) -> Self {
        Self { kind, task }
    }

    /// Returns why the task could not be spawned.
    #[must_use]
    pub const fn kind(&self) -> SpawnErrorKind {
        self.kind
    }

    /// Returns the task, to be spawned again later.
    pub fn into_task(self) -> Task<F> {
        self.task
    }
}

#[cfg(feature = "defmt")]
impl<F> defmt::Format for SpawnError<F> {
    fn format(&self, f: defmt::Formatter<'_>) {
        let name = (self.task.vtable.name)();
        defmt::write!(f, "SpawnError({}, {=str})", self.kind, name);
    }
}

impl<F> fmt::Debug for SpawnError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpawnError")
            .field("kind", &self.kind)
            .field("task", &self.task)
            .finish()
    }
}

impl<F> fmt::Display for SpawnError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = (self.task.vtable.name)();
        match self.kind {
            SpawnErrorKind::PoolFull => write!(
                f,
                "the pool of `{name}` is full: make it larger (`pool = N`), or await or drop the \
                 handles of tasks that have ended"
            ),
            SpawnErrorKind::ExecutorFull => write!(
                f,
                "`{name}` was not spawned, since the executor is full: give it a larger capacity, \
                 or await or drop the handles of tasks that have ended"
            ),
            SpawnErrorKind::RunnerGone => write!(
                f,
                "`{name}` was not spawned, since the spawner's runner was dropped: enter the \
                 executor again and use the new runner's spawner"
            ),
        }
    }
}

impl<F> core::error::Error for SpawnError<F> {}
