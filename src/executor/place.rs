//! The tasks' places in an executor.
//!
//! A place is free, or live (its future is there), or ended (its output is there, and somebody may still
//! want it).

use core::ptr::{self, NonNull};

use critical_section::CriticalSection;

#[cfg(feature = "metrics")]
use super::metrics::TaskCounters;
use super::{
    book::Book,
    ready::{BITS, Place},
    task::{Header, nobody},
};
use crate::sync::{
    atomic::{AtomicPtr, AtomicU64, Ordering},
    const_new,
};
#[cfg(feature = "embassy-time")]
use crate::time::embassy::Slot;

/// The places of the 64 tasks of a block.
pub struct Places {
    /// The task of each. Not live: [`nobody`](super::task::nobody), or what is left to the runner to drop.
    pub(super) tasks: [AtomicPtr<Header>; BITS as usize],
    /// Of a place that is taken: the flags below, and from [`NUMBER`] up the number of its task. Of a free
    /// one: from there up the free list's link.
    pub(super) marks: [AtomicU64; BITS as usize],
    /// The executor's book, which [`Book::open`] writes.
    pub(super) book: AtomicPtr<Book>,
    #[cfg(feature = "metrics")]
    pub(super) counters: TaskCounters,
    #[cfg(feature = "embassy-time")]
    slots: [Slot; BITS as usize],
}

/// The future is there.
pub(super) const LIVE: u64 = 1;
/// The task is over, and the output is there unless it was aborted.
pub(super) const ENDED: u64 = 1 << 1;
/// There is no output.
pub(super) const ABORTED: u64 = 1 << 2;
/// There is a join handle.
pub(super) const JOINABLE: u64 = 1 << 3;
/// The future may be polled and dropped only where the runner is that was there when it was spawned.
pub(super) const LOCAL: u64 = 1 << 4;
/// The runner of a local task is gone; what is left is the handle's.
pub(super) const ALONE: u64 = 1 << 5;
/// The lowest bit of the task's number. The 58 bits from there up do not overflow: at a thousand million
/// spawns a second that would take nine years.
pub(super) const NUMBER: u32 = 6;

impl Places {
    const_new! {
        /// All are free.
        pub(crate) fn new() -> Self {
            #[cfg(not(all(test, loom)))]
            return Self {
                tasks: [const { AtomicPtr::new(ptr::null_mut()) }; BITS as usize],
                marks: [const { AtomicU64::new(0) }; BITS as usize],
                book: AtomicPtr::new(ptr::null_mut()),
                #[cfg(feature = "metrics")]
                counters: TaskCounters::new(),
                #[cfg(feature = "embassy-time")]
                slots: [const { Slot::new() }; BITS as usize],
            };
            #[cfg(all(test, loom))]
            return Self {
                tasks: core::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
                marks: core::array::from_fn(|_| AtomicU64::new(0)),
                book: AtomicPtr::new(ptr::null_mut()),
                #[cfg(feature = "metrics")]
                counters: TaskCounters::new(),
                #[cfg(feature = "embassy-time")]
                slots: [const { Slot::new() }; BITS as usize],
            };
        }
    }

    /// The task in a place whose bit was set.
    ///
    /// # Safety
    ///
    /// `bit` is below 64, and of a place that was taken at least once.
    #[inline(always)]
    pub(crate) unsafe fn task(&self, bit: u32) -> NonNull<Header> {
        // SAFETY: there are 64.
        let task = unsafe { self.tasks.get_unchecked(bit as usize) };
        // SAFETY: from the first task on it is never null.
        unsafe { NonNull::new_unchecked(task.load(Ordering::Acquire)) }
    }
}

/// A task, by its place.
pub(crate) type TaskRef = Place<Places>;

impl TaskRef {
    #[inline(always)]
    pub(super) fn task(self) -> &'static AtomicPtr<Header> {
        &self.block().places.tasks[self.bit() as usize]
    }

    #[inline(always)]
    pub(super) fn mark(self) -> &'static AtomicU64 {
        &self.block().places.marks[self.bit() as usize]
    }

    /// The earliest deadline that its embassy timers asked for.
    #[cfg(feature = "embassy-time")]
    pub(super) fn slot(self) -> &'static Slot {
        &self.block().places.slots[self.bit() as usize]
    }

    /// The task of a place that is live. There is none from the moment in which the place is claimed until
    /// its task begins.
    ///
    /// Within the section it is valid: the runner takes it out of a live place in a section of its own.
    pub(super) fn live_task(self, _cs: CriticalSection<'_>) -> Option<NonNull<Header>> {
        if self.mark().load(Ordering::Relaxed) & LIVE == 0 {
            return None;
        }
        // Null if the place was never used.
        let header = self.task().load(Ordering::Relaxed);
        NonNull::new(header).filter(|header| header.as_ptr() != nobody())
    }

    /// The executor's book.
    pub(crate) fn book(self) -> &'static Book {
        let book = self.block().places.book.load(Ordering::Relaxed);
        // SAFETY: `open` has written it before any place was given out.
        unsafe { &*book }
    }
}
