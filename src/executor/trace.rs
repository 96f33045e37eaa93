//! What an executor does, as it happens. With the feature `trace`; without it this costs nothing.

use core::fmt;

use super::place::{ENDED, LIVE, NUMBER, TaskRef};
use crate::sync::atomic::Ordering;

/// Is told what all executors do. See [`install`].
///
/// # Contexts
///
/// Each function says from where it is called. None may call into the executor that it is told of.
///
/// # Panics
///
/// Where panics unwind, one here goes on into whoever called: a waker, a spawner or the runner. What was to
/// be told had been done before, so no wake is lost and nothing is dropped twice; a task whose `poll_begun`
/// panicked is polled in the next pass.
///
/// # Examples
///
/// ```
/// use dormir::executor::trace::{TaskId, Trace};
///
/// /// Says all that happens.
/// struct Print;
///
/// impl Trace for Print {
///     fn spawned(&self, task: TaskId, name: &'static str) { println!("{task} spawned: {name}") }
///     fn woken(&self, task: TaskId) { println!("{task} woken") }
///     fn poll_begun(&self, task: TaskId) { println!("{task} polled") }
///     fn poll_ended(&self, task: TaskId) { println!("{task} waits or is over") }
///     fn ended(&self, task: TaskId, has_output: bool) {
///         println!("{task} {}", if has_output { "ended" } else { "dropped" });
///     }
///     fn idle_entered(&self) { println!("idle") }
///     fn idle_left(&self) { println!("idle no more") }
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
    /// A task was spawned: where [`Spawner`](super::Spawner) and [`RemoteSpawner`](super::RemoteSpawner)
    /// are used, interrupt handlers among it. The task is ready by then: on another vCPU its polls may be
    /// told before this is.
    fn spawned(&self, task: TaskId, name: &'static str) {
        let _ = (task, name);
    }

    /// A waker of the task was called, and the task is ready: in any context where that is done, NMI handlers
    /// among it. The task may be over; then it is number 0, or the task that has its place now.
    fn woken(&self, task: TaskId) {
        let _ = task;
    }

    /// The task is polled from here on. By the runner.
    fn poll_begun(&self, task: TaskId) {
        let _ = task;
    }

    /// The poll is over, and so is the task if [`ended`](Self::ended) was called for it. By the runner.
    fn poll_ended(&self, task: TaskId) {
        let _ = task;
    }

    /// The task is over: `has_output` if it ended, or else it was dropped. By the runner, which has woken
    /// whoever awaits it. (Not told where that, or dropping its output, unwinds.)
    fn ended(&self, task: TaskId, has_output: bool) {
        let _ = (task, has_output);
    }

    /// Nothing is ready: the idle policy is asked to wait. By the runner.
    fn idle_entered(&self) {}

    /// The idle policy has returned. By the runner.
    fn idle_left(&self) {}
}

/// A task, for telling it from others.
///
/// # Examples
///
/// ```
/// use core::sync::atomic::{AtomicU64, Ordering};
/// use dormir::executor::trace::{TaskId, Trace};
///
/// /// Whose task ran last, by its number: for a crash report.
/// static LAST: AtomicU64 = AtomicU64::new(0);
///
/// struct NoteLast;
/// impl Trace for NoteLast {
///     fn poll_begun(&self, task: TaskId) {
///         LAST.store(task.number(), Ordering::Relaxed);
///     }
/// }
/// # use dormir::executor::{Executor, Shared, Up64, trace};
/// # dormir::task! { async fn nothing(), pool = 1 {} }
/// # static EXECUTOR: Executor<Up64> = Executor::new(Shared);
/// # trace::install(&NoteLast)?;
/// # EXECUTOR.remote().spawn_detached(nothing())?;
/// # EXECUTOR.enter()?.run(dormir::platform::host::Skip);
/// # assert_eq!(LAST.load(Ordering::Relaxed), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TaskId {
    place: usize,
    number: u64,
}

impl TaskId {
    pub(super) fn of(task: TaskRef) -> Self {
        let mark = task.mark().load(Ordering::Relaxed);
        // A free place has a link of the free list there.
        let is_taken = mark & (LIVE | ENDED) != 0;
        Self {
            place: task.data().addr(),
            number: if is_taken { mark >> NUMBER } else { 0 },
        }
    }

    /// How many tasks were spawned on its executor when it was, itself included. 0 for a task
    /// that was over, and its place free, when its waker was called.
    ///
    /// # Examples
    ///
    /// ```
    /// use dormir::executor::trace::{TaskId, Trace};
    ///
    /// struct First;
    /// impl Trace for First {
    ///     fn ended(&self, task: TaskId, _has_output: bool) {
    ///         if task.number() == 1 {
    ///             println!("the executor's first task is over");
    ///         }
    ///     }
    /// }
    /// # use dormir::executor::{Executor, Shared, Up64, trace};
    /// # dormir::task! { async fn nothing(), pool = 1 {} }
    /// # static EXECUTOR: Executor<Up64> = Executor::new(Shared);
    /// # trace::install(&First)?;
    /// # EXECUTOR.remote().spawn_detached(nothing())?;
    /// # EXECUTOR.enter()?.run(dormir::platform::host::Skip);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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

/// There is a trace already.
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
#[non_exhaustive]
pub struct AlreadyTraced;

impl fmt::Display for AlreadyTraced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a trace is installed already: install one, once, before the first task")
    }
}

impl core::error::Error for AlreadyTraced {}

/// Has `trace` be told what all executors do from now on.
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
