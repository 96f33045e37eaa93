//! A timer's node: its deadline, its place in the queue, and who is woken.
//!
//! # Why a node may lie in a future
//!
//! A node is linked only through `Pin<&mut Timer>`. Pinning promises that the memory is not reused
//! before the timer's `drop` has run, and `drop` unlinks. `mem::forget` on a pinned timer therefore
//! leaks the memory with the node still valid in it, and forgetting an unpinned timer forgets one
//! that was never linked.

use core::{
    cell::{Cell, UnsafeCell},
    marker::PhantomPinned,
    mem::MaybeUninit,
    sync::atomic::{AtomicU8, Ordering},
    task::Waker,
};

use critical_section::CriticalSection;

use super::{
    Instant,
    tree::{self, Links},
};

/// A timer's place in the queue. Its owner is the [`Timer`](super::Timer) around it.
pub(super) struct TimerNode {
    links: Links<Self>,
    /// Written by the owner while unlinked, so that the tree's order never changes under it.
    deadline: Cell<Instant>,
    /// There while the node waits, and used in critical sections only then.
    waker: UnsafeCell<MaybeUninit<Waker>>,
    /// A [`NodeState`]. Only the owner moves it to and from idle; the runner has it fire.
    state: AtomicU8,
    _pinned: PhantomPinned,
}

/// Where a node is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NodeState {
    /// Not in the queue: it waits for its first poll.
    Idle,
    /// In the queue.
    Waiting,
    /// Its deadline has passed, and it has been taken out of the queue.
    Fired,
}

impl tree::TreeNode for TimerNode {
    type Key = Instant;

    #[inline(always)]
    fn key(&self) -> Instant {
        self.deadline.get()
    }

    #[inline(always)]
    fn links(&self) -> &Links<Self> {
        &self.links
    }
}

impl TimerNode {
    #[inline(always)]
    pub(super) const fn new(deadline: Instant) -> Self {
        Self {
            links: Links::new(),
            deadline: Cell::new(deadline),
            waker: UnsafeCell::new(MaybeUninit::uninit()),
            state: AtomicU8::new(NodeState::Idle as u8),
            _pinned: PhantomPinned,
        }
    }

    #[inline(always)]
    pub(super) fn deadline(&self) -> Instant {
        self.deadline.get()
    }

    #[inline(always)]
    pub(super) fn state(&self) -> NodeState {
        const IDLE: u8 = NodeState::Idle as u8;
        const WAITING: u8 = NodeState::Waiting as u8;
        match self.state.load(Ordering::Acquire) {
            IDLE => NodeState::Idle,
            WAITING => NodeState::Waiting,
            _ => NodeState::Fired,
        }
    }

    #[inline(always)]
    fn set_state(&self, state: NodeState) {
        self.state.store(state as u8, Ordering::Release);
    }

    #[inline(always)]
    pub(super) fn is_waiting(&self) -> bool {
        self.state() == NodeState::Waiting
    }

    /// A new deadline for a node that is not in the queue.
    pub(super) fn rewind(&self, deadline: Instant) {
        debug_assert!(!self.is_waiting(), "the tree's order would change");
        self.deadline.set(deadline);
        self.set_state(NodeState::Idle);
    }

    /// The deadline of a node that is not in the queue has passed.
    #[inline(always)]
    pub(super) fn mark_fired(&self) {
        debug_assert!(!self.is_waiting(), "it would be left in the tree");
        self.set_state(NodeState::Fired);
    }

    /// It comes into the queue: that waker is woken.
    ///
    /// # Safety
    ///
    /// It is idle.
    #[inline(always)]
    pub(super) unsafe fn wait(&self, waker: Waker, _cs: CriticalSection<'_>) {
        // SAFETY: outside of the queue only its owner knows of it, who is the caller.
        let place = unsafe { &mut *self.waker.get() };
        place.write(waker);
        self.set_state(NodeState::Waiting);
    }

    /// It has been taken out of the queue because its deadline has passed. Gives its waker.
    ///
    /// # Safety
    ///
    /// It was waiting.
    #[inline(always)]
    pub(super) unsafe fn fire(&self, cs: CriticalSection<'_>) -> Waker {
        // SAFETY: as the caller says.
        let waker = unsafe { self.take_waker(cs) };
        // The owner may let go of the node from here on.
        self.set_state(NodeState::Fired);
        waker
    }

    /// It has been taken out of the queue before its deadline. Gives its waker.
    ///
    /// # Safety
    ///
    /// It was waiting.
    #[inline(always)]
    pub(super) unsafe fn give_up(&self, cs: CriticalSection<'_>) -> Waker {
        // SAFETY: as the caller says.
        let waker = unsafe { self.take_waker(cs) };
        self.set_state(NodeState::Idle);
        waker
    }

    /// # Safety
    ///
    /// It was waiting, and is no longer.
    #[inline(always)]
    unsafe fn take_waker(&self, _cs: CriticalSection<'_>) -> Waker {
        // SAFETY: the waker is used in critical sections only.
        let place = unsafe { &*self.waker.get() };
        // SAFETY: it has been there since the node began to wait, and is not read again.
        unsafe { place.assume_init_read() }
    }

    /// Has another waker be woken, and gives back the one that was. If the node does not wait, that is the new one.
    pub(super) fn exchange_waker(&self, waker: Waker, _cs: CriticalSection<'_>) -> Waker {
        if !self.is_waiting() {
            return waker;
        }
        // SAFETY: the waker is used in critical sections only.
        let place = unsafe { &mut *self.waker.get() };
        // SAFETY: it is there while the node waits.
        let stored = unsafe { place.assume_init_mut() };
        core::mem::replace(stored, waker)
    }

    /// Whether the node waits, and the stored waker wakes the same task as `other`.
    pub(super) fn will_wake(&self, other: &Waker, _cs: CriticalSection<'_>) -> bool {
        if !self.is_waiting() {
            return false;
        }
        // SAFETY: the waker is used in critical sections only.
        let place = unsafe { &*self.waker.get() };
        // SAFETY: it is there while the node waits.
        unsafe { place.assume_init_ref() }.will_wake(other)
    }
}
