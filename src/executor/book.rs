//! What an executor's places have in common: which are free, how many tasks there are, how they are woken.
//!
//! It does not know how large the executor is, nor from where tasks may be woken, so those who hold it need
//! not know either.

use core::{
    cell::Cell,
    mem,
    ptr::{self, NonNull},
    task::RawWakerVTable,
};

use critical_section::{CriticalSection, Mutex};

use super::{
    current,
    free_list::FreeList,
    orphans::Orphans,
    place::{LIVE, NUMBER, Places, TaskRef},
    probe::Woken,
    ready::{BITS, Block, Place},
    task::Header,
};
use crate::{
    hook::Hook,
    sync::{
        atomic::{AtomicPtr, AtomicUsize, Ordering},
        const_new, critical,
    },
    time::TimerQueue,
    vcpu,
};

/// How many words of the ready set a pass goes through between two looks at the timers: that is at most 512
/// tasks.
const WORDS_BETWEEN_LOOKS: u32 = 8;

/// An executor, for those who need not know how large it is and who may wake.
pub(crate) struct Book {
    /// The executor's blocks; null until [`open`](Self::open).
    blocks: AtomicPtr<Block<Places>>,
    /// How many places there are.
    places: Mutex<Cell<u32>>,
    /// The functions of the executor's wakers.
    wakers: AtomicPtr<RawWakerVTable>,
    /// What sets a task's ready bit: a [`Set`].
    set: AtomicPtr<()>,
    /// What a wake calls besides.
    pub(super) hook: Hook,
    pub(super) free: Mutex<Cell<FreeList>>,
    /// Tasks that have not ended.
    pub(super) live: AtomicUsize,
    /// Tasks that have ended and still have a place.
    pub(super) ended: AtomicUsize,
    /// How many tasks were spawned, times the lowest bit of a number.
    pub(super) spawned: Mutex<Cell<u64>>,
    /// On which vCPU there is a runner, if there is one.
    entered_on: Mutex<Cell<Option<usize>>>,
    /// The runner's timers. They are here, as is the next, so that a pass needs one register for all.
    timers: AtomicPtr<TimerQueue>,
    /// How many words passes go through until the next look at the timers.
    words_left: OfRunner,
    /// The task in which the runner was entered, if it was in one, as [`current`](super::current) has it.
    outer: AtomicPtr<()>,
    /// How often runners came and began to go: the number of the one that is there.
    entry: Mutex<Cell<u64>>,
    pub(super) orphans: Orphans,
    #[cfg(feature = "metrics")]
    pub(super) metrics: super::metrics::Counters,
}

/// A place that was taken and has no task yet.
#[derive(Clone, Copy)]
pub(crate) struct Claimed {
    place: TaskRef,
    /// The place's word for the task.
    task: &'static AtomicPtr<Header>,
}

impl Claimed {
    pub(crate) fn place(self) -> TaskRef {
        self.place
    }

    /// Puts a task into the place. It is then to be woken.
    ///
    /// An earlier task's waker, or its abort handle once numbers are given out anew, may have the runner
    /// visit the place from here on: the task may be over at any moment.
    ///
    /// # Safety
    ///
    /// `header` is that of a filled cell, which belongs to the place from here on. If its future is not
    /// `Send`, the place was claimed as local, where the runner is, and the runner was there ever since.
    #[inline(always)]
    pub(crate) unsafe fn begin(self, header: NonNull<Header>) {
        self.task.store(header.as_ptr(), Ordering::Release);
    }
}

/// What the runner alone uses.
struct OfRunner(Cell<u32>);

// SAFETY: there is one runner at a time, which is not `Send`; who makes the next one finds in a critical
// section that there is none.
unsafe impl Sync for OfRunner {}

/// One stay of a runner.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry(u64);

/// Makes a task ready, and calls the hook of wakes if there is one.
type Set = fn(TaskRef);

/// How the tasks of a ready set are woken.
pub(crate) struct Wakers {
    pub(crate) vtable: &'static RawWakerVTable,
    /// What its wakes do but for telling of it.
    pub(crate) set: Set,
}

