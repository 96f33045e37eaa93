//! Hooks that are called when an executor does something. They need the feature `trace`; without it
//! they cost nothing.

use core::fmt;

use super::{
    slot::{ENDED, LIVE, NUMBER},
    task_ref::TaskRef,
};
use crate::sync::atomic::Ordering;

/// Hooks that all executors call. See [`install`].
///
/// # Contexts
///
/// Each method tells from where it is called. None may call into the executor that calls it.
///
/// # Panics
///
/// Where panics unwind, a panic of a hook goes on into its caller: a waker, a spawner or the
/// runner. The hook is called after what it reports has been done, so no wake is lost and nothing
/// is dropped twice. A task whose `poll_begun` panicked is polled in the next pass.
///
/// # Examples
///
/// ```
/// use dormir::executor::trace::{TaskId, Trace};
///
/// /// Prints all that happens.
/// struct Print;
///
/// impl Trace for Print {
///     fn spawned(&self, task: TaskId, name: &'static str) { println!("{task} spawned: {name}") }
///     fn woken(&self, task: TaskId) { println!("{task} woken") }
///     fn poll_begun(&self, task: TaskId) { println!("{task} polled") }
///     fn poll_ended(&self, task: TaskId) { println!("{task} polled, and waits or has ended") }
///     fn ended(&self, task: TaskId, has_output: bool) {
///         println!("{task} {}", if has_output { "ended" } else { "dropped" });
///     }
///     fn idle_entered(&self) { println!("idle") }
///     fn idle_left(&self) { println!("no longer idle") }
/// }
/// # use dormir::executor::{Executor, Shared, Up64, trace};
/// # dormir::task! { async fn nothing(), pool = 1 {} }
/// # static EXECUTOR: Executor<Up64> = Executor::new(Shared);
/// # trace::install(&Print)?;
/// # EXECUTOR.remote().spawn_detached(nothing())?;
/// # EXECUTOR.enter()?.run(dormir::platform::host::Skip);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Trace: Sync {
    /// A task was spawned. Called where [`Spawner`](super::Spawner) and
    /// [`RemoteSpawner`](super::RemoteSpawner) are used, which includes interrupt handlers. The task is ready
    /// by then: its polls on another vCPU may be reported before this.
    fn spawned(&self, task: TaskId, name: &'static str) {
        let _ = (task, name);
    }

    /// A waker of the task was called, and the task is ready. Called in the context of the wake,
    /// which includes NMI handlers. If the task has ended, it is number 0, or the task that has its
    /// slot now.
    fn woken(&self, task: TaskId) {
        let _ = task;
    }

    /// A poll of the task begins. Called by the runner.
    fn poll_begun(&self, task: TaskId) {
        let _ = task;
    }

    /// The poll has returned. Called by the runner. The task has ended if [`ended`](Self::ended)
    /// was called for it before.
    fn poll_ended(&self, task: TaskId) {
        let _ = task;
    }

    /// The task has ended, with an output or, if not `has_output`, since its future was dropped.
    /// Called by the runner, after it has woken the task that awaits the end. (Not called where
    /// that, or the drop of the output, unwinds.)
    fn ended(&self, task: TaskId, has_output: bool) {
        let _ = (task, has_output);
    }

    /// Nothing is ready, and the idle policy is called. Called by the runner.
    fn idle_entered(&self) {}

    /// The idle policy has returned. Called by the runner.
    fn idle_left(&self) {}
}

/// Identifies a task.
///
/// # Examples
///
/// ```
/// use core::sync::atomic::{AtomicU64, Ordering};
/// use dormir::executor::trace::{TaskId, Trace};
///
/// /// The number of the task that ran last, for a crash report.
/// static LAST: AtomicU64 = AtomicU64::new(0);
///
/// struct StoreLast;
/// impl Trace for StoreLast {
///     fn poll_begun(&self, task: TaskId) {
///         LAST.store(task.number(), Ordering::Relaxed);
///     }
/// }
/// # use dormir::executor::{Executor, Shared, Up64, trace};
/// # dormir::task! { async fn nothing(), pool = 1 {} }
/// # static EXECUTOR: Executor<Up64> = Executor::new(Shared);
/// # trace::install(&StoreLast)?;
/// # EXECUTOR.remote().spawn_detached(nothing())?;
/// # EXECUTOR.enter()?.run(dormir::platform::host::Skip);
/// # assert_eq!(LAST.load(Ordering::Relaxed), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TaskId {
    slot: usize,
    number: u64,
}

impl TaskId {
    pub(super) fn of(task: TaskRef) -> Self {
        let state = task.state().load(Ordering::Relaxed);
        // A free slot has a link of the free list there.
        let is_taken = state & (LIVE | ENDED) != 0;
        Self {
            slot: task.data().addr(),
            number: if is_taken { state >> NUMBER } else { 0 },
        }
    }

    /// Returns the task's number: the executor's first task has number 1. It is 0 for a task that
    /// had ended, and whose slot was free, when its waker was called.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.number
    }
}

impl fmt::Debug for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "task {}", self.number)
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

static TRACE: spin::Once<&'static dyn Trace> = spin::Once::new();

/// The error of [`install`]: a trace is installed already.
///
/// # Examples
///
/// ```
/// use dormir::executor::trace::{self, Trace};
///
/// struct Silent;
/// impl Trace for Silent {}
///
/// trace::install(&Silent)?;
/// let refused = trace::install(&Silent).expect_err("there is a trace");
/// println!("{refused}");
/// # Ok::<(), trace::AlreadyTraced>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct AlreadyTraced;

impl fmt::Display for AlreadyTraced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a trace is installed already: install one, once, before the first task")
    }
}

impl core::error::Error for AlreadyTraced {}

/// Makes all executors call the hooks of `trace`, from now on and permanently.
///
/// # Errors
///
/// [`AlreadyTraced`] if there is one already, which stays.
///
/// # Examples
///
/// ```
/// use core::sync::atomic::{AtomicU32, Ordering};
/// use dormir::executor::{Executor, Shared, Up64, trace::{self, TaskId, Trace}};
///
/// struct CountPolls(AtomicU32);
/// impl Trace for CountPolls {
///     fn poll_begun(&self, _: TaskId) {
///         self.0.fetch_add(1, Ordering::Relaxed);
///     }
/// }
/// static POLLS: CountPolls = CountPolls(AtomicU32::new(0));
///
/// dormir::task! { async fn nothing(), pool = 1 {} }
///
/// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
/// trace::install(&POLLS)?;
/// let mut runner = EXECUTOR.enter()?;
/// runner.spawner().spawn_detached(nothing())?;
/// runner.run_until_idle();
/// assert_eq!(POLLS.0.load(Ordering::Relaxed), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn install(trace: &'static dyn Trace) -> Result<(), AlreadyTraced> {
    let mut first = false;
    TRACE.call_once(|| {
        first = true;
        trace
    });
    if first { Ok(()) } else { Err(AlreadyTraced) }
}

/// Tells it, if there is one.
pub(super) fn with(tell: impl FnOnce(&dyn Trace)) {
    if let Some(trace) = TRACE.get() {
        tell(*trace);
    }
}

#[cfg(test)]
mod tests;
