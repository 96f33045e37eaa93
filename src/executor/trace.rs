//! Hooks that executors call when they do something. This module needs the feature `trace`; without
//! it, the hooks cost nothing.

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
/// Each method documents where it is called. None may call into the executor that calls it.
///
/// # Panics
///
/// Where panics unwind, a panic of a hook unwinds into its caller: a waker, a spawner or the
/// runner. Each hook is called after what it reports was done, so no wake is lost and nothing is
/// dropped twice. A task whose `poll_begun` panicked stays ready, and is polled later.
///
/// # Examples
///
/// ```
/// use dormir::executor::trace::{TaskId, Trace};
///
/// /// Prints each event.
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
/// # dormir::tasks! { async fn nothing(), pool = 1 {} }
/// # static EXECUTOR: Executor<Up64> = Executor::new(Shared);
/// # trace::install(&Print)?;
/// # EXECUTOR.remote().spawn_detached(nothing())?;
/// # EXECUTOR.enter()?.run(dormir::platform::host::Skip);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Trace: Sync {
    /// A task was spawned. Called where [`Spawner`](super::Spawner) and
    /// [`RemoteSpawner`](super::RemoteSpawner) are used, which includes interrupt handlers. The
    /// task is ready by then: its polls on another vCPU may be reported before this.
    fn spawned(&self, task: TaskId, name: &'static str) {
        let _ = (task, name);
    }

    /// A waker of the task was called, and the task is ready. Called in the context of the wake,
    /// which includes NMI handlers. If the task has ended and given back its slot, `task` has the
    /// number 0, or is the task that has the slot now.
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

    /// The task has ended, with an output or, if `has_output` is false, because its future was
    /// dropped. Called by the runner, after it has woken the holder of the handle. (Not called if
    /// that wake, or the drop of the output, unwinds.)
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
/// # dormir::tasks! { async fn nothing(), pool = 1 {} }
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
        // In a free slot, a link of the free list is in these bits.
        let is_taken = state & (LIVE | ENDED) != 0;
        Self {
            slot: task.data().addr(),
            number: if is_taken { state >> NUMBER } else { 0 },
        }
    }

    /// Returns the task's number: the executor's first task has number 1. It is 0 in the report of
    /// a stale wake whose slot was free.
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

/// The error of [`install`]: there is a trace already.
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
        f.write_str("a trace is installed already: a program can install one trace, once")
    }
}

impl core::error::Error for AlreadyTraced {}

/// Makes all executors call the hooks of `trace`, permanently.
///
/// # Errors
///
/// [`AlreadyTraced`] if there is a trace already. That one stays installed.
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
/// dormir::tasks! { async fn nothing(), pool = 1 {} }
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

/// Calls `tell` with the trace, if there is one.
pub(super) fn with(tell: impl FnOnce(&dyn Trace)) {
    if let Some(trace) = TRACE.get() {
        tell(*trace);
    }
}

#[cfg(test)]
mod tests;