impl Book {
    const_new! {
        pub(crate) fn new() -> Self {
            Self {
                blocks: AtomicPtr::new(ptr::null_mut()),
                places: Mutex::new(Cell::new(0)),
                wakers: AtomicPtr::new(ptr::null_mut()),
                set: AtomicPtr::new(ptr::null_mut()),
                hook: Hook::none(),
                free: Mutex::new(Cell::new(FreeList::ALL)),
                live: AtomicUsize::new(0),
                ended: AtomicUsize::new(0),
                spawned: Mutex::new(Cell::new(0)),
                entered_on: Mutex::new(Cell::new(None)),
                timers: AtomicPtr::new(ptr::null_mut()),
                words_left: OfRunner(Cell::new(0)),
                outer: AtomicPtr::new(ptr::null_mut()),
                orphans: Orphans::none(),
                entry: Mutex::new(Cell::new(0)),
                #[cfg(feature = "metrics")]
                metrics: super::metrics::Counters::new(),
            }
        }
    }

    /// Whether [`open`](Self::open) has been called.
    pub(crate) fn is_open(&self) -> bool {
        !self.blocks.load(Ordering::Acquire).is_null()
    }

    /// Says where the places are and how tasks are woken, the first time that it is called.
    ///
    /// # Safety
    ///
    /// `blocks` are all of a set's, and linked; `wakers` are of that set.
    pub(crate) unsafe fn open(&'static self, blocks: &'static [Block<Places>], wakers: Wakers) {
        for block in blocks {
            let book = ptr::from_ref(self).cast_mut();
            block.places.book.store(book, Ordering::Relaxed);
        }
        critical(|cs| {
            if self.is_open() {
                return;
            }
            self.places.borrow(cs).set(blocks.len() as u32 * BITS);
            // SAFETY: as the caller says.
            unsafe { self.set_wakers(wakers) };
            let blocks = blocks.as_ptr().cast_mut();
            self.blocks.store(blocks, Ordering::Release);
        });
    }

    /// Has tasks be woken by `wakers` from their next poll on.
    ///
    /// # Safety
    ///
    /// They are of the set whose blocks these are.
    unsafe fn set_wakers(&self, wakers: Wakers) {
        self.set.store(wakers.set as *mut (), Ordering::Relaxed);
        let vtable = ptr::from_ref(wakers.vtable).cast_mut();
        self.wakers.store(vtable, Ordering::Relaxed);
    }

