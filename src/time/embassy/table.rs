//! The table of wakers that have no slot of their own, and their deadlines.

use core::{
    cell::{Cell, RefCell},
    ptr,
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    task::{RawWaker, RawWakerVTable, Waker},
};

use critical_section::{CriticalSection, Mutex};

use super::{kept::KeptWaker, slot::DeadlineSlot};
use crate::time::{
    Instant, TimerQueue,
    tree::{self, Links, Tree},
};

/// Wakers, each with its earliest deadline.
///
/// The wakers are kept here and not in the queue's nodes, which have [wakers of the
/// entries](WAKE_ENTRY). So foreign code (a waker's clone, wake and drop) runs outside of critical
/// sections, and an entry can return its waker when it is evicted.
///
/// Each critical section is O(log n) steps in the number of entries. (Wakers with the same data and
/// different vtables are neighbours in the tree, and are compared one by one: a program has few
/// such vtables.)
pub(super) struct WakerTable {
    /// The first entries; others are [admitted](Self::admit) later.
    own: &'static [TableEntry],
    /// The taken entries, by the data addresses of their wakers.
    taken: Mutex<Tree<TableEntry>>,
    lists: Mutex<Lists>,
    /// Whether an entry was evicted since the last [look](Self::look).
    is_overfull: AtomicBool,
    early_wakes: AtomicU64,
    most: AtomicUsize,
}

/// The lists of entries.
struct Lists {
    /// How many of the table's own entries were ever used. The others are in no list.
    used: Cell<usize>,
    /// The first free entry.
    free: Cell<Option<&'static TableEntry>>,
    /// A ring of all entries: the one before the next to be evicted.
    last: Cell<Option<&'static TableEntry>>,
    /// The number of entries in the ring, and of taken ones.
    all: Cell<usize>,
    taken: Cell<usize>,
    /// How many were evicted since the last look.
    evicted: Cell<usize>,
}

/// Room for a waker. All fields but the slot are used in critical sections only.
pub(super) struct TableEntry {
    slot: DeadlineSlot,
    links: Links<Self>,
    /// The key of the tree: the data address of its waker. Changes outside of the tree only.
    address: Cell<usize>,
    /// `None` in a free entry.
    waker: RefCell<Option<KeptWaker>>,
    next_free: Cell<Option<&'static Self>>,
    /// The entry to be evicted after this one.
    next: Cell<Option<&'static Self>>,
    /// Set while the entry is taken.
    table: Cell<Option<&'static WakerTable>>,
}

// SAFETY: its cells are used in critical sections only, here and by the tree, which is in a
// `Mutex`. Wakers are `Send`.
unsafe impl Sync for TableEntry {}

impl tree::TreeNode for TableEntry {
    type Key = usize;

    fn key(&self) -> usize {
        self.address.get()
    }

    fn links(&self) -> &Links<Self> {
        &self.links
    }
}

impl TableEntry {
    /// All zero, so that it takes no space in an image.
    pub(super) const fn new() -> Self {
        Self {
            slot: DeadlineSlot::new(),
            links: Links::new(),
            address: Cell::new(0),
            waker: RefCell::new(None),
            next_free: Cell::new(None),
            next: Cell::new(None),
            table: Cell::new(None),
        }
    }

    fn would_wake(&self, waker: &Waker, _cs: CriticalSection<'_>) -> bool {
        let own = self.waker.borrow();
        own.as_ref().is_some_and(|own| own.has_functions_of(waker))
    }

    /// Makes the queue wake the entry's waker at `deadline`, unless the entry has an earlier
    /// deadline.
    ///
    /// # Safety
    ///
    /// All calls for one entry are with the same queue.
    unsafe fn schedule(&'static self, queue: &TimerQueue, deadline: Instant) {
        // SAFETY: the data pointer is what the functions expect, and they may be called anywhere.
        let waker = unsafe { Waker::new(ptr::from_ref(self).cast(), &WAKE_ENTRY) };
        // SAFETY: as the caller promises; cloning and dropping this waker has no effect.
        unsafe { self.slot.schedule(queue, deadline, &waker) };
    }
}

