//! A task's memory: a header, and behind it the future, or its output once it has ended.

use core::{
    cell::{Cell, UnsafeCell},
    future::{Future, Ready},
    marker::PhantomData,
    mem::{self, ManuallyDrop, MaybeUninit},
    pin::Pin,
    ptr::{self, NonNull},
    task::{Context, Poll, RawWakerVTable, Waker},
};

use critical_section::{CriticalSection, Mutex};

use super::{lifecycle::Unwound, place::TaskRef, pool::PoolRef};
use crate::sync::{
    atomic::{AtomicPtr, Ordering},
    const_new,
};

/// What the runner is to do with a task when it next visits it: the task's state, as a function.
///
/// It is one of its [`TaskType`]'s, or [`nothing`].
type Visit = unsafe fn(NonNull<Header>, TaskRef, &'static RawWakerVTable);

/// What has become of a task that was visited and does not wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It has ended; the output lies where the future lay.
    Ended,
    /// Its future was dropped.
    Aborted,
    /// Its output was dropped, long after its end.
    Over,
}

/// Where tasks of a type lie, and what gives the memory of one back. That is called once nobody uses it any
/// more, and what lay there was dropped.
pub(super) enum Memory {
    Pool(
        PoolRef,
        unsafe fn(&PoolRef, NonNull<Header>, CriticalSection<'_>),
    ),
    Heap(unsafe fn(NonNull<Header>)),
}

/// What is known of a task without knowing its future. It lies in front of the future.
#[repr(C)]
pub(crate) struct Header {
    /// A [`Visit`]. Changed in critical sections; read by the runner.
    visit: AtomicPtr<()>,
    kind: &'static TaskType,
    /// Who awaits the end.
    pub(crate) joiner: Mutex<Cell<Option<Waker>>>,
}

/// What stands in a place whose task is over: a stale wake has the runner visit it, to no effect.
pub(crate) fn nobody() -> *mut Header {
    #[cfg(not(all(test, loom)))]
    static NOBODY: Header = Header::nobody();
    #[cfg(all(test, loom))]
    loom::lazy_static! {
        static ref NOBODY: Header = Header::nobody();
    }
    ptr::from_ref::<Header>(&NOBODY).cast_mut()
}

/// A header with room for the future and, after it, for the output.
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

/// What can be done with a task of one type: the functions know its future, their caller does not.
#[doc(hidden)]
pub struct TaskType {
    pub(super) memory: Memory,
    /// Visits a task that goes on.
    poll: Visit,
    /// Visits a task that was aborted.
    cancel: Visit,
    /// Visits a task that ended, and whose output nobody took.
    discard: Visit,
    pub(super) drop_output: unsafe fn(NonNull<Header>),
    /// Where the output lies, in bytes behind the header's start.
    pub(super) output_offset: usize,
    /// Whether dropping an output does anything.
    pub(super) output_needs_drop: bool,
    pub(super) name: fn() -> &'static str,
}

// SAFETY: functions, numbers, and the address of a pool that is itself `Sync`.
unsafe impl Sync for TaskType {}

impl TaskType {
    /// The type of tasks with future `F`.
    pub(super) const fn new<F: Future>(memory: Memory, name: fn() -> &'static str) -> Self {
        Self {
            memory,
            poll: poll::<F>,
            cancel: cancel::<F>,
            discard: discard::<F>,
            drop_output: drop_output::<F>,
            output_offset: mem::offset_of!(TaskCell<F>, body),
            output_needs_drop: mem::needs_drop::<F::Output>(),
            name,
        }
    }
}

impl Header {
    const_new! {
        /// The header of a task that is about to begin.
        fn begin(kind: &'static TaskType) -> Self {
            Self {
                visit: AtomicPtr::new(kind.poll as *mut ()),
                kind,
                joiner: Mutex::new(Cell::new(None)),
            }
        }

        fn nobody() -> Self {
            const KIND: &TaskType = &TaskType {
                // All places that are free share this header.
                cancel: nothing,
                discard: nothing,
                ..TaskType::new::<Ready<()>>(Memory::Heap(keep), || "nobody")
            };
            Self {
                visit: AtomicPtr::new(nothing as *mut ()),
                kind: KIND,
                joiner: Mutex::new(Cell::new(None)),
            }
        }
    }

