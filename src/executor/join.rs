//! What a spawner gives back: the end of a task, and a way to bring it about.

use core::{
    fmt,
    future::Future,
    marker::PhantomData,
    pin::Pin,
    ptr::NonNull,
    task::{Context, Poll},
};

use super::{block_on, current, lifecycle::End, place::TaskRef, task::Header};

/// A task's end, to be awaited: its output, or [`Aborted`].
///
/// Dropping the handle leaves the task alone ("detaches" it). The task's place in its pool and in the
/// executor is taken until the handle is awaited or dropped; a handle that is forgotten keeps it for
/// good.
///
/// # Cancel safety
///
/// A handle may be awaited by reference, given up in between and awaited again: nothing is lost.
///
/// # Contexts
///
/// May be polled and dropped in any context but NMI, on another vCPU only where the program's
/// implementation of `critical-section` keeps vCPUs apart (see [`Shared`](super::Shared)). Dropping a handle
/// never drops the task, and leaves an output that nobody took to the runner; it is dropped with the handle
/// only where the runner of a local task is gone.
///
/// The handle of a boxed task (`Task::boxed`) that has ended frees the task's memory where it is
/// awaited or dropped: in an interrupt handler only if the allocator may be used there.
///
/// # Examples
///
/// ```
/// use dormir::executor::{Executor, Shared, Up64};
///
/// dormir::task! { async fn add(a: u32, b: u32) -> u32, pool = 1 { a + b } }
///
/// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
/// let mut runner = EXECUTOR.enter()?;
/// let sum = runner.spawner().spawn(add(2, 3))?;
/// runner.run_until_idle();
/// assert_eq!(dormir::block_on(sum, dormir::platform::host::Skip), Ok(5));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// It goes to another thread only if the output may:
///
/// ```compile_fail,E0277
/// # use dormir::executor::{Executor, Shared, Up64};
/// # use std::rc::Rc;
/// # static EXECUTOR: Executor<Up64> = Executor::new(Shared);
/// dormir::task! { async fn local() -> Rc<str>, pool = 1 { "local".into() } }
///
/// let handle = EXECUTOR.enter()?.spawner().spawn(local())?;
/// std::thread::spawn(move || drop(handle));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a handle is for awaiting the task's end; drop it to leave the task alone"]
pub struct JoinHandle<T> {
    /// `None` once the end was taken.
    task: Option<(TaskRef, NonNull<Header>)>,
    output: PhantomData<T>,
}

// SAFETY: the handle moves a `T` from where the task ended to where it is awaited; all else that it
// reaches is used in critical sections.
unsafe impl<T: Send> Send for JoinHandle<T> {}
// SAFETY: by a shared reference one can only ask whether the task has ended, and abort it.
unsafe impl<T: Send> Sync for JoinHandle<T> {}

impl<T> JoinHandle<T> {
    /// # Safety
    ///
    /// It is the one handle of the task with that header, whose output is a `T`.
    #[inline(always)]
    pub(super) unsafe fn new(task: TaskRef, header: NonNull<Header>) -> Self {
        Self {
            task: Some((task, header)),
            output: PhantomData,
        }
    }

    /// Asks the runner to drop the task at its next pass. Its handle then gives [`Aborted`], unless the
    /// task has ended before. May be called in any context but NMI.
    ///
    /// # Examples
    ///
    /// ```
    /// use dormir::executor::{Aborted, Executor, Shared, Up64};
    ///
    /// dormir::task! { async fn forever(), pool = 1 { core::future::pending().await } }
    ///
    /// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
    ///
    /// # let idle = dormir::platform::host::Skip;
    /// let mut runner = EXECUTOR.enter()?;
    /// let handle = runner.spawner().spawn(forever())?;
    /// handle.abort();
    /// runner.run(idle);
    /// assert!(matches!(dormir::block_on(handle, idle), Err(Aborted { .. })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn abort(&self) {
        self.abort_handle().abort();
    }

    /// A handle that can only [`abort`](Self::abort). It may be copied, and outlive the task.
    ///
    /// # Examples
    ///
    /// ```
    /// use core::time::Duration;
    /// use dormir::{executor::{AbortHandle, Executor, Shared, Up64}, time::Timer};
    ///
    /// dormir::task! {
    ///     async fn forever(), pool = 1 { core::future::pending().await }
    ///
    ///     async fn limit(other: AbortHandle), pool = 1 {
    ///         Timer::after(Duration::from_secs(1)).await;
    ///         other.abort();
    ///     }
    /// }
    ///
    /// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
    ///
    /// # dormir::platform::host::init();
    /// # let idle = dormir::platform::host::Skip;
    /// let mut runner = EXECUTOR.enter()?;
    /// let handle = runner.spawner().spawn(forever())?;
    /// runner.spawner().spawn_detached(limit(handle.abort_handle()))?;
    /// runner.run(idle);
    /// assert!(dormir::block_on(handle, idle).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn abort_handle(&self) -> AbortHandle {
        AbortHandle(self.task.map(|(task, _)| (task, task.task_number())))
    }

    /// Whether the task has ended or was dropped, so that awaiting the handle does not wait.
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
    /// let handle = runner.spawner().spawn(work())?;
    /// assert!(!handle.is_finished());
    /// runner.run_until_idle();
    /// assert!(handle.is_finished());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.task.is_none_or(|(task, _)| task.has_ended())
    }
}