/// The vtable of the queue's wakers. Their data pointers are addresses of static entries.
static WAKE_ENTRY: RawWakerVTable = RawWakerVTable::new(
    |entry| RawWaker::new(entry, &WAKE_ENTRY),
    wake_entry,
    wake_entry,
    |_| (),
);

/// Frees an entry, and wakes its waker.
///
/// # Safety
///
/// `entry` is the address of a static [`TableEntry`].
unsafe fn wake_entry(entry: *const ()) {
    // SAFETY: as the caller promises.
    let entry = unsafe { &*entry.cast::<TableEntry>() };
    let kept = critical_section::with(|cs| entry.table.get()?.free(entry, cs));
    if let Some(kept) = kept {
        kept.wake();
    }
}

/// A waker that is woken on drop, also if the code before that unwinds: the queue may call a hook.
struct WakeOnDrop(Option<KeptWaker>);

impl Drop for WakeOnDrop {
    fn drop(&mut self) {
        if let Some(kept) = self.0.take() {
            kept.wake();
        }
    }
}

impl WakerTable {
    pub(super) const fn new(own: &'static [TableEntry]) -> Self {
        assert!(!own.is_empty(), "there is an entry to evict");
        Self {
            own,
            taken: Mutex::new(Tree::new()),
            lists: Mutex::new(Lists {
                used: Cell::new(0),
                free: Cell::new(None),
                last: Cell::new(None),
                all: Cell::new(0),
                taken: Cell::new(0),
                evicted: Cell::new(0),
            }),
            is_overfull: AtomicBool::new(false),
            early_wakes: AtomicU64::new(0),
            most: AtomicUsize::new(0),
        }
    }

    /// The number of wakers that were woken before their deadlines.
    pub(super) fn early_wakes(&self) -> u64 {
        self.early_wakes.load(Ordering::Relaxed)
    }

    /// The number of entries that would have been enough.
    pub(super) fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    /// Whether an entry was evicted since the last [look](Self::look). It is one load.
    #[inline(always)]
    pub(super) fn is_overfull(&self) -> bool {
        self.is_overfull.load(Ordering::Relaxed)
    }

    /// The same, and resets it.
    pub(super) fn look(&self) -> bool {
        critical_section::with(|cs| {
            self.is_overfull.store(false, Ordering::Relaxed);
            self.lists.borrow(cs).evicted.replace(0) > 0
        })
    }

