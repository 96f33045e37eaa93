//! The part of an executor that depends neither on its capacity nor on which contexts may wake its
//! tasks, so that spawners and handles need not know them either.

use core::{
    cell::Cell,
    mem,
    ptr::{self, NonNull},
    task::RawWakerVTable,
};

use critical_section::{CriticalSection, Mutex};

#[cfg(feature = "metrics")]
use super::metrics::counters::Counters;
use super::{free_list::FreeList, header::Header, ready::node::Node, task_ref::TaskRef};
use crate::{
    hook::Hook,
    sync::{
        atomic::{AtomicPtr, AtomicUsize, Ordering},
        const_new, critical,
    },
    time::TimerQueue,
    vcpu,
};

/// The number of words of the ready set that a pass goes through between two looks at the timers:
/// at most 512 tasks.
const WORDS_BETWEEN_LOOKS: u32 = 8;

/// An executor without its ready set.
pub(crate) struct ExecutorCore {
    /// The first of the executor's blocks, by its node; null until [`open`](Self::open).
    pub(super) blocks: AtomicPtr<Node>,
    /// The number of slots.
    pub(super) slots: Mutex<Cell<u32>>,
    /// The functions of the executor's wakers.
    wakers: AtomicPtr<RawWakerVTable>,
    /// The function that sets a task's ready bit: a [`SetReady`].
    set_ready: AtomicPtr<()>,
    /// The hook that a wake calls, if the program has set one.
    pub(super) hook: Hook,
    /// The free slots.
    pub(super) free: Mutex<Cell<FreeList>>,
    /// The number of tasks that have not ended.
    pub(super) live: AtomicUsize,
    /// The number of tasks that have ended and still have a slot: for tests. (Without the count in
    /// other builds, a join takes two instructions less, but the compiler gives the rows of timers in
    /// `cargo vm bench --counts` other registers, at up to five more.)
    pub(super) ended: AtomicUsize,
    /// The number of the task that was spawned last, in the bits in which a slot's state has it.
    pub(super) spawned: Mutex<Cell<u64>>,
    /// The vCPU on which the runner was entered, if there is a runner.
    entered_on: Mutex<Cell<Option<usize>>>,
    /// The runner's timers. These and the next two fields are here and not in the runner, so that a
    /// pass needs one register for all.
    timers: AtomicPtr<TimerQueue>,
    /// The number of words that passes go through until the next look at the timers.
    words_left: RunnerOnly,
    /// The task in which the runner was entered, if it was in one, as [`current`](super::current)
    /// stores it.
    outer: AtomicPtr<()>,
    /// Counts each entry of a runner, and each time that one begins to leave. The count at its
    /// entry is a runner's id.
    runner: Mutex<Cell<u64>>,
    /// The outputs that wait to be dropped: see [`release`](super::release).
    pub(super) outputs: OutputQueue,
    #[cfg(feature = "metrics")]
    pub(super) metrics: Counters,
}

/// A number that only the runner uses.
struct RunnerOnly(Cell<u32>);

// SAFETY: there is one runner at a time, and it is not `Send`. The critical section in which the
// next one is made orders its uses after those of the one before.
unsafe impl Sync for RunnerOnly {}

/// Identifies a runner: no two runners of an executor have the same id.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct RunnerId(u64);

/// Sets a task's ready bit, and calls the hook of wakes if there is one.
type SetReady = fn(TaskRef);

/// How the tasks of a ready set are woken.
pub(crate) struct Wakers {
    pub(crate) vtable: &'static RawWakerVTable,
    /// What a wake does, without metrics and trace.
    pub(crate) set_ready: SetReady,
}

/// Outputs that wait to be dropped: see [`release`](super::release).
pub(super) struct OutputQueue(pub(super) Mutex<Cell<Outputs>>);

#[derive(Clone, Copy)]
pub(super) struct Outputs {
    /// The vCPU (on a host: the thread) that is dropping outputs.
    pub(super) dropped_on: Option<usize>,
    /// The task whose output it drops next. Each task's header stores the address of the next one.
    pub(super) next: Option<NonNull<Header>>,
}

// SAFETY: `Outputs` is used in critical sections. Its headers belong to the vCPU that queued them;
// another one may get only those of remote tasks, whose outputs are `Send`.
unsafe impl Send for Outputs {}

impl Outputs {
    /// No output is being dropped.
    pub(super) const NONE: Self = Self {
        dropped_on: None,
        next: None,
    };
}

impl ExecutorCore {
    const_new! {
        pub(crate) fn new() -> Self {
            Self {
                blocks: AtomicPtr::new(ptr::null_mut()),
                slots: Mutex::new(Cell::new(0)),
                wakers: AtomicPtr::new(ptr::null_mut()),
                set_ready: AtomicPtr::new(ptr::null_mut()),
                hook: Hook::none(),
                free: Mutex::new(Cell::new(FreeList::ALL)),
                live: AtomicUsize::new(0),
                ended: AtomicUsize::new(0),
                spawned: Mutex::new(Cell::new(0)),
                entered_on: Mutex::new(Cell::new(None)),
                timers: AtomicPtr::new(ptr::null_mut()),
                words_left: RunnerOnly(Cell::new(0)),
                outer: AtomicPtr::new(ptr::null_mut()),
                outputs: OutputQueue(Mutex::new(Cell::new(Outputs::NONE))),
                runner: Mutex::new(Cell::new(0)),
                #[cfg(feature = "metrics")]
                metrics: Counters::new(),
            }
        }
    }