    /// The task's type.
    #[inline(always)]
    pub(crate) fn kind(&self) -> &'static TaskType {
        self.kind
    }

    /// What the runner is to do with the task.
    #[inline(always)]
    pub(crate) fn visit(&self) -> Visit {
        let visit = self.visit.load(Ordering::Acquire);
        // SAFETY: nothing else than functions of that type is stored while a place has the task.
        unsafe { mem::transmute::<*mut (), Visit>(visit) }
    }

    /// Keeps the address of another header where the function of the next visit was, of a task that has ended
    /// and is in no place: it is not visited again.
    pub(super) fn set_next(&self, next: Option<NonNull<Self>>) {
        let next = next.map_or(ptr::null_mut(), NonNull::as_ptr);
        self.visit.store(next.cast(), Ordering::Relaxed);
    }

    /// That address.
    pub(super) fn next(&self) -> Option<NonNull<Self>> {
        NonNull::new(self.visit.load(Ordering::Relaxed).cast())
    }

    /// Has loom fail where a use of the header is not ordered before this, or comes after.
    #[cfg(all(test, loom))]
    pub(super) fn assert_unused(&mut self) {
        self.visit.with_mut(|_| ());
    }

    /// Has the runner drop the future when it next visits the task.
    pub(crate) fn cancel(&self, _cs: CriticalSection<'_>) {
        let cancel = self.kind.cancel as *mut ();
        self.visit.store(cancel, Ordering::Release);
    }

    /// Has the runner drop the output when it next visits the task.
    pub(crate) fn discard(&self, _cs: CriticalSection<'_>) {
        let discard = self.kind.discard as *mut ();
        self.visit.store(discard, Ordering::Release);
    }
}

