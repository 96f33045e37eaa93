//! The timer queue: who waits for which instant, and what the alarm is set to.
//!
//! The queue is a red-black tree whose nodes lie in the timer futures themselves, so it needs no heap
//! and has no fixed size. Each operation on it is one critical section of O(log n) steps; the earliest
//! deadline is kept beside the tree, so that the idle check reads it in one load.
//!
//! # Why a node may lie in a future
//!
//! A node is linked only through `Pin<&mut Timer>`. Pinning promises that the memory is not reused
//! before the timer's `drop` has run, and `drop` unlinks. `mem::forget` on a pinned timer therefore
//! leaks the memory with the node still valid in it, and forgetting an unpinned timer forgets one
//! that was never linked.

use core::{
    cell::{Cell, RefCell},
    marker::PhantomPinned,
    sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    task::Waker,
};

use critical_section::{CriticalSection, Mutex};
use intrusive_collections::{KeyAdapter, RBTree, RBTreeLink, UnsafeRef, intrusive_adapter};

use super::{Alarm, Clock, Instant};

/// A timer's place in the queue. Its owner is the [`Timer`](super::Timer) around it.
pub(super) struct Node {
    link: RBTreeLink,
    /// Written by the owner while unlinked, so that the tree's order never changes under it.
    deadline: Cell<Instant>,
    /// Written in a critical section only.
    waker: Cell<Option<Waker>>,
    /// One of the `NodeState` constants. Only the owner moves it to and from `IDLE` and `LINKED`;
    /// the runner moves it from `LINKED` to `FIRED`.
    state: AtomicU8,
    _pinned: PhantomPinned,
}

const IDLE: u8 = 0;
const LINKED: u8 = 1;
const FIRED: u8 = 2;

intrusive_adapter!(NodeAdapter = UnsafeRef<Node>: Node { link => RBTreeLink });

impl KeyAdapter<'_> for NodeAdapter {
    type Key = Instant;

    fn get_key(&self, node: &Node) -> Instant {
        node.deadline.get()
    }
}

impl Node {
    pub(super) const fn new(deadline: Instant) -> Self {
        Self {
            link: RBTreeLink::new(),
            deadline: Cell::new(deadline),
            waker: Cell::new(None),
            state: AtomicU8::new(IDLE),
            _pinned: PhantomPinned,
        }
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline.get()
    }

    /// Whether it waits for its first poll. Only the owner changes that, so it may ask without a
    /// critical section.
    pub(super) fn is_idle(&self) -> bool {
        self.state.load(Ordering::Acquire) == IDLE
    }

    pub(super) fn has_fired(&self) -> bool {
        self.state.load(Ordering::Acquire) == FIRED
    }

    /// A new deadline for a node that is not in the queue.
    pub(super) fn rewind(&self, deadline: Instant) {
        debug_assert_ne!(self.state.load(Ordering::Relaxed), LINKED);
        self.deadline.set(deadline);
        self.state.store(IDLE, Ordering::Release);
    }

    pub(super) fn mark_fired(&self) {
        self.state.store(FIRED, Ordering::Release);
    }

    /// Replaces the waker and gives back the old one, which is to be dropped outside the section.
    fn swap_waker(&self, _cs: CriticalSection<'_>, waker: Option<Waker>) -> Option<Waker> {
        self.waker.replace(waker)
    }

    /// Whether the stored waker wakes the same task as `other`.
    fn will_wake(&self, cs: CriticalSection<'_>, other: &Waker) -> bool {
        let stored = self.swap_waker(cs, None);
        let same = stored.as_ref().is_some_and(|waker| waker.will_wake(other));
        self.swap_waker(cs, stored);
        same
    }
}

