//! The slots of an executor: 64 in a block, beside their word of the ready set.
//!
//! A slot is *free*, *live* (its task has a future) or *ended* (its task has ended, and its join
//! handle or its output still exists). Its state is changed in critical sections.

use core::{
    fmt,
    ptr::{self, NonNull},
};

use critical_section::CriticalSection;

#[cfg(feature = "metrics")]
use super::metrics::counters::TaskCounters;
use super::{
    executor_core::{ExecutorCore, Wakers, add},
    header::{Header, vacant},
    ready::node::{BITS, Node},
    task_ref::TaskRef,
};
use crate::sync::{
    array,
    atomic::{AtomicPtr, AtomicU64, Ordering},
    const_new, critical,
};
#[cfg(feature = "embassy-time")]
use crate::time::embassy::DeadlineSlot;

/// 64 slots, and the word with their ready bits.
#[repr(C, align(64))]
pub struct Block {
    pub(super) node: Node,
    /// The executor's core, which [`ExecutorCore::open`] writes.
    core: AtomicPtr<ExecutorCore>,
    /// The task of each slot. A slot that is not live has [`vacant`] here, or null if it was never
    /// used.
    tasks: [AtomicPtr<Header>; BITS as usize],
    /// For a slot in use: the flags below, and from bit [`NUMBER`] up the number of its task. For a
    /// free slot: from that bit up its link in the free list.
    states: [AtomicU64; BITS as usize],
    #[cfg(feature = "metrics")]
    counters: TaskCounters,
    #[cfg(feature = "embassy-time")]
    deadlines: [DeadlineSlot; BITS as usize],
}

/// The slot was claimed for a task, which has not ended.
pub(super) const LIVE: u64 = 1;
/// The task has ended, with an output or aborted.
pub(super) const ENDED: u64 = 1 << 1;
/// The task has ended without an output.
pub(super) const ABORTED: u64 = 1 << 2;
/// The task has a join handle.
pub(super) const JOINABLE: u64 = 1 << 3;
/// Only the runner that was entered when the task was spawned may poll and drop the future.
pub(super) const LOCAL: u64 = 1 << 4;
/// All flags.
const FLAGS: u64 = (1 << NUMBER) - 1;
/// The lowest bit of the task's number. The 59 bits from there up do not overflow: at a billion
/// spawns a second that would take eighteen years.
pub(super) const NUMBER: u32 = 5;

impl Block {
    const_new! {
        /// All slots are free.
        pub(crate) fn new() -> Self {
            Self {
                node: Node::new(),
                core: AtomicPtr::new(ptr::null_mut()),
                tasks: array!(AtomicPtr::new(ptr::null_mut())),
                states: array!(AtomicU64::new(0)),
                #[cfg(feature = "metrics")]
                counters: TaskCounters::new(),
                #[cfg(feature = "embassy-time")]
                deadlines: [const { DeadlineSlot::new() }; BITS as usize],
            }
        }
    }

    /// The task in a slot whose ready bit was set.
    ///
    /// # Safety
    ///
    /// `bit` is below 64, and its slot was used at least once.
    #[inline(always)]
    pub(crate) unsafe fn task(&self, bit: u32) -> NonNull<Header> {
        // SAFETY: `bit` is below 64, the number of tasks.
        let task = unsafe { self.tasks.get_unchecked(bit as usize) };
        // SAFETY: the slot was used, and from its first task on the pointer is never null.
        unsafe { NonNull::new_unchecked(task.load(Ordering::Acquire)) }
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block")
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

impl TaskRef {
    #[inline(always)]
    pub(crate) fn block(self) -> &'static Block {
        // SAFETY: this is the address of a block of a static executor.
        unsafe { &*self.block_address().cast::<Block>() }
    }

    /// The slot's number in its executor.
    pub(crate) fn slot_number(self) -> u32 {
        self.block().node.number() * BITS + self.bit()
    }

    /// The task in the slot.
    #[inline(always)]
    pub(super) fn task(self) -> &'static AtomicPtr<Header> {
        &self.block().tasks[self.bit() as usize]
    }

