//! The deadlines of wakers that have no entry of their own.

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
/// The wakers are kept here and not in the queue's nodes: the nodes have [wakers](WAKE_ENTRY) of their
/// entries. So foreign code (a waker's clone, wake and drop) runs outside of critical sections, and an entry
/// can give its waker back when another one takes its place.
///
/// Each section is O(log n) steps in the number of entries. (Wakers with the same data and other
/// functions come one after the other in the tree, and are looked at one by one: a program has few
/// such functions.)
pub(super) struct WakerTable {
    /// The first entries; others are [admitted](Self::admit) later.
    own: &'static [TableEntry],
    /// The entries that are taken, by the addresses of their wakers' data.
    taken: Mutex<Tree<TableEntry>>,
    lists: Mutex<Lists>,
    /// Whether an entry gave way since the last [look](Self::look).
    is_overfull: AtomicBool,
    early_wakes: AtomicU64,
    most: AtomicUsize,
}

/// Which entries there are.
struct Lists {
    /// How many of the table's own were used. The others are in none of the lists.
    used: Cell<usize>,
    /// The first of those that are free.
    free: Cell<Option<&'static TableEntry>>,
    /// All of them, in a ring: the one before the one that gives way next.
    last: Cell<Option<&'static TableEntry>>,
    /// How many are in the ring, and how many are taken.
    all: Cell<usize>,
    taken: Cell<usize>,
    /// How many gave way since the last look.
    gave_way: Cell<usize>,
}

/// Room for a waker. What is not a slot or a tree's is used in critical sections only: the
/// functions that do have the section's token.
pub(super) struct TableEntry {
    slot: DeadlineSlot,
    links: Links<Self>,
    /// The address by which its waker is found. It changes outside of the tree only.
    address: Cell<usize>,
    /// `None` in a free entry.
    waker: RefCell<Option<KeptWaker>>,
    next_free: Cell<Option<&'static Self>>,
    /// The one that gives way after it.
    next: Cell<Option<&'static Self>>,
    /// There while it is taken.
    table: Cell<Option<&'static WakerTable>>,
}

// SAFETY: what it holds in cells is used in critical sections only, here and by the tree, which is
// in a `Mutex`. Wakers are `Send`.
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
    /// All zero, so that it costs no room in an image.
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
/// `entry` is the address of a static [`TableEntry`].
unsafe fn wake_entry(entry: *const ()) {
    // SAFETY: as the caller says.
    let entry = unsafe { &*entry.cast::<TableEntry>() };
    let kept = critical_section::with(|cs| entry.table.get()?.free(entry, cs));
    if let Some(kept) = kept {
        kept.wake();
    }
}