/// Timers in the order of their deadlines, with the clock that says what is due and the alarm that
/// interrupts when the next one is.
///
/// Most programs use the [global](Self::global) one and see it only through [`Timer`](super::Timer).
/// An instance of one's own serves tests that run in parallel, or a second clock.
///
/// # Examples
///
/// A guest that has an interrupt table of its own says so when its timer interrupts:
///
/// ```
/// use dormir::time::TimerQueue;
///
/// /// Called by the guest's own entry for the timer's interrupt.
/// fn on_timer_interrupt() {
///     // Acknowledge the interrupt, then:
///     TimerQueue::global().on_interrupt();
/// }
/// # on_timer_interrupt();
/// # assert!(!TimerQueue::global().is_settled());
/// ```
pub struct TimerQueue {
    machine: spin::Once<Machine>,
    tree: Mutex<RefCell<RBTree<NodeAdapter>>>,
    /// The earliest deadline in the tree; `NEVER` if it is empty. Written with the tree.
    head: AtomicU64,
    /// What the alarm is set to; `NEVER` if it is off or has fired. Written by the runner only.
    armed: AtomicU64,
    /// Set by the timer's interrupt: look at the clock.
    due: AtomicBool,
}

struct Machine {
    clock: &'static dyn Clock,
    alarm: &'static dyn Alarm,
}

// SAFETY: nodes are reached through the tree in critical sections only, so their `Cell`s and links are
// never used from two contexts at a time; what is read outside one is atomic. The wakers that go from
// context to context are `Send`, and the references in `machine` are to `Sync` things.
unsafe impl Sync for TimerQueue {}

/// A clock was installed before.
///
/// # Examples
///
/// ```
/// use dormir::{platform::host::VirtualClock, time::TimerQueue};
///
/// static CLOCK: VirtualClock = VirtualClock::new();
/// static TIMERS: TimerQueue = TimerQueue::new();
///
/// TIMERS.install(&CLOCK, &CLOCK)?;
/// let refused = TIMERS.install(&CLOCK, &CLOCK).expect_err("it has a clock");
/// println!("{refused}");
/// # Ok::<(), dormir::time::AlreadyInstalled>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AlreadyInstalled;

impl core::fmt::Display for AlreadyInstalled {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(
            "this timer queue has a clock already; install one once, before the first timer",
        )
    }
}

impl core::error::Error for AlreadyInstalled {}

static GLOBAL: TimerQueue = TimerQueue::new();

impl Default for TimerQueue {
    fn default() -> Self {
        Self::new()
    }
}

impl TimerQueue {
    /// An empty queue without a clock.
    ///
    /// # Examples
    ///
    /// ```
    /// use dormir::time::TimerQueue;
    ///
    /// static TIMERS: TimerQueue = TimerQueue::new();
    /// assert!(!TIMERS.has_clock());
    /// ```
    #[must_use]
    pub const fn new() -> Self {
        Self {
            machine: spin::Once::new(),
            tree: Mutex::new(RefCell::new(RBTree::new(NodeAdapter::NEW))),
            head: AtomicU64::new(Instant::NEVER.as_nanos()),
            armed: AtomicU64::new(Instant::NEVER.as_nanos()),
            due: AtomicBool::new(false),
        }
    }