    /// Whether [`open`](Self::open) has been called.
    pub(crate) fn is_open(&self) -> bool {
        !self.blocks.load(Ordering::Acquire).is_null()
    }

    /// Stores how tasks are woken.
    ///
    /// # Safety
    ///
    /// `wakers` are those of this executor's ready set.
    pub(super) unsafe fn set_wakers(&self, wakers: Wakers) {
        self.set_ready
            .store(wakers.set_ready as *mut (), Ordering::Relaxed);
        let vtable = ptr::from_ref(wakers.vtable).cast_mut();
        self.wakers.store(vtable, Ordering::Relaxed);
    }

    /// The functions of the wakers that tasks are polled with.
    #[inline(always)]
    pub(crate) fn wakers(&self) -> &'static RawWakerVTable {
        // SAFETY: `open` was called before, and stored the address of a static.
        unsafe { &*self.wakers.load(Ordering::Relaxed) }
    }

    /// Sets the ready bit of a task of this executor, and calls the hook of wakes if there is one.
    #[inline(always)]
    pub(crate) fn set_ready(&self, task: TaskRef) {
        let set_ready = self.set_ready.load(Ordering::Relaxed);
        // SAFETY: a slot was claimed, so `open` has stored a function of this type.
        let set_ready = unsafe { mem::transmute::<*mut (), SetReady>(set_ready) };
        set_ready(task);
    }

    /// The number of tasks that have not ended.
    #[inline]
    pub(crate) fn live(&self) -> usize {
        self.live.load(Ordering::Acquire)
    }

    /// The number of tasks that have ended, and whose outputs or handles still exist.
    #[cfg(test)]
    pub(crate) fn ended(&self) -> usize {
        self.ended.load(Ordering::Acquire)
    }

    /// Registers a runner and returns its id; `None` if there is a runner already.
    ///
    /// `outer` is the task in which it is entered; null outside of tasks.
    pub(crate) fn enter(&self, outer: *mut ()) -> Option<RunnerId> {
        critical(|cs| {
            let entered_on = self.entered_on.borrow(cs);
            if entered_on.get().is_some() {
                return None;
            }
            entered_on.set(Some(vcpu::current()));
            self.set_timers(TimerQueue::global());
            self.words_left.0.set(WORDS_BETWEEN_LOOKS);
            self.outer.store(outer, Ordering::Relaxed);
            Some(RunnerId(self.next_runner(cs)))
        })
    }

    /// The task in which the runner was entered; null if it was entered outside of tasks.
    #[inline(always)]
    pub(crate) fn outer(&self) -> *mut () {
        self.outer.load(Ordering::Relaxed)
    }

    /// Makes the runner serve `timers`.
    pub(crate) fn set_timers(&self, timers: &'static TimerQueue) {
        let timers = ptr::from_ref(timers).cast_mut();
        self.timers.store(timers, Ordering::Relaxed);
    }

    /// The runner's timers.
    #[inline(always)]
    pub(crate) fn timers(&self) -> &'static TimerQueue {
        // SAFETY: `enter` stored the address of a static.
        unsafe { &*self.timers.load(Ordering::Relaxed) }
    }

    /// Counts a word of a pass. Returns whether the pass should look at the timers now.
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
        // SAFETY: the caller is the runner.
        unsafe { self.restart_word_count() };
        self.timers().has_timers()
    }

    /// Restarts the count of words, where the runner looks at the timers or waits.
    ///
    /// # Safety
    ///
    /// The caller is the runner.
    #[inline(always)]
    pub(crate) unsafe fn restart_word_count(&self) {
        self.words_left.0.set(WORDS_BETWEEN_LOOKS);
    }

    /// The runner begins to leave: from here on its spawners return errors.
    pub(crate) fn begin_to_leave(&self) {
        critical(|cs| {
            self.next_runner(cs);
        });
    }

    /// The runner has left: another one may enter.
    pub(crate) fn leave(&self) {
        critical(|cs| self.entered_on.borrow(cs).set(None));
    }

    /// Whether the runner is on this vCPU. `false` where vCPUs cannot be distinguished.
    pub(crate) fn is_entered_here(&self) -> bool {
        let here = vcpu::current();
        here != vcpu::UNKNOWN && critical(|cs| self.entered_on.borrow(cs).get() == Some(here))
    }

    fn next_runner(&self, cs: CriticalSection<'_>) -> u64 {
        let runner = self.runner.borrow(cs);
        runner.set(runner.get() + 1);
        runner.get()
    }

    /// Whether the runner with this id is entered, and has not begun to leave.
    #[inline(always)]
    pub(crate) fn has_runner(&self, runner: RunnerId, cs: CriticalSection<'_>) -> bool {
        self.runner.borrow(cs).get() == runner.0
    }
}

/// Adds `change` to one of the counts.
#[inline(always)]
pub(super) fn add(count: &AtomicUsize, change: isize, _cs: CriticalSection<'_>) {
    let count_before = count.load(Ordering::Relaxed);
    debug_assert!(
        count_before.checked_add_signed(change).is_some(),
        "{count_before} tasks become {change} more"
    );
    let sum = count_before.wrapping_add_signed(change);
    count.store(sum, Ordering::Release);
}
