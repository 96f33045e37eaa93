//! The handles of tasks: [`JoinHandle`], which awaits a task, and [`AbortHandle`].

use core::{
    fmt,
    future::Future,
    marker::PhantomData,
    pin::Pin,
    ptr::{self, NonNull},
    task::{Context, Poll},
};

use super::{block_on, current, header::Header, lifecycle::Joined, task_ref::TaskRef};

/// Awaits the end of a task: returns its output, or [`Aborted`].
///
/// Dropping the handle detaches the task, which continues to run. The task's memory in its pool and
/// its slot in the executor are in use until the task has ended and the handle was awaited or
/// dropped. A handle that is forgotten keeps them permanently.
///
/// # Cancel safety
///
/// A handle may be awaited by reference, in a `select` for example, and awaited again later:
/// nothing is lost.
///
/// # Contexts
///
/// A handle may be polled and dropped in any context but NMI; on another vCPU, only if the
/// program's implementation of `critical-section` excludes other vCPUs (see
/// [`Shared`](super::Shared)).
///
/// Dropping a handle never drops the task's future, but it drops an output that was not taken.
/// (While another output of the same executor is being dropped on the same vCPU, it is dropped
/// right after that one.) Dropping a handle, and awaiting it to the end, also free the memory of a
/// boxed task (`Task::boxed`) that has ended. So do this in an interrupt handler only if the output
/// may be dropped, and the allocator used, there.
///
/// # Examples
///
/// ```
/// use dormir::{block_on, executor::{Executor, Shared, Up64}, platform::host};
///
/// dormir::tasks! { async fn add(a: u32, b: u32) -> u32, pool = 1 { a + b } }
///
/// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
/// let mut runner = EXECUTOR.enter()?;
/// let sum = runner.spawner().spawn(add(2, 3))?;
/// runner.run_until_idle();
/// assert_eq!(block_on(sum, host::Skip), Ok(5));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// It can be sent to another thread only if the output can:
///
/// ```compile_fail,E0277
/// # use dormir::executor::{Executor, Shared, Up64};
/// # use std::rc::Rc;
/// # static EXECUTOR: Executor<Up64> = Executor::new(Shared);
/// dormir::tasks! { async fn local() -> Rc<str>, pool = 1 { "local".into() } }
///
/// let handle = EXECUTOR.enter()?.spawner().spawn(local())?;
/// std::thread::spawn(move || drop(handle));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "await the handle, or drop it to detach the task"]
pub struct JoinHandle<T> {
    /// `None` once the handle has returned the task's end.
    task: Option<(TaskRef, NonNull<Header>)>,
    output: PhantomData<T>,
}

const _: () = assert!(size_of::<JoinHandle<()>>() == block_on::JOIN_HANDLE_SIZE);

// SAFETY: the handle moves a `T` from where the task ended to where it is awaited. All else that it
// reaches is atomic or used in critical sections.
unsafe impl<T: Send> Send for JoinHandle<T> {}
// SAFETY: a shared reference only allows asking whether the task has ended, and aborting it.
unsafe impl<T: Send> Sync for JoinHandle<T> {}

impl<T> JoinHandle<T> {
    /// # Safety
    ///
    /// This is the only handle of the task with that header, and the task's output is a `T`.
    #[inline(always)]
    pub(super) unsafe fn new(task: TaskRef, header: NonNull<Header>) -> Self {
        Self {
            task: Some((task, header)),
            output: PhantomData,
        }
    }

    /// Asks the runner to drop the task's future in its next pass. Awaiting the handle then returns
    /// [`Aborted`], unless the task ends before that. Does nothing if the task has ended.
    ///
    /// # Contexts
    ///
    /// Any but NMI.
    pub fn abort(&self) {
        self.abort_handle().abort();
    }