    /// Makes the queue wake `waker` at `deadline` or earlier.
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
        let (mut kept, mut evicted) = (Some(KeptWaker::new(waker)), WakeOnDrop(None));
        critical_section::with(|cs| {
            let entry = self.find(waker, cs).unwrap_or_else(|| {
                let (entry, old) = self.take(cs);
                evicted.0 = old;
                // The old waker's deadline is not the new one's. SAFETY: as the caller promises.
                unsafe { entry.slot.clear(queue) };
                if let Some(kept) = kept.take() {
                    self.keep(kept, entry, cs);
                }
                entry
            });
            // SAFETY: the same.
            unsafe { entry.schedule(queue, deadline) };
        });
        // A clone that is not kept is dropped, and an evicted waker woken, outside of the section.
    }

    /// The entry of this waker, if it has one.
    fn find(&self, waker: &Waker, cs: CriticalSection<'_>) -> Option<&'static TableEntry> {
        let address = waker.data().addr();
        let taken = self.taken.borrow(cs);
        taken.find(&address, |entry| entry.would_wake(waker, cs))
    }

    /// Puts a waker into an entry that is in the ring only.
    fn keep(&'static self, kept: KeptWaker, entry: &'static TableEntry, cs: CriticalSection<'_>) {
        entry.address.set(kept.address());
        *entry.waker.borrow_mut() = Some(kept);
        entry.table.set(Some(self));
        // SAFETY: the entry is not in the tree: it was free, or the caller has taken it out. It is
        // static, and its key changes only here.
        unsafe { self.taken.borrow(cs).insert(entry) };
        let lists = self.lists.borrow(cs);
        lists.taken.set(lists.taken.get() + 1);
        let most = lists.taken.get() + lists.evicted.get();
        self.most.fetch_max(most, Ordering::Relaxed);
    }

    /// Takes the waker out of a taken entry, which is then in the ring only.
    fn empty(&self, entry: &'static TableEntry, cs: CriticalSection<'_>) -> Option<KeptWaker> {
        let kept = entry.waker.take()?;
        // SAFETY: an entry with a waker is in the tree.
        unsafe { self.taken.borrow(cs).remove(entry) };
        let lists = self.lists.borrow(cs);
        lists.taken.set(lists.taken.get() - 1);
        Some(kept)
    }

    /// Takes the waker out of an entry, and frees that. `None` if it was free.
    fn free(&self, entry: &'static TableEntry, cs: CriticalSection<'_>) -> Option<KeptWaker> {
        let kept = self.empty(entry, cs)?;
        let lists = self.lists.borrow(cs);
        entry.next_free.set(lists.free.replace(Some(entry)));
        Some(kept)
    }

    /// Returns a free entry, or else evicts one and returns it with its waker.
    fn take(&'static self, cs: CriticalSection<'_>) -> (&'static TableEntry, Option<KeptWaker>) {
        let lists = self.lists.borrow(cs);
        if let Some(entry) = lists.free.get() {
            lists.free.set(entry.next_free.take());
            return (entry, None);
        }
        if let Some(entry) = self.own.get(lists.used.get()) {
            lists.used.set(lists.used.get() + 1);
            lists.admit(entry);
            return (entry, None);
        }
        let entry = lists.next_evicted();
        let kept = self.empty(entry, cs);
        self.count_early(cs);
        lists.evicted.set(lists.evicted.get() + 1);
        self.is_overfull.store(true, Ordering::Relaxed);
        (entry, kept)
    }

    fn count_early(&self, _cs: CriticalSection<'_>) {
        let count = self.early_wakes.load(Ordering::Relaxed);
        self.early_wakes.store(count + 1, Ordering::Relaxed);
    }

    /// Adds entries, which were in no table before: one in each critical section.
    pub(super) fn admit(&self, more: &'static [TableEntry]) {
        for entry in more {
            critical_section::with(|cs| {
                let lists = self.lists.borrow(cs);
                lists.admit(entry);
                entry.next_free.set(lists.free.replace(Some(entry)));
            });
        }
    }

    /// The number of entries, without the table's own that were never used.
    #[cfg(feature = "alloc")]
    pub(super) fn entries(&self) -> usize {
        critical_section::with(|cs| self.lists.borrow(cs).all.get())
    }

    /// Evicts every entry, one in each critical section, and frees it.
    ///
    /// # Safety
    ///
    /// As [`schedule`](Self::schedule).
    #[cfg(feature = "alloc")]
    pub(super) unsafe fn evict_all(&self, queue: &TimerQueue) {
        for _ in 0..self.entries() {
            let kept = critical_section::with(|cs| {
                let entry = self.lists.borrow(cs).next_evicted();
                let kept = self.free(entry, cs)?;
                // SAFETY: as the caller promises.
                unsafe { entry.slot.clear(queue) };
                self.count_early(cs);
                Some(kept)
            });
            if let Some(kept) = kept {
                kept.wake();
            }
        }
    }
}

impl Lists {
    /// Puts an entry into the ring, as the last one to be evicted.
    fn admit(&self, entry: &'static TableEntry) {
        let last = self.last.replace(Some(entry)).unwrap_or(entry);
        entry.next.set(Some(last.next.get().unwrap_or(entry)));
        last.next.set(Some(entry));
        self.all.set(self.all.get() + 1);
    }

    /// The next entry to be evicted. It becomes the last.
    fn next_evicted(&self) -> &'static TableEntry {
        let last = self.last.get();
        let Some(turn) = last.and_then(|last| last.next.get()) else {
            unreachable!("an entry is evicted when all are taken, so there is one")
        };
        self.last.set(Some(turn));
        turn
    }
}