    /// The wakers that tasks are polled with.
    #[inline(always)]
    pub(crate) fn wakers(&self) -> &'static RawWakerVTable {
        // SAFETY: `open`, which comes first, has stored a static table.
        unsafe { &*self.wakers.load(Ordering::Relaxed) }
    }

    /// Makes wakes by `wakers`, which are used from now on, call `hook`.
    ///
    /// # Safety
    ///
    /// They are of the set whose blocks these are.
    pub(crate) unsafe fn on_wake(&self, hook: fn(), wakers: Wakers) {
        self.hook.set(hook);
        // SAFETY: as the caller says.
        unsafe { self.set_wakers(wakers) };
    }

    /// Tasks that have not ended.
    #[inline]
    pub(crate) fn live(&self) -> usize {
        self.live.load(Ordering::Acquire)
    }

    /// Tasks that have ended, and whose outputs or handles are there still.
    pub(crate) fn ended(&self) -> usize {
        self.ended.load(Ordering::Acquire)
    }

    /// Lets a runner in, and gives its number, unless there is one.
    pub(crate) fn enter(&self) -> Option<Entry> {
        critical(|cs| {
            let entered_on = self.entered_on.borrow(cs);
            if entered_on.get().is_some() {
                return None;
            }
            entered_on.set(Some(vcpu::current()));
            self.set_timers(TimerQueue::global());
            self.words_left.0.set(WORDS_BETWEEN_LOOKS);
            self.outer.store(current::get(), Ordering::Relaxed);
            Some(Entry(self.next_entry(cs)))
        })
    }

    /// The task in which the runner was entered; null if it was in none.
    #[inline(always)]
    pub(crate) fn outer(&self) -> *mut () {
        self.outer.load(Ordering::Relaxed)
    }

    /// Which timers the runner serves.
    pub(crate) fn set_timers(&self, timers: &'static TimerQueue) {
        let timers = ptr::from_ref(timers).cast_mut();
        self.timers.store(timers, Ordering::Relaxed);
    }

    /// The runner's timers.
    #[inline(always)]
    pub(crate) fn timers(&self) -> &'static TimerQueue {
        // SAFETY: `enter` has stored the address of a static one.
        unsafe { &*self.timers.load(Ordering::Relaxed) }
    }

    /// A pass goes on from one word to another. Returns whether it is to look at the timers.
    ///
    /// # Safety
    ///
    /// The caller is the runner.
    #[inline(always)]
    pub(crate) unsafe fn next_word(&self) -> bool {
        let left = self.words_left.0.get() - 1;
        self.words_left.0.set(left);
        if left != 0 {
            return false;
        }
        // SAFETY: as the caller says.
        unsafe { self.count_words_anew() };
        self.timers().has_timers()
    }

    /// The timers are looked at, or the runner waits.
    ///
    /// # Safety
    ///
    /// The caller is the runner.
    #[inline(always)]
    pub(crate) unsafe fn count_words_anew(&self) {
        self.words_left.0.set(WORDS_BETWEEN_LOOKS);
    }

    /// The runner begins to go: its spawners spawn no more.
    pub(crate) fn begin_to_leave(&self) {
        critical(|cs| {
            self.next_entry(cs);
        });
    }

    /// The runner has gone: another one may come.
    pub(crate) fn leave(&self) {
        critical(|cs| self.entered_on.borrow(cs).set(None));
    }

    /// Whether the runner is on this vCPU.
    pub(crate) fn is_entered_here(&self) -> bool {
        let here = vcpu::current();
        critical(|cs| self.entered_on.borrow(cs).get() == Some(here))
    }

    fn next_entry(&self, cs: CriticalSection<'_>) -> u64 {
        let entry = self.entry.borrow(cs);
        entry.set(entry.get() + 1);
        entry.get()
    }

    /// Whether this runner is still there.
    #[inline(always)]
    pub(crate) fn is_there(&self, entry: Entry, cs: CriticalSection<'_>) -> bool {
        self.entry.borrow(cs).get() == entry.0
    }

    /// Takes a free place, for a task with these flags: [`JOINABLE`], [`LOCAL`]. The task counts as live
    /// from here on.
    ///
    /// [`JOINABLE`]: super::place::JOINABLE
    /// [`LOCAL`]: super::place::LOCAL
    #[inline(always)]
    pub(crate) fn claim(&self, flags: u64, cs: CriticalSection<'_>) -> Option<Claimed> {
        let blocks = self.blocks.load(Ordering::Relaxed);
        let free = self.free.borrow(cs);
        let mut list = free.get();
        let mut found = None;
        list.take(self.places.borrow(cs).get(), |number| {
            let block = blocks.wrapping_add((number / BITS) as usize);
            // SAFETY: `open` has said where the blocks are, and there is one of that number.
            let places = unsafe { &(*block).places };
            let bit = number % BITS;
            let mark = &places.marks[bit as usize];
            let claimed = Claimed {
                place: Place::new(block, bit),
                task: &places.tasks[bit as usize],
            };
            found = Some((claimed, mark));
            (mark.load(Ordering::Relaxed) >> NUMBER) as u32
        })?;
        let (claimed, mark) = found?;
        free.set(list);
        add(&self.live, 1, cs);
        let spawned = self.spawned.borrow(cs);
        spawned.set(spawned.get() + (1 << NUMBER));
        mark.store(spawned.get() | LIVE | flags, Ordering::Relaxed);
        #[cfg(feature = "metrics")]
        claimed.place.counters().reset(claimed.place.bit());
        Some(claimed)
    }

    /// Makes the task in a place of this executor ready.
    #[inline(always)]
    pub(crate) fn set(&self, place: TaskRef) {
        let set = self.set.load(Ordering::Relaxed);
        // SAFETY: a place was claimed, so `open` has stored a function of this type.
        let set = unsafe { mem::transmute::<*mut (), Set>(set) };
        set(place);
    }

    /// Wakes the task in a place of this executor.
    pub(crate) fn wake(&self, place: TaskRef) {
        let woken = Woken::count(place);
        self.set(place);
        woken.tell();
    }
}

/// Changes one of the counts.
#[inline(always)]
pub(super) fn add(count: &AtomicUsize, change: isize, _cs: CriticalSection<'_>) {
    let sum = count.load(Ordering::Relaxed).wrapping_add_signed(change);
    count.store(sum, Ordering::Release);
}