    /// Returns a handle that can only [`abort`](Self::abort) the task. It can be copied, and may
    /// outlive the task.
    ///
    /// # Examples
    ///
    /// ```
    /// use core::time::Duration;
    /// use dormir::{
    ///     block_on, executor::{AbortHandle, Executor, Shared, Up64}, platform::host, time::Timer,
    /// };
    ///
    /// dormir::tasks! {
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
    /// host::init();
    /// let mut runner = EXECUTOR.enter()?;
    /// let handle = runner.spawner().spawn(forever())?;
    /// runner.spawner().spawn_detached(limit(handle.abort_handle()))?;
    /// runner.run(host::Skip);
    /// assert!(block_on(handle, host::Skip).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn abort_handle(&self) -> AbortHandle {
        AbortHandle(self.task.map(|(task, _)| (task, task.task_number())))
    }

    /// Whether the task has ended, with an output or aborted, so that awaiting the handle does not
    /// wait. After [`abort`](Self::abort) it is `false` until the runner has dropped the future.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.task.is_none_or(|(task, _)| task.has_ended())
    }
}

// The handle moves the output and never pins it.
impl<T> Unpin for JoinHandle<T> {}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, Aborted>;

    /// # Panics
    ///
    /// If it has returned `Ready` before. Also if a task of the same executor passes the handle to
    /// [`block_on`](crate::block_on): the awaited task could never run.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (task, header) = self
            .task
            .expect("a join handle was polled after it had returned the task's end");
        // SAFETY: the task's output is a `T`, and once it has ended `task` is `None`.
        let joined = unsafe { task.join::<T>(header, cx.waker()) };
        if !matches!(joined, Joined::NotYet) {
            self.task = None;
        }
        match joined {
            Joined::NotYet => {
                let handle = ptr::from_ref(&*self).cast();
                if block_on::waits_for_nothing_but(handle, cx.waker()) {
                    current::refuse_deadlock(task);
                }
                Poll::Pending
            }
            Joined::Output(output) => Poll::Ready(Ok(output)),
            Joined::Aborted => Poll::Ready(Err(Aborted)),
        }
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        if let Some((task, header)) = self.task {
            // SAFETY: this is the task's only handle, and it is not used again.
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

/// Aborts a task, and can be copied: see [`JoinHandle::abort_handle`].
///
/// It identifies the task by its slot and its number, which no other task has. Once the task has
/// ended, it does nothing, even if another task has the slot.
///
/// # Examples
///
/// ```
/// use dormir::executor::{Executor, Shared, Up64};
///
/// dormir::tasks! { async fn forever(), pool = 1 { core::future::pending().await } }
///
/// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
///
/// let mut runner = EXECUTOR.enter()?;
/// let first = runner.spawner().spawn(forever())?.abort_handle();
/// runner.run_until_idle();
/// first.abort();
/// runner.run_until_idle();
/// // The next task has the same slot, and is not aborted.
/// runner.spawner().spawn_detached(forever())?;
/// first.abort();
/// assert_eq!(runner.run_until_idle().tasks_left, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
pub struct AbortHandle(Option<(TaskRef, u64)>);

// SAFETY: it can only abort, in a critical section.
unsafe impl Send for AbortHandle {}
// SAFETY: the same.
unsafe impl Sync for AbortHandle {}

impl AbortHandle {
    /// Asks the runner to drop the task's future: see [`JoinHandle::abort`].
    ///
    /// # Contexts
    ///
    /// Any but NMI.
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

/// The error of a [`JoinHandle`]: the task has ended without an output. It was aborted, its runner
/// was dropped, or (where panics unwind) its future panicked.
///
/// # Examples
///
/// ```
/// use dormir::{block_on, executor::{Executor, Shared, Up64}, platform::host};
///
/// dormir::tasks! { async fn forever(), pool = 1 { core::future::pending().await } }
///
/// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
///
/// let runner = EXECUTOR.enter()?;
/// let handle = runner.spawner().spawn(forever())?;
/// drop(runner);
/// let aborted = block_on(handle, host::Skip).expect_err("its runner was dropped");
/// println!("{aborted}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Aborted;

impl fmt::Display for Aborted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the task ended without an output: it was aborted, its runner was dropped, or it \
             panicked",
        )
    }
}

impl core::error::Error for Aborted {}
