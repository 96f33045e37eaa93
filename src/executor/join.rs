//! What a spawner returns: the handle that awaits or aborts a task.

use core::{
    fmt,
    future::Future,
    marker::PhantomData,
    pin::Pin,
    ptr::{self, NonNull},
    task::{Context, Poll},
};

use super::{block_on, current, header::Header, lifecycle::Joined, task_ref::TaskRef};

/// Awaits the end of a task: its output, or [`Aborted`].
///
/// Dropping the handle detaches the task, which goes on. The task's memory in its pool and its slot
/// in the executor are in use until the handle is awaited to its end or dropped; a handle that is
/// forgotten keeps them permanently.
///
/// # Cancel safety
///
/// A handle may be awaited by reference, given up in between and awaited again: nothing is lost.
///
/// # Contexts
///
/// May be polled and dropped in any context but NMI; on another vCPU only where the program's
/// implementation of `critical-section` keeps vCPUs apart (see [`Shared`](super::Shared)).
///
/// Dropping a handle never drops the task's future, but it drops an output that was not taken, and
/// frees the memory of a boxed task (`Task::boxed`) that has ended, as awaiting its end does. In an
/// interrupt handler that is right only if the output may be dropped, and the allocator used,
/// there.
///
/// # Examples
///
/// ```
/// use dormir::{block_on, executor::{Executor, Shared, Up64}, platform::host};
///
/// dormir::task! { async fn add(a: u32, b: u32) -> u32, pool = 1 { a + b } }
///
/// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
/// let mut runner = EXECUTOR.enter()?;
/// let sum = runner.spawner().spawn(add(2, 3))?;
/// runner.run_until_idle();
/// assert_eq!(block_on(sum, host::Skip), Ok(5));
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
    /// `None` once the handle has returned the end.
    task: Option<(TaskRef, NonNull<Header>)>,
    output: PhantomData<T>,
}

const _: () = assert!(size_of::<JoinHandle<()>>() == block_on::JOIN_HANDLE_SIZE);

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

    /// Asks the runner to drop the task's future in its next pass. Awaiting the handle then returns
    /// [`Aborted`], unless the task has ended before.
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

    /// Whether the task has ended or was aborted, so that awaiting the handle does not wait.
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
    /// If it has returned `Ready` before. If a task of the same executor waits for it, and for
    /// nothing else, by [`block_on`](crate::block_on): the awaited task could never go on.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (task, header) = self.task.expect("a join handle is awaited to its end once");
        // SAFETY: the task's output is a `T`, and after its end the handle forgets the task.
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

/// Aborts a task: see [`JoinHandle::abort_handle`].
///
/// It identifies the task by its slot and its number, which no other task has. Once the task has
/// ended, it does nothing, also where another task has the slot.
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
/// // The next task has the same slot, and is not aborted.
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

/// The task was dropped before it had an output: it was aborted, its poll panicked (where panics
/// unwind), or the runner that it was local to went away.
///
/// # Examples
///
/// ```
/// use dormir::{block_on, executor::{Executor, Shared, Up64}, platform::host};
///
/// dormir::task! { async fn forever(), pool = 1 { core::future::pending().await } }
///
/// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
///
/// let runner = EXECUTOR.enter()?;
/// let handle = runner.spawner().spawn(forever())?;
/// drop(runner);
/// let aborted = block_on(handle, host::Skip).expect_err("its runner is gone");
/// println!("{aborted}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Aborted;

impl fmt::Display for Aborted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the task was dropped before its end: it was aborted, its poll panicked, or its runner is gone")
    }
}

impl core::error::Error for Aborted {}