    /// The queue of [`Timer::after`](super::Timer::after) and of [`block_on`](crate::block_on).
    ///
    /// # Examples
    ///
    /// ```
    /// use dormir::time::{Instant, TimerQueue};
    ///
    /// # dormir::platform::host::init();
    /// assert_eq!(TimerQueue::global().now(), Instant::now());
    /// ```
    #[must_use]
    #[inline]
    pub fn global() -> &'static Self {
        &GLOBAL
    }

    /// Gives the queue its clock and its alarm. A platform's `init` does this for the global queue.
    ///
    /// Call it with interrupts masked: a timer that is used from an interrupt handler meanwhile would
    /// wait for this call forever.
    ///
    /// # Errors
    ///
    /// [`AlreadyInstalled`] if it was called before; the first clock stays.
    ///
    /// # Examples
    ///
    /// ```
    /// use dormir::{platform::host::VirtualClock, time::TimerQueue};
    ///
    /// static CLOCK: VirtualClock = VirtualClock::new();
    ///
    /// // A guest gives its own clock and alarm, or those of `arch::x86_64`.
    /// TimerQueue::global().install(&CLOCK, &CLOCK)?;
    /// # Ok::<(), dormir::time::AlreadyInstalled>(())
    /// ```
    pub fn install(
        &self,
        clock: &'static dyn Clock,
        alarm: &'static dyn Alarm,
    ) -> Result<(), AlreadyInstalled> {
        let mut first = false;
        self.machine.call_once(|| {
            first = true;
            Machine { clock, alarm }
        });
        if first { Ok(()) } else { Err(AlreadyInstalled) }
    }

    /// Whether it has a clock.
    ///
    /// # Examples
    ///
    /// ```
    /// use dormir::time::{Instant, TimerQueue};
    ///
    /// /// For a log that begins before there is a clock.
    /// fn time_stamp() -> Option<Instant> {
    ///     let timers = TimerQueue::global();
    ///     timers.has_clock().then(|| timers.now())
    /// }
    /// # assert_eq!(time_stamp(), None);
    /// # dormir::platform::host::init();
    /// # assert!(time_stamp().is_some());
    /// ```
    #[must_use]
    pub fn has_clock(&self) -> bool {
        self.machine.is_completed()
    }

    /// The time now.
    ///
    /// # Panics
    ///
    /// If no clock is installed.
    ///
    /// # Examples
    ///
    /// ```
    /// use dormir::{platform::host::VirtualClock, time::{Instant, TimerQueue}};
    ///
    /// static CLOCK: VirtualClock = VirtualClock::new();
    /// static TIMERS: TimerQueue = TimerQueue::new();
    ///
    /// TIMERS.install(&CLOCK, &CLOCK)?;
    /// CLOCK.pass(7);
    /// assert_eq!(TIMERS.now(), Instant::from_nanos(7));
    /// # Ok::<(), dormir::time::AlreadyInstalled>(())
    /// ```
    #[must_use]
    pub fn now(&self) -> Instant {
        self.machine().clock.now()
    }

    fn machine(&self) -> &Machine {
        self.machine.get().expect(
            "no clock is installed: call dormir::platform::bare::init (or TimerQueue::install) first",
        )
    }

    /// To be called by the handler of the timer's interrupt, after it has acknowledged it: says that
    /// the clock is worth a look. Lock-free; may be called in any context, NMI included.
    ///
    /// # Examples
    ///
    /// ```
    /// use dormir::time::TimerQueue;
    ///
    /// static TIMERS: TimerQueue = TimerQueue::new();
    ///
    /// /// The handler of the timer's interrupt.
    /// fn on_timer() {
    ///     // Acknowledge the interrupt, then:
    ///     TIMERS.on_interrupt();
    /// }
    /// on_timer();
    /// assert!(!TIMERS.is_settled(), "the runner is to look at the clock");
    /// ```
    #[inline]
    pub fn on_interrupt(&self) {
        self.due.store(true, Ordering::Release);
    }

    /// Wakes what is due, though no interrupt came: for a loop that may have slept by other means than the
    /// alarm. To be followed by a [`turn`](Self::turn).
    pub(crate) fn look(&self) {
        if self.head.load(Ordering::Relaxed) == Instant::NEVER.as_nanos() {
            return;
        }
        let now = self.now();
        // An alarm that is still to come stays as it is. One whose time has passed may be over: it is set
        // again.
        if self.armed.load(Ordering::Relaxed) <= now.as_nanos() {
            self.armed
                .store(Instant::NEVER.as_nanos(), Ordering::Relaxed);
        }
        self.expire();
    }

    /// Withdraws the alarm: nobody turns the queue for now. The next turn sets it again.
    pub(crate) fn disarm(&self) {
        let never = Instant::NEVER.as_nanos();
        if self.armed.load(Ordering::Relaxed) != never {
            self.armed.store(never, Ordering::Relaxed);
            self.machine().alarm.off();
        }
    }

    /// Whether there is nothing for [`turn`](Self::turn) to do: no interrupt came, and no timer was
    /// added that is earlier than the alarm. Three loads; meant for the idle check, with interrupts
    /// masked.
    ///
    /// # Examples
    ///
    /// A loop of one's own, which halts as long as there is nothing to do:
    ///
    /// ```
    /// use dormir::{platform::host::VirtualClock, time::{Instant, TimerQueue}};
    ///
    /// static CLOCK: VirtualClock = VirtualClock::new();
    /// static TIMERS: TimerQueue = TimerQueue::new();
    /// # let halt_until = |deadline: Option<Instant>| { CLOCK.pass(1); TIMERS.on_interrupt(); };
    ///
    /// TIMERS.install(&CLOCK, &CLOCK)?;
    /// let deadline = TIMERS.turn();
    /// if TIMERS.is_settled() {
    ///     halt_until(deadline);
    /// }
    /// assert!(!TIMERS.is_settled(), "an interrupt came");
    /// # Ok::<(), dormir::time::AlreadyInstalled>(())
    /// ```
    #[must_use]
    #[inline]
    pub fn is_settled(&self) -> bool {
        !self.due.load(Ordering::Acquire)
            && self.head.load(Ordering::Relaxed) >= self.armed.load(Ordering::Relaxed)
    }

    /// One turn of the runner: if the timer's interrupt came, wakes the tasks whose deadlines have
    /// passed; then sets the alarm if the next deadline is earlier than what it is set to.
    ///
    /// When the last timer goes, the alarm stays as it is: one interrupt that finds nothing due costs
    /// less than a write for each timer that is dropped.
    ///
    /// Returns the next deadline. It is called between polls by the one loop that runs tasks
    /// ([`block_on`](crate::block_on) does it); not from interrupt handlers.
    ///
    /// # Panics
    ///
    /// If timers are waiting and no clock is installed.
    ///
    /// # Examples
    ///
    /// ```
    /// use dormir::{
    ///     executor::{Executor, Shared, Up64}, platform::host::VirtualClock,
    ///     time::{Instant, Timer, TimerQueue},
    /// };
    ///
    /// static CLOCK: VirtualClock = VirtualClock::new();
    /// static TIMERS: TimerQueue = TimerQueue::new();
    /// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
    /// # dormir::task! { async fn wait(timer: Timer), pool = 1 { timer.await } }
    ///
    /// TIMERS.install(&CLOCK, &CLOCK)?;
    /// let mut runner = EXECUTOR.enter()?.with_timers(&TIMERS);
    /// # runner.spawner().spawn_detached(wait(TIMERS.timer(Instant::from_nanos(5))))?;
    /// // A pass of a loop of one's own: the tasks, then the timers, whose alarm it sets.
    /// runner.pass();
    /// let next = TIMERS.turn();
    /// assert_eq!(CLOCK.alarm(), next);
    /// # assert_eq!(next, Some(Instant::from_nanos(5)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn turn(&self) -> Option<Instant> {
        loop {
            if self.due.load(Ordering::Relaxed) && self.due.swap(false, Ordering::Acquire) {
                // The alarm is a one-shot: what fired is no longer set. If the interrupt was an older
                // one, the alarm is merely written once more than necessary.
                self.armed
                    .store(Instant::NEVER.as_nanos(), Ordering::Relaxed);
                self.expire();
            }
            let head = Instant::from_nanos(self.head.load(Ordering::Relaxed));
            if head == Instant::NEVER {
                return None;
            }
            if head.as_nanos() >= self.armed.load(Ordering::Relaxed) {
                return Some(head);
            }
            let machine = self.machine();
            machine.alarm.set(head);
            self.armed.store(head.as_nanos(), Ordering::Relaxed);
            // An alarm may ignore a deadline that has passed by the time it is written, so what
            // passed meanwhile is due now, interrupt or not.
            if machine.clock.now() < head {
                return Some(head);
            }
            self.due.store(true, Ordering::Relaxed);
        }
    }

    /// Wakes what is due, one node to a critical section, each task outside of it.
    fn expire(&self) {
        if self.head.load(Ordering::Relaxed) == Instant::NEVER.as_nanos() {
            return;
        }
        let now = self.machine().clock.now();
        while let Some(waker) = self.pop_due(now) {
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// Takes the first node out if it is due: `Some` of its waker.
    fn pop_due(&self, now: Instant) -> Option<Option<Waker>> {
        critical_section::with(|cs| {
            if self.head.load(Ordering::Relaxed) > now.as_nanos() {
                return None;
            }
            let mut tree = self.tree.borrow_ref_mut(cs);
            let mut first = tree.front_mut();
            let node = first.remove()?;
            let next = first.get().map_or(Instant::NEVER, Node::deadline);
            self.head.store(next.as_nanos(), Ordering::Relaxed);
            let waker = node.swap_waker(cs, None);
            node.mark_fired();
            Some(waker)
        })
    }

    /// Puts `node` into the queue if it is not there, and makes `waker` the one that is woken.
    /// Returns whether the node has fired.
    ///
    /// # Safety
    ///
    /// `node` must stay where it is, and be passed to [`unlink`](Self::unlink) of this queue before
    /// its memory is reused. A node that is linked must be linked to this queue.
    pub(super) unsafe fn link(&self, node: &Node, waker: &Waker) -> bool {
        let state = node.state.load(Ordering::Acquire);
        if state == FIRED {
            return true;
        }
        if state == LINKED && critical_section::with(|cs| node.will_wake(cs, waker)) {
            return node.has_fired();
        }
        // Cloning and dropping a waker is foreign code: it runs outside the critical section.
        let waker = waker.clone();
        let replaced = critical_section::with(|cs| {
            match node.state.load(Ordering::Relaxed) {
                FIRED => return Some(waker),
                IDLE => {
                    // SAFETY: the caller promises that the node stays in place until `unlink`, and
                    // it is only ever reached by shared reference.
                    let pointer = unsafe { UnsafeRef::from_raw(core::ptr::from_ref(node)) };
                    self.tree.borrow_ref_mut(cs).insert(pointer);
                    let deadline = node.deadline().as_nanos();
                    if deadline < self.head.load(Ordering::Relaxed) {
                        self.head.store(deadline, Ordering::Relaxed);
                    }
                    node.state.store(LINKED, Ordering::Relaxed);
                }
                _ => {}
            }
            node.swap_waker(cs, Some(waker))
        });
        drop(replaced);
        node.has_fired()
    }

    /// Takes `node` out of the queue if it is there.
    ///
    /// # Safety
    ///
    /// A node that is linked must be linked to this queue.
    pub(super) unsafe fn unlink(&self, node: &Node) {
        if node.state.load(Ordering::Acquire) != LINKED {
            return;
        }
        let waker = critical_section::with(|cs| {
            if node.state.load(Ordering::Relaxed) == LINKED {
                let mut tree = self.tree.borrow_ref_mut(cs);
                // SAFETY: `LINKED` is stored and cleared in the critical sections that insert and
                // remove, so the node is in a tree, and the caller says that it is this one.
                let mut cursor = unsafe { tree.cursor_mut_from_ptr(node) };
                cursor.remove();
                let head = tree.front().get().map_or(Instant::NEVER, Node::deadline);
                self.head.store(head.as_nanos(), Ordering::Relaxed);
                node.state.store(IDLE, Ordering::Relaxed);
            }
            node.swap_waker(cs, None)
        });
        drop(waker);
    }
}

#[cfg(test)]
mod tests;
