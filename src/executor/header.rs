//! A task's header: what an executor knows of a task without knowing the type of its future.
//!
//! The header lies before the future. The function in [`visit`](Header::visit) is the task's state:
//! what the runner does when it next visits the task.
//!
//! ```text
//!             spawn                  Ready                      handle joined or dropped
//!  (no task) ───────► poll ─────────────────────► ended: output ────────────────────────► (no task)
//!                      │  ▲                          ▲
//!                abort │  └── Pending                │ no output
//!                      ▼                             │
//!                    cancel ─────────────────────────┘
//!                           the future is dropped
//! ```
//!
//! `poll` and `cancel` are functions in `visit`. An ended task is not visited: its slot points to
//! [`vacant`], whose visit does nothing, and the task belongs to its join handle. Without a handle,
//! the task is released at its end.

use core::{
    cell::Cell,
    mem,
    ptr::{self, NonNull},
    task::{RawWakerVTable, Waker},
};

use critical_section::{CriticalSection, Mutex};

use super::{free_list::FreeList, task_ref::TaskRef};
use crate::sync::{
    atomic::{AtomicPtr, Ordering},
    const_new,
};

/// What the runner does with a task when it visits it: a function of the task's [`TaskVTable`], or
/// [`ignore`].
pub(super) type Visit = unsafe fn(NonNull<Header>, TaskRef, &'static RawWakerVTable);

/// The header of a task.
#[repr(C)]
pub(crate) struct Header {
    /// A [`Visit`]. Changed in critical sections; read by the runner.
    visit: AtomicPtr<()>,
    vtable: &'static TaskVTable,
    /// The waker that is called at the task's end, from the last poll of the join handle.
    pub(crate) joiner: Mutex<Cell<Option<Waker>>>,
}

/// The functions of tasks whose futures have one type. Their callers need not know that type.
#[doc(hidden)]
pub struct TaskVTable {
    pub(super) memory: Memory,
    /// The visit of a task that was not aborted.
    pub(super) poll: Visit,
    /// The visit of a task that was aborted.
    pub(super) cancel: Visit,
    pub(super) drop_output: unsafe fn(NonNull<Header>),
    /// Where the output lies, in bytes from the start of the header.
    pub(super) output_offset: usize,
    /// Whether dropping an output does anything.
    pub(super) output_needs_drop: bool,
    pub(super) name: fn() -> &'static str,
}

// SAFETY: it holds functions, numbers and the address of a pool, which is `Sync`.
unsafe impl Sync for TaskVTable {}

impl core::fmt::Debug for TaskVTable {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("TaskVTable").field(&(self.name)()).finish()
    }
}

/// Where tasks lie, and the function that gives back the memory of one. It is called once nothing
/// uses the memory any more and its contents were dropped.
pub(super) enum Memory {
    Pool(
        PoolRef,
        unsafe fn(&PoolRef, NonNull<Header>, CriticalSection<'_>),
    ),
    Heap(unsafe fn(NonNull<Header>)),
}

/// A pool of task memory: see [`pool`](super::pool).
pub(super) struct PoolRef {
    pub(super) free: &'static Mutex<Cell<FreeList>>,
    pub(super) cells: *mut (),
    pub(super) count: u32,
}

impl Header {
    const_new! {
        /// The header of a task that has not been polled.
        fn new(vtable: &'static TaskVTable) -> Self {
            Self {
                visit: AtomicPtr::new(vtable.poll as *mut ()),
                vtable,
                joiner: Mutex::new(Cell::new(None)),
            }
        }
    }

    /// Writes the header of a task that has not been polled.
    ///
    /// # Safety
    ///
    /// `header` points to memory for a task with this vtable, and only the caller uses it.
    #[inline(always)]
    pub(super) unsafe fn write(header: NonNull<Self>, vtable: &'static TaskVTable) {
        // SAFETY: the caller guarantees that the memory is for a task, and that nothing else uses
        // it.
        unsafe { header.write(Self::new(vtable)) };
    }

    /// The functions of the task's type.
    #[inline(always)]
    pub(crate) fn vtable(&self) -> &'static TaskVTable {
        self.vtable
    }

    /// What the runner does at its next visit.
    #[inline(always)]
    pub(crate) fn visit(&self) -> Visit {
        let visit = self.visit.load(Ordering::Acquire);
        // SAFETY: only functions of that type are stored while a slot points to the task.
        unsafe { mem::transmute::<*mut (), Visit>(visit) }
    }

    /// Makes the runner drop the future at its next visit.
    pub(crate) fn cancel(&self, _cs: CriticalSection<'_>) {
        let cancel = self.vtable.cancel as *mut ();
        self.visit.store(cancel, Ordering::Release);
    }

    /// Stores the address of another header, instead of the visit: the task has ended, and is not
    /// visited again.
    pub(super) fn set_next(&self, next: Option<NonNull<Self>>) {
        let next = next.map_or(ptr::null_mut(), NonNull::as_ptr);
        self.visit.store(next.cast(), Ordering::Relaxed);
    }

    /// The address that [`set_next`](Self::set_next) stored.
    pub(super) fn next(&self) -> Option<NonNull<Self>> {
        NonNull::new(self.visit.load(Ordering::Relaxed).cast())
    }

    /// Makes loom fail if some use of the header is not ordered before this call.
    #[cfg(all(test, loom))]
    pub(super) fn assert_unused(&mut self) {
        self.visit.with_mut(|_| ());
    }
}

/// The header that a slot without a live task points to: the visit that follows a stale wake does
/// nothing. Slots that were never used point to null.
pub(crate) fn vacant() -> *mut Header {
    const VTABLE: &TaskVTable = &TaskVTable {
        memory: Memory::Heap(keep),
        poll: ignore,
        cancel: ignore,
        drop_output: keep,
        output_offset: 0,
        output_needs_drop: false,
        name: || "vacant",
    };
    #[cfg(not(all(test, loom)))]
    static VACANT: Header = Header::new(VTABLE);
    #[cfg(all(test, loom))]
    loom::lazy_static! {
        static ref VACANT: Header = Header::new(VTABLE);
    }
    ptr::from_ref::<Header>(&VACANT).cast_mut()
}

/// The visit of [`vacant`].
///
/// # Safety
///
/// None.
unsafe fn ignore(_: NonNull<Header>, _: TaskRef, _: &'static RawWakerVTable) {}

/// Stands for functions that are never called, since [`vacant`] is never released.
///
/// # Safety
///
/// None.
unsafe fn keep(_: NonNull<Header>) {}