// The output is moved, never pinned here.
impl<T> Unpin for JoinHandle<T> {}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, Aborted>;

    /// # Panics
    ///
    /// If it was ready before. If a task waits for it, and for nothing else, by [`block_on`](crate::block_on), and
    /// both are of one executor: the other task could never go on.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (task, header) = self.task.expect("a join handle is awaited to its end once");
        // SAFETY: the task's output is a `T`, and after its end the handle forgets the task.
        let end = unsafe { task.join::<T>(header, cx.waker()) };
        if !matches!(end, End::NotYet) {
            self.task = None;
        }
        match end {
            End::NotYet => {
                if block_on::waits_for_nothing_but(&*self, cx.waker()) {
                    current::refuse_deadlock(task);
                }
                Poll::Pending
            }
            End::Output(output) => Poll::Ready(Ok(output)),
            End::Aborted => Poll::Ready(Err(Aborted)),
        }
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        if let Some((task, header)) = self.task {
            // SAFETY: it is the one handle, and goes.
            unsafe { task.detach(header) };
        }
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle")
            .field("is_finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}

/// A way to abort a task, without its output: see [`JoinHandle::abort_handle`].
///
/// It names the task by its place and its number, which no other task has: once the task is gone, it does
/// nothing, also where another task has taken the place.
///
/// # Examples
///
/// ```
/// use dormir::executor::{Executor, Shared, Up64};
///
/// dormir::task! { async fn forever(), pool = 1 { core::future::pending().await } }
///
/// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
///
/// let mut runner = EXECUTOR.enter()?;
/// let first = runner.spawner().spawn(forever())?.abort_handle();
/// runner.run_until_idle();
/// first.abort();
/// runner.run_until_idle();
/// // The next task has the same place, and is not meant.
/// runner.spawner().spawn_detached(forever())?;
/// first.abort();
/// assert_eq!(runner.run_until_idle().tasks_left, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
pub struct AbortHandle(Option<(TaskRef, u64)>);

// SAFETY: it can only abort, which is done in a critical section.
unsafe impl Send for AbortHandle {}
// SAFETY: the same.
unsafe impl Sync for AbortHandle {}

impl AbortHandle {
    /// Asks the runner to drop the task, see [`JoinHandle::abort`]. May be called in any context but
    /// NMI.
    ///
    /// # Examples
    ///
    /// ```
    /// use dormir::executor::{Executor, Shared, Up64};
    ///
    /// dormir::task! { async fn forever(), pool = 1 { core::future::pending().await } }
    ///
    /// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
    ///
    /// let mut runner = EXECUTOR.enter()?;
    /// // The join handle is dropped; the task goes on.
    /// let abort = runner.spawner().spawn(forever())?.abort_handle();
    /// assert_eq!(runner.run_until_idle().tasks_left, 1);
    /// abort.abort();
    /// assert_eq!(runner.run_until_idle().tasks_left, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn abort(&self) {
        if let Some((task, number)) = self.0 {
            task.abort(number);
        }
    }
}

impl fmt::Debug for AbortHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AbortHandle").finish_non_exhaustive()
    }
}

/// The task was dropped before it had an output: it was aborted, its poll panicked (where panics
/// unwind), or the runner that it was local to went away.
///
/// # Examples
///
/// ```
/// use dormir::executor::{Executor, Shared, Up64};
///
/// dormir::task! { async fn forever(), pool = 1 { core::future::pending().await } }
///
/// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
///
/// # let idle = dormir::platform::host::Skip;
/// let runner = EXECUTOR.enter()?;
/// let handle = runner.spawner().spawn(forever())?;
/// drop(runner);
/// let aborted = dormir::block_on(handle, idle).expect_err("its runner is gone");
/// println!("{aborted}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Aborted;

impl fmt::Display for Aborted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the task was dropped before its end: it was aborted, or its runner is gone")
    }
}

impl core::error::Error for Aborted {}
