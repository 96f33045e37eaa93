//! A timer's node in the queue: its deadline, its tree links, and its waker.
//!
//! # Why a node may lie in a future
//!
//! A node is linked only through `Pin<&mut Timer>`. Pinning guarantees that the memory is not
//! reused before the timer's `drop` has run, and `drop` unlinks the node. So `mem::forget` of a
//! pinned timer leaks the memory with a valid node in it, and `mem::forget` of an unpinned timer
//! forgets a node that was never linked.

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

/// A timer's node in the queue. Its owner is the [`Timer`](super::Timer) that contains it.
pub(super) struct TimerNode {
    links: Links<Self>,
    /// Written by the owner while unlinked, so that the tree's order never changes under it.
    deadline: Cell<Instant>,
    /// Initialized while the node waits; then used in critical sections only.
    waker: UnsafeCell<MaybeUninit<Waker>>,
    /// A [`NodeState`]. The owner changes it to and from `Idle`, the run loop to `Fired`.
    state: AtomicU8,
    _pinned: PhantomPinned,
}

/// The state of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NodeState {
    /// Not in the queue: not polled since it was made or reset.
    Idle,
    /// In the queue.
    Waiting,
    /// Not in the queue: its deadline has passed.
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

    /// Sets a new deadline. The node must not be in the queue.
    pub(super) fn rewind(&self, deadline: Instant) {
        debug_assert!(!self.is_waiting(), "the tree's order would change");
        self.deadline.set(deadline);
        self.set_state(NodeState::Idle);
    }

    /// Notes that the deadline has passed. The node must not be in the queue.
    #[inline(always)]
    pub(super) fn mark_fired(&self) {
        debug_assert!(!self.is_waiting(), "it would stay in the tree");
        self.set_state(NodeState::Fired);
    }

    /// Stores the waker: the node is about to be put into the queue.
    ///
    /// # Safety
    ///
    /// The node is idle.
    #[inline(always)]
    pub(super) unsafe fn wait(&self, waker: Waker, _cs: CriticalSection<'_>) {
        // SAFETY: while the node is not in the queue, only its owner uses it, which is the caller.
        let stored = unsafe { &mut *self.waker.get() };
        stored.write(waker);
        self.set_state(NodeState::Waiting);
    }

    /// Returns the waker: the node was taken out of the queue because its deadline has passed.
    ///
    /// # Safety
    ///
    /// The node was waiting.
    #[inline(always)]
    pub(super) unsafe fn fire(&self, cs: CriticalSection<'_>) -> Waker {
        // SAFETY: as the caller promises.
        let waker = unsafe { self.take_waker(cs) };
        // From here on the owner may free the node.
        self.set_state(NodeState::Fired);
        waker
    }

    /// Returns the waker: the node was taken out of the queue before its deadline.
    ///
    /// # Safety
    ///
    /// The node was waiting.
    #[inline(always)]
    pub(super) unsafe fn cancel(&self, cs: CriticalSection<'_>) -> Waker {
        // SAFETY: as the caller promises.
        let waker = unsafe { self.take_waker(cs) };
        self.set_state(NodeState::Idle);
        waker
    }

    /// # Safety
    ///
    /// The node was waiting, and no longer is after this call.
    #[inline(always)]
    unsafe fn take_waker(&self, _cs: CriticalSection<'_>) -> Waker {
        // SAFETY: the waker is used in critical sections only.
        let stored = unsafe { &*self.waker.get() };
        // SAFETY: it is initialized since the node began to wait, and is not read again.
        unsafe { stored.assume_init_read() }
    }

    /// Replaces the waker, and returns the old one; if the node does not wait, returns the new one.
    pub(super) fn exchange_waker(&self, waker: Waker, _cs: CriticalSection<'_>) -> Waker {
        if !self.is_waiting() {
            return waker;
        }
        // SAFETY: the waker is used in critical sections only.
        let stored = unsafe { &mut *self.waker.get() };
        // SAFETY: it is initialized while the node waits.
        let stored = unsafe { stored.assume_init_mut() };
        core::mem::replace(stored, waker)
    }

    /// Whether the node waits, and the stored waker wakes the same task as `other`.
    pub(super) fn will_wake(&self, other: &Waker, _cs: CriticalSection<'_>) -> bool {
        if !self.is_waiting() {
            return false;
        }
        // SAFETY: the waker is used in critical sections only.
        let stored = unsafe { &*self.waker.get() };
        // SAFETY: it is initialized while the node waits.
        unsafe { stored.assume_init_ref() }.will_wake(other)
    }
}