/// A waker that has to be woken, also where what comes before unwinds: the queue may call a hook.
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
        assert!(!own.is_empty(), "an entry can give way");
        Self {
            own,
            taken: Mutex::new(Tree::new()),
            lists: Mutex::new(Lists {
                used: Cell::new(0),
                free: Cell::new(None),
                last: Cell::new(None),
                all: Cell::new(0),
                taken: Cell::new(0),
                gave_way: Cell::new(0),
            }),
            is_overfull: AtomicBool::new(false),
            early_wakes: AtomicU64::new(0),
            most: AtomicUsize::new(0),
        }
    }

    /// How often a waker was woken before its deadline.
    pub(super) fn early_wakes(&self) -> u64 {
        self.early_wakes.load(Ordering::Relaxed)
    }

    /// The most entries that would have been used at a time.
    pub(super) fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    /// Whether an entry gave way since the last [look](Self::look). It is one load.
    #[inline(always)]
    pub(super) fn is_overfull(&self) -> bool {
        self.is_overfull.load(Ordering::Relaxed)
    }

    /// The same, once.
    pub(super) fn look(&self) -> bool {
        critical_section::with(|cs| {
            self.is_overfull.store(false, Ordering::Relaxed);
            self.lists.borrow(cs).gave_way.replace(0) > 0
        })
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
        let (mut kept, mut gave_way) = (Some(KeptWaker::new(waker)), WakeOnDrop(None));
        critical_section::with(|cs| {
            let entry = self.find(waker, cs).unwrap_or_else(|| {
                let (entry, old) = self.take(cs);
                gave_way.0 = old;
                // What it waited for is not the new waker's.
                // SAFETY: as the caller says.
                unsafe { entry.slot.clear(queue) };
                if let Some(kept) = kept.take() {
                    self.keep(kept, entry, cs);
                }
                entry
            });
            // SAFETY: the same.
            unsafe { entry.schedule(queue, deadline) };
        });
        // What is not kept and what gave way go outside of the section.
    }

    /// The entry of this waker.
    fn find(&self, waker: &Waker, cs: CriticalSection<'_>) -> Option<&'static TableEntry> {
        let address = waker.data().addr();
        let taken = self.taken.borrow(cs);
        taken.find(&address, |entry| entry.would_wake(waker, cs))
    }

    /// Puts a waker into an entry that is in no list but the ring.
    fn keep(&'static self, kept: KeptWaker, entry: &'static TableEntry, cs: CriticalSection<'_>) {
        entry.address.set(kept.address());
        *entry.waker.borrow_mut() = Some(kept);
        entry.table.set(Some(self));
        // SAFETY: who comes here has taken it out of the tree, or it was free; it is static, and
        // its address changes here only.
        unsafe { self.taken.borrow(cs).insert(entry) };
        let lists = self.lists.borrow(cs);
        lists.taken.set(lists.taken.get() + 1);
        let most = lists.taken.get() + lists.gave_way.get();
        self.most.fetch_max(most, Ordering::Relaxed);
    }

    /// Takes the waker out of a taken entry, which is in no list then but the ring.
    fn empty(&self, entry: &'static TableEntry, cs: CriticalSection<'_>) -> Option<KeptWaker> {
        let kept = entry.waker.take()?;
        // SAFETY: an entry with a waker is in the tree.
        unsafe { self.taken.borrow(cs).remove(entry) };
        let lists = self.lists.borrow(cs);
        lists.taken.set(lists.taken.get() - 1);
        Some(kept)
    }

    /// Takes the waker out of an entry, which is free then. `None` if it was free.
    fn free(&self, entry: &'static TableEntry, cs: CriticalSection<'_>) -> Option<KeptWaker> {
        let kept = self.empty(entry, cs)?;
        let lists = self.lists.borrow(cs);
        entry.next_free.set(lists.free.replace(Some(entry)));
        Some(kept)
    }

    /// An entry that is free, or else the one whose turn it is to give way, with the waker that was
    /// in it.
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
        let entry = lists.turn();
        let kept = self.empty(entry, cs);
        self.count_early(cs);
        lists.gave_way.set(lists.gave_way.get() + 1);
        self.is_overfull.store(true, Ordering::Relaxed);
        (entry, kept)
    }

    fn count_early(&self, _cs: CriticalSection<'_>) {
        let count = self.early_wakes.load(Ordering::Relaxed);
        self.early_wakes.store(count + 1, Ordering::Relaxed);
    }

    /// Takes in more entries, which were in no table before: one to a critical section.
    pub(super) fn admit(&self, more: &'static [TableEntry]) {
        for entry in more {
            critical_section::with(|cs| {
                let lists = self.lists.borrow(cs);
                lists.admit(entry);
                entry.next_free.set(lists.free.replace(Some(entry)));
            });
        }
    }

    /// How many entries there are, but for those of the table's own that
    /// were never used.
    #[cfg(feature = "alloc")]
    pub(super) fn entries(&self) -> usize {
        critical_section::with(|cs| self.lists.borrow(cs).all.get())
    }

    /// Makes every entry give way: one to a critical section.
    ///
    /// # Safety
    ///
    /// As [`schedule`](Self::schedule).
    #[cfg(feature = "alloc")]
    pub(super) unsafe fn let_all_go(&self, queue: &TimerQueue) {
        for _ in 0..self.entries() {
            let kept = critical_section::with(|cs| {
                let entry = self.lists.borrow(cs).turn();
                let kept = self.free(entry, cs)?;
                // SAFETY: as the caller says.
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
    /// Puts an entry into the ring, as the last one whose turn it is.
    fn admit(&self, entry: &'static TableEntry) {
        let last = self.last.replace(Some(entry)).unwrap_or(entry);
        entry.next.set(Some(last.next.get().unwrap_or(entry)));
        last.next.set(Some(entry));
        self.all.set(self.all.get() + 1);
    }

    /// The entry whose turn it is to give way: it becomes the last.
    fn turn(&self) -> &'static TableEntry {
        let last = self.last.get();
        let Some(turn) = last.and_then(|last| last.next.get()) else {
            unreachable!("an entry gives way when all are taken, and there is one")
        };
        self.last.set(Some(turn));
        turn
    }
}
