//! The deadlines of wakers that have no entry of their own.

use core::{
    cell::{Cell, RefCell},
    ptr,
    sync::atomic::{AtomicU64, Ordering},
    task::{RawWaker, RawWakerVTable, Waker},
};

use critical_section::{CriticalSection, Mutex};

use super::slot::Slot;
use crate::time::{Instant, TimerQueue};

/// `N` wakers, each with its earliest deadline.
///
/// The wakers are kept here and not in the queue's nodes: the nodes have [wakers](WAKE_ENTRY) of their
/// entries. So foreign code (a waker's clone, wake and drop) runs outside of critical sections, and an entry
/// can give its waker back when another one takes its place.
pub(super) struct Table<const N: usize> {
    entries: [Entry; N],
    /// For wakers without data. They are few (`block_on`'s is one), and a task with many wakers does not
    /// disturb them.
    one_more: Entry,
    /// Which entry gives way next, when all are taken.
    turn: Mutex<Cell<usize>>,
    early_wakes: AtomicU64,
}

struct Entry {
    slot: Slot,
    /// `None` in a free entry.
    waker: Mutex<RefCell<Option<Kept>>>,
}

/// A waker's clone, and the functions of the waker: the clone may have another copy of them.
struct Kept {
    clone: Waker,
    functions: &'static RawWakerVTable,
}

impl Kept {
    fn new(waker: &Waker) -> Self {
        Self {
            clone: waker.clone(),
            functions: waker.vtable(),
        }
    }

    /// Whether it would wake the same. The data's address means the same as long as a clone has it, so it must
    /// be the clone's; the functions may be the first waker's too.
    fn will_wake(&self, other: &Waker) -> bool {
        self.clone.data() == other.data()
            && (ptr::eq(self.clone.vtable(), other.vtable())
                || ptr::eq(self.functions, other.vtable()))
    }
}

impl Entry {
    const fn new() -> Self {
        Self {
            slot: Slot::new(),
            waker: Mutex::new(RefCell::new(None)),
        }
    }

    fn replace(&self, waker: Option<Kept>, cs: CriticalSection<'_>) -> Option<Kept> {
        self.waker.borrow(cs).replace(waker)
    }

    fn has(&self, waker: &Waker, cs: CriticalSection<'_>) -> bool {
        let own = self.waker.borrow_ref(cs);
        own.as_ref().is_some_and(|own| own.will_wake(waker))
    }

    fn is_free(&self, cs: CriticalSection<'_>) -> bool {
        self.waker.borrow_ref(cs).is_none()
    }

    /// Has the entry's waker be woken at `deadline`, unless it is to be woken earlier.
    ///
    /// # Safety
    ///
    /// All calls for one entry are with the same queue.
    unsafe fn schedule(&'static self, queue: &TimerQueue, deadline: Instant) {
        // SAFETY: the data pointer is what the functions expect, and they may be called anywhere.
        let waker = unsafe { Waker::new(ptr::from_ref(self).cast(), &WAKE_ENTRY) };
        // SAFETY: as the caller says; such a waker is cloned and dropped without any effect.
        unsafe { self.slot.schedule(queue, deadline, &waker) };
    }
}

/// The wakers that the queue knows: their data pointers are entries, which are static.
static WAKE_ENTRY: RawWakerVTable = RawWakerVTable::new(
    |entry| RawWaker::new(entry, &WAKE_ENTRY),
    wake_entry,
    wake_entry,
    |_| (),
);

/// Wakes the waker in an entry, which is free from then on.
///
/// # Safety
///
/// `entry` is the address of a static [`Entry`].
unsafe fn wake_entry(entry: *const ()) {
    // SAFETY: as the caller says.
    let entry = unsafe { &*entry.cast::<Entry>() };
    if let Some(kept) = critical_section::with(|cs| entry.replace(None, cs)) {
        kept.clone.wake();
    }
}

impl<const N: usize> Table<N> {
    pub(super) const fn new() -> Self {
        assert!(N > 0, "an entry can give way");
        Self {
            entries: [const { Entry::new() }; N],
            one_more: Entry::new(),
            turn: Mutex::new(Cell::new(0)),
            early_wakes: AtomicU64::new(0),
        }
    }

    /// How often an entry gave way.
    pub(super) fn early_wakes(&self) -> u64 {
        self.early_wakes.load(Ordering::Relaxed)
    }

    /// Has `waker` be woken at `deadline` or earlier.
    ///
    /// # Safety
    ///
    /// All calls for one table are with the same queue.
    pub(super) unsafe fn schedule(
        &'static self,
        queue: &TimerQueue,
        deadline: Instant,
        waker: &Waker,
    ) {
        let kept = Kept::new(waker);
        let (unused, gave_way) = critical_section::with(|cs| {
            let (entry, left) = match self.find(waker, cs) {
                Found::Same(entry) => (entry, (Some(kept), None)),
                Found::Other(entry) => {
                    // What it waited for is not the new waker's.
                    // SAFETY: as the caller says.
                    unsafe { entry.slot.clear(queue) };
                    (entry, (None, entry.replace(Some(kept), cs)))
                }
            };
            // SAFETY: the same.
            unsafe { entry.schedule(queue, deadline) };
            left
        });
        drop(unused);
        if let Some(kept) = gave_way {
            kept.clone.wake();
        }
    }

    /// The entry of this waker, or else one that is free, or else the one whose turn it is to give way.
    fn find(&'static self, waker: &Waker, cs: CriticalSection<'_>) -> Found {
        let one_more = waker.data().is_null().then_some(&self.one_more);
        let mut free = None;
        for entry in one_more.into_iter().chain(&self.entries) {
            if entry.has(waker, cs) {
                return Found::Same(entry);
            }
            if free.is_none() && entry.is_free(cs) {
                free = Some(entry);
            }
        }
        Found::Other(free.unwrap_or_else(|| {
            let turn = self.turn.borrow(cs);
            let entry = &self.entries[turn.get()];
            turn.set((turn.get() + 1) % N);
            let count = self.early_wakes.load(Ordering::Relaxed);
            self.early_wakes.store(count + 1, Ordering::Relaxed);
            entry
        }))
    }
}

enum Found {
    /// It has that waker.
    Same(&'static Entry),
    /// It is free, or has another one.
    Other(&'static Entry),
}