impl<F: Future> TaskCell<F> {
    /// Makes a task of memory that was claimed for it.
    ///
    /// # Safety
    ///
    /// `header` was claimed for a task of type `kind`, whose future is `F`, and nothing lies there yet.
    #[inline(always)]
    pub(super) unsafe fn fill(header: NonNull<Header>, kind: &'static TaskType, future: F) {
        // SAFETY: the caller's cell is one for this future.
        let body = unsafe { Self::body(header) };
        // SAFETY: the same, and nothing lies there yet.
        unsafe { body.cast::<F>().write(future) };
        // SAFETY: it is the caller's alone.
        unsafe { header.write(Header::begin(kind)) };
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
/// `header` is that of a `TaskCell<F>` whose future has not ended, and stands in the place `task`; the
/// caller is the runner, and `wakers` are its executor's.
unsafe fn poll<F: Future>(header: NonNull<Header>, task: TaskRef, wakers: &'static RawWakerVTable) {
    // SAFETY: it is the header of such a cell.
    let body = unsafe { TaskCell::<F>::body(header) };
    let mut future = body.cast::<F>();
    // SAFETY: the executor's functions keep the contract of wakers. Dropping it would do nothing.
    let waker = ManuallyDrop::new(unsafe { Waker::new(task.data(), wakers) });
    // Where the poll unwinds, the future is dropped then and there, and the task is over.
    let unwound = Unwound(task, header);
    let drop_future = DropFuture(future);
    // SAFETY: the future is in place, and ours for the poll.
    let reference = unsafe { future.as_mut() };
    // SAFETY: it stays where it is until it is dropped.
    let pinned = unsafe { Pin::new_unchecked(reference) };
    let polled = pinned.poll(&mut Context::from_waker(&waker));
    mem::forget(drop_future);
    let Poll::Ready(output) = polled else {
        mem::forget(unwound);
        return;
    };
    // SAFETY: it has ended, and nobody polls it again.
    unsafe { future.drop_in_place() };
    // SAFETY: the room is the output's from here on.
    unsafe { body.cast::<F::Output>().write(output) };
    mem::forget(unwound);
    task.conclude(header, Verdict::Ended);
}

/// Drops a future when it goes.
struct DropFuture<F>(NonNull<F>);

impl<F> Drop for DropFuture<F> {
    fn drop(&mut self) {
        // SAFETY: `poll` makes it for a future in place, and forgets it where the future goes on.
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
    // SAFETY: it is the header of such a cell.
    let body = unsafe { TaskCell::<F>::body(header) };
    // SAFETY: the future is in place and ours.
    unsafe { body.cast::<F>().drop_in_place() };
    mem::forget(unwound);
    task.conclude(header, Verdict::Aborted);
}

/// # Safety
///
/// `header` is that of a `TaskCell<F>` that holds its output, which nobody else uses, and stands in the
/// place `task`; the caller is the runner.
unsafe fn discard<F: Future>(
    header: NonNull<Header>,
    task: TaskRef,
    _wakers: &'static RawWakerVTable,
) {
    let unwound = Unwound(task, header);
    // SAFETY: it is the header of such a cell.
    unsafe { drop_output::<F>(header) };
    mem::forget(unwound);
    task.conclude(header, Verdict::Over);
}

/// # Safety
///
/// `header` is that of a `TaskCell<F>` that holds its output, which nobody uses again.
unsafe fn drop_output<F: Future>(header: NonNull<Header>) {
    // SAFETY: it is the header of such a cell.
    let body = unsafe { TaskCell::<F>::body(header) };
    // SAFETY: the output is in place and ours.
    unsafe { body.cast::<F::Output>().drop_in_place() };
}

/// The visit of [`nobody`].
///
/// # Safety
///
/// None is needed.
unsafe fn nothing(_: NonNull<Header>, _: TaskRef, _: &'static RawWakerVTable) {}

/// # Safety
///
/// None is needed: it is never called, since nobody gives [`nobody`] back.
unsafe fn keep(_header: NonNull<Header>) {}

/// A future with the place that is kept for it: what a function of [`task!`](crate::task) returns, to
/// be [spawned](super::Spawner::spawn).
///
/// It does nothing until it is spawned, and takes no place in its pool until then.
///
/// # Examples
///
/// ```
/// use dormir::executor::{Executor, Shared, Task, Up64};
///
/// dormir::task! { async fn square(n: u32) -> u32, pool = 2 { n * n } }
///
/// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
///
/// # let idle = dormir::platform::host::Skip;
/// let task: Task<_> = square(7);
/// let mut runner = EXECUTOR.enter()?;
/// let handle = runner.spawner().spawn(task)?;
/// runner.run(idle);
/// assert_eq!(dormir::block_on(handle, idle), Ok(49));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a task does nothing until it is spawned"]
pub struct Task<F> {
    pub(super) future: F,
    pub(super) kind: &'static TaskType,
    /// `kind` was made for futures of this very type. A subtype or a supertype of it may have another
    /// implementation of `Future`, with another output: so a task is not converted to one of those.
    invariant: PhantomData<fn(F) -> F>,
}

impl<F> Task<F> {
    /// # Safety
    ///
    /// `kind` was made for futures of type `F`.
    #[doc(hidden)]
    pub const unsafe fn new(kind: &'static TaskType, future: F) -> Self {
        Self {
            future,
            kind,
            invariant: PhantomData,
        }
    }

    /// The future alone.
    ///
    /// # Examples
    ///
    /// Without an executor:
    ///
    /// ```
    /// dormir::task! { async fn square(n: u32) -> u32, pool = 1 { n * n } }
    ///
    /// # let idle = dormir::platform::host::Skip;
    /// assert_eq!(dormir::block_on(square(7).into_future(), idle), 49);
    /// ```
    pub fn into_future(self) -> F {
        self.future
    }
}

impl<F> core::fmt::Debug for Task<F> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("Task").field(&(self.kind.name)()).finish()
    }
}