    /// The slot's state: flags, and the number of its task or its link in the free list.
    #[inline(always)]
    pub(super) fn state(self) -> &'static AtomicU64 {
        &self.block().states[self.bit() as usize]
    }

    /// The number of the task that has the slot.
    pub(crate) fn task_number(self) -> u64 {
        self.state().load(Ordering::Relaxed) >> NUMBER
    }

    /// Whether the task has ended.
    pub(crate) fn has_ended(self) -> bool {
        self.state().load(Ordering::Acquire) & ENDED != 0
    }

    /// The task of a live slot; `None` between the claim of the slot and the beginning of its task.
    ///
    /// It is valid within the critical section: the runner needs one to take it out of the slot.
    pub(super) fn live_task(self, _cs: CriticalSection<'_>) -> Option<NonNull<Header>> {
        // Null if the slot was never used; `complete` takes the task out of a slot that was. A task
        // begins outside of critical sections, so this is what makes its header's contents visible.
        let header = self.task().load(Ordering::Acquire);
        NonNull::new(header).filter(|header| header.as_ptr() != vacant())
    }

    /// The core of the task's executor.
    pub(crate) fn core(self) -> &'static ExecutorCore {
        let core = self.block().core.load(Ordering::Relaxed);
        // SAFETY: `open` stored the address of a static before any slot was claimed.
        unsafe { &*core }
    }

    #[cfg(feature = "metrics")]
    pub(super) fn counters(self) -> &'static TaskCounters {
        &self.block().counters
    }

    /// The earliest deadline that the task's embassy timers asked for.
    #[cfg(feature = "embassy-time")]
    pub(super) fn deadline(self) -> &'static DeadlineSlot {
        &self.block().deadlines[self.bit() as usize]
    }

    /// Makes the slot free.
    #[inline(always)]
    pub(super) fn free(self, cs: CriticalSection<'_>) {
        let core = self.core();
        debug_assert!(
            self.state().load(Ordering::Relaxed) & (LIVE | ENDED) == ENDED,
            "a slot is given back once, after its task has ended"
        );
        let free = core.free.borrow(cs);
        let mut list = free.get();
        let link = list.give_back(self.slot_number());
        self.state()
            .store(u64::from(link) << NUMBER, Ordering::Release);
        free.set(list);
        add(&core.ended, -1, cs);
    }
}

/// A slot that was claimed, and has no task yet.
#[derive(Clone, Copy)]
pub(crate) struct Claimed {
    slot: TaskRef,
    /// Where the slot's task is stored.
    task: &'static AtomicPtr<Header>,
}

impl Claimed {
    pub(crate) fn slot(self) -> TaskRef {
        self.slot
    }

    /// Puts a task into the slot. The caller wakes it afterwards.
    ///
    /// From here on the runner may visit the slot because of an earlier task's waker, so the task
    /// may end at any moment.
    ///
    /// # Safety
    ///
    /// `header` is that of a filled cell, which belongs to the slot from here on. If its future is
    /// not `Send`, the slot was claimed as local on the runner's vCPU, and the runner has not left
    /// since.
    #[inline(always)]
    pub(crate) unsafe fn begin(self, header: NonNull<Header>) {
        self.task.store(header.as_ptr(), Ordering::Release);
    }
}

impl ExecutorCore {
    /// Stores where the slots are and how tasks are woken, at the first call. Returns whether it
    /// was the first.
    ///
    /// # Safety
    ///
    /// `blocks` are all the blocks of a ready set, and linked; `wakers` are that set's.
    pub(crate) unsafe fn open(
        &'static self,
        blocks: &'static [Block],
        wakers: Wakers,
        hook: Option<fn()>,
    ) -> bool {
        for block in blocks {
            let core = ptr::from_ref(self).cast_mut();
            block.core.store(core, Ordering::Relaxed);
        }
        critical(|cs| {
            if self.is_open() {
                return false;
            }
            if let Some(hook) = hook {
                self.hook.set(hook);
            }
            self.slots.borrow(cs).set(blocks.len() as u32 * BITS);
            // SAFETY: the caller guarantees that the wakers are those of the blocks' ready set.
            unsafe { self.set_wakers(wakers) };
            let blocks = blocks.as_ptr().cast::<Node>().cast_mut();
            self.blocks.store(blocks, Ordering::Release);
            true
        })
    }

    /// Takes a free slot, for a task with these flags: [`JOINABLE`], [`LOCAL`]. The task counts as
    /// live from here on.
    #[inline(always)]
    pub(crate) fn claim(&self, flags: u64, cs: CriticalSection<'_>) -> Option<Claimed> {
        let blocks = self.blocks.load(Ordering::Relaxed).cast::<Block>();
        let free = self.free.borrow(cs);
        let mut list = free.get();
        let mut found = None;
        list.take(self.slots.borrow(cs).get(), |number| {
            // SAFETY: `open` stored the address of the first block, and `number` is below the
            // number of slots.
            let block = unsafe { &*blocks.wrapping_add((number / BITS) as usize) };
            let bit = number % BITS;
            let state = &block.states[bit as usize];
            let claimed = Claimed {
                slot: TaskRef::new(ptr::from_ref(block).cast(), bit),
                task: &block.tasks[bit as usize],
            };
            found = Some((claimed, state));
            (state.load(Ordering::Relaxed) >> NUMBER) as u32
        })?;
        let (claimed, state) = found?;
        debug_assert!(
            state.load(Ordering::Relaxed) & FLAGS == 0,
            "a slot in the free list is in use"
        );
        free.set(list);
        add(&self.live, 1, cs);
        debug_assert!(
            self.live.load(Ordering::Relaxed) + self.ended.load(Ordering::Relaxed)
                <= self.slots.borrow(cs).get() as usize,
            "there are more tasks than slots"
        );
        let spawned = self.spawned.borrow(cs);
        spawned.set(spawned.get() + (1 << NUMBER));
        state.store(spawned.get() | LIVE | flags, Ordering::Relaxed);
        #[cfg(feature = "metrics")]
        claimed.slot.counters().reset(claimed.slot.bit());
        Some(claimed)
    }
}
