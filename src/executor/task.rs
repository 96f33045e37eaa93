//! A task's memory: its header, and behind it the future, or the output once the task has ended.

use core::{
    cell::UnsafeCell,
    fmt,
    future::Future,
    marker::PhantomData,
    mem::{self, ManuallyDrop, MaybeUninit},
    pin::Pin,
    ptr::NonNull,
    task::{Context, Poll, RawWakerVTable, Waker},
};

use super::{
    header::{Header, Memory, TaskVTable},
    lifecycle::{Completion, Unwound},
    task_ref::TaskRef,
};

/// A header, with room for the future and afterwards for the output.
#[repr(C)]
pub(crate) struct TaskCell<F: Future> {
    header: Header,
    body: UnsafeCell<MaybeUninit<Body<F>>>,
}

#[repr(C)]
union Body<F: Future> {
    future: ManuallyDrop<F>,
    output: ManuallyDrop<F::Output>,
}

impl TaskVTable {
    /// The functions of tasks with futures of type `F`.
    pub(super) const fn new<F: Future>(memory: Memory, name: fn() -> &'static str) -> Self {
        Self {
            memory,
            poll: poll::<F>,
            cancel: cancel::<F>,
            drop_output: drop_output::<F>,
            output_offset: mem::offset_of!(TaskCell<F>, body),
            output_needs_drop: mem::needs_drop::<F::Output>(),
            name,
        }
    }
}

impl<F: Future> TaskCell<F> {
    /// Makes a task in memory that was claimed for it.
    ///
    /// # Safety
    ///
    /// `header` was claimed for a task with this vtable, whose future is `F`, and nothing lies
    /// there yet.
    #[inline(always)]
    pub(super) unsafe fn fill(header: NonNull<Header>, vtable: &'static TaskVTable, future: F) {
        // SAFETY: the cell was claimed for this future.
        let body = unsafe { Self::body(header) };
        // SAFETY: the body has room for the future, and nothing lies there yet.
        unsafe { body.cast::<F>().write(future) };
        // SAFETY: only the caller uses the cell.
        unsafe { Header::write(header, vtable) };
    }

    /// Where future and output lie.
    ///
    /// # Safety
    ///
    /// `header` is that of a `TaskCell<F>`.
    #[inline(always)]
    unsafe fn body(header: NonNull<Header>) -> NonNull<Body<F>> {
        // SAFETY: `body` lies in the same cell.
        unsafe { header.byte_add(mem::offset_of!(Self, body)) }.cast()
    }
}

/// # Safety
///
/// `header` is that of a `TaskCell<F>` whose future has not ended, and is in the slot `task`. The
/// caller is the runner, and `wakers` are its executor's.
pub(crate) unsafe fn poll<F: Future>(
    header: NonNull<Header>,
    task: TaskRef,
    wakers: &'static RawWakerVTable,
) {
    // SAFETY: the caller guarantees that it is the header of such a cell.
    let body = unsafe { TaskCell::<F>::body(header) };
    let mut future = body.cast::<F>();
    // SAFETY: the executor's functions keep the contract of wakers. Dropping it would do nothing.
    let waker = ManuallyDrop::new(unsafe { Waker::new(task.data(), wakers) });
    // If the poll unwinds, these two drop the future and end the task.
    let unwound = Unwound(task, header);
    let drop_future = DropFuture(future);
    // SAFETY: the future is in place, and nothing else uses it during the poll.
    let reference = unsafe { future.as_mut() };
    // SAFETY: it stays where it is until it is dropped.
    let pinned = unsafe { Pin::new_unchecked(reference) };
    let polled = pinned.poll(&mut Context::from_waker(&waker));
    mem::forget(drop_future);
    let Poll::Ready(output) = polled else {
        mem::forget(unwound);
        return;
    };
    // SAFETY: the future has ended, and is not polled again.
    unsafe { future.drop_in_place() };
    // SAFETY: the future is gone, and the body has room for the output.
    unsafe { body.cast::<F::Output>().write(output) };
    mem::forget(unwound);
    task.complete(header, Completion::Output);
}

/// Drops the future of a poll that unwinds.
struct DropFuture<F>(NonNull<F>);

impl<F> Drop for DropFuture<F> {
    fn drop(&mut self) {
        // SAFETY: `poll` makes it for a future in place, and forgets it unless the poll unwinds.
        unsafe { self.0.drop_in_place() };
    }
}

/// # Safety
///
/// As [`poll`].
unsafe fn cancel<F: Future>(
    header: NonNull<Header>,
    task: TaskRef,
    _wakers: &'static RawWakerVTable,
) {
    let unwound = Unwound(task, header);
    // SAFETY: the caller guarantees that it is the header of such a cell.
    let body = unsafe { TaskCell::<F>::body(header) };
    // SAFETY: the future is in place, and only the runner uses it.
    unsafe { body.cast::<F>().drop_in_place() };
    mem::forget(unwound);
    task.complete(header, Completion::Aborted);
}

/// # Safety
///
/// `header` is that of a `TaskCell<F>` that holds its output, which is not used again.
unsafe fn drop_output<F: Future>(header: NonNull<Header>) {
    // SAFETY: the caller guarantees that it is the header of such a cell.
    let body = unsafe { TaskCell::<F>::body(header) };
    // SAFETY: the caller guarantees that the output is in place, and is not used again.
    unsafe { body.cast::<F::Output>().drop_in_place() };
}

/// A future that can be [spawned](super::Spawner::spawn): what a function of
/// [`tasks!`](crate::tasks) returns, or `Task::boxed` (feature `alloc`).
///
/// It does nothing until it is spawned, and takes no memory in its pool until then. A task may also
/// be awaited without being spawned: then it needs neither executor nor pool.
///
/// # Examples
///
/// ```
/// use dormir::{block_on, executor::{Executor, Shared, Task, Up64}, platform::host};
///
/// dormir::tasks! { async fn square(n: u32) -> u32, pool = 2 { n * n } }
///
/// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
///
/// let task: Task<_> = square(7);
/// let mut runner = EXECUTOR.enter()?;
/// let handle = runner.spawner().spawn(task)?;
/// runner.run(host::Skip);
/// assert_eq!(block_on(handle, host::Skip), Ok(49));
///
/// // Without an executor:
/// assert_eq!(block_on(square(8).into_future(), host::Skip), 64);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a task does nothing until it is spawned or awaited"]
pub struct Task<F> {
    pub(super) future: F,
    pub(super) vtable: &'static TaskVTable,
    /// `vtable` was made for futures of exactly this type. A subtype or a supertype may have
    /// another implementation of `Future`, with another output, so a task must not be converted to
    /// one of those.
    invariant: PhantomData<fn(F) -> F>,
}

impl<F> Task<F> {
    /// # Safety
    ///
    /// `vtable` was made for futures of type `F`.
    #[doc(hidden)]
    pub const unsafe fn new(vtable: &'static TaskVTable, future: F) -> Self {
        Self {
            future,
            vtable,
            invariant: PhantomData,
        }
    }
}

/// Returns the future alone, which needs neither executor nor pool.
impl<F: Future> IntoFuture for Task<F> {
    type Output = F::Output;
    type IntoFuture = F;

    fn into_future(self) -> F {
        self.future
    }
}

impl<F> fmt::Debug for Task<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Task").field(&(self.vtable.name)()).finish()
    }
}
