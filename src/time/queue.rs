//! The timer queue: who waits for which instant, and what the alarm is set to.
//!
//! The queue is a [tree](super::tree) whose nodes lie in the timer futures themselves, so it needs no heap
//! and has no fixed size. Each operation on it is one critical section of O(log n) steps; the earliest
//! deadline is kept beside the tree, so that the idle check reads it in one load.

use core::{
    ptr,
    sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering},
    task::Waker,
};

use critical_section::Mutex;

use super::{Instant, node::TimerNode, tree::Tree};
use crate::hook::Hook;
pub use devices::AlreadyInstalled;
use devices::Devices;
use owner::Owner;
pub(crate) use owner::Served;

mod devices;
mod owner;
mod serve;

/// [`Instant::NEVER`], as it lies in the atomics.
const NEVER: u64 = Instant::NEVER.as_nanos();

/// Timers in the order of their deadlines, with the clock that says what is due and the alarm that
/// interrupts when the next one is.
///
/// Most programs use the [global](Self::global) one and see it only through [`Timer`](super::Timer).
/// An instance of one's own serves tests that run in parallel, a second clock, or another vCPU.
///
/// # A queue has one owner
///
/// It is served, and its alarm set, by one vCPU at a time (on a host: by one thread): its owner. That is the
/// one whose run loop ([`Runner::run`](crate::executor::Runner::run) and its like,
/// [`block_on`](crate::block_on)) first finds timers in it, until the loop ends. Loops may be nested, on that
/// vCPU. A loop on another one leaves the queue alone; it panics if it would wait while there are timers in the
/// queue, since they may be its own: it needs a queue of its own, by
/// [`Runner::with_timers`](crate::executor::Runner::with_timers), and timers of that queue, by
/// [`timer`](Self::timer).
///
/// The timers of a queue may be polled and dropped on other vCPUs than the owner's, where the program's
/// implementation of `critical-section` keeps vCPUs apart. Their deadlines are in time only if
/// [`on_earlier`](Self::on_earlier) tells the owner.
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
    /// The one in `installed`, or one that panics: so nobody asks whether there is one.
    devices: AtomicPtr<Devices>,
    installed: spin::Once<Devices>,
    tree: Mutex<Tree<TimerNode>>,
    /// The earliest deadline in the tree; `NEVER` if it is empty. Written with the tree.
    head: AtomicU64,
    /// The deadline that the alarm is set for; `NEVER` if the next one is to be set anew. Written by the
    /// runner only, as is `live`.
    armed: AtomicU64,
    /// When the alarm interrupts, by what was last asked of it: 0 if it is off. It stays until the alarm is
    /// set anew or turned off, since an interrupt may have been another's, and the alarm's still to come; `NEVER`
    /// where its deadline has passed and nobody has seen the interrupt.
    live: AtomicU64,
    /// Set by the timer's interrupt: look at the clock.
    due: AtomicBool,
    /// How much later than a deadline the alarm may come, in nanoseconds.
    slack: AtomicU64,
    /// Whose run loops serve it.
    owner: Owner,
    /// What tells the owner of an earlier deadline.
    earlier: Hook,
}

// SAFETY: nodes are reached through the tree in critical sections only, so their links and wakers are
// never used from two contexts at a time; what is read outside one is atomic. The wakers that go from
// context to context are `Send`, and the references in `devices` are to `Sync` things.
unsafe impl Sync for TimerQueue {}

/// The queue of [`TimerQueue::global`].
pub(crate) static GLOBAL: TimerQueue = TimerQueue::new();

impl Default for TimerQueue {
    fn default() -> Self {
        Self::new()
    }
}

impl TimerQueue {
    /// Where `due` lies, for interrupt entries: they store a one there.
    #[cfg(all(target_arch = "x86_64", target_os = "none", feature = "bare"))]
    pub(crate) const DUE: usize = core::mem::offset_of!(Self, due);

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
            devices: AtomicPtr::new(ptr::from_ref(&devices::NONE).cast_mut()),
            installed: spin::Once::new(),
            tree: Mutex::new(Tree::new()),
            head: AtomicU64::new(NEVER),
            armed: AtomicU64::new(NEVER),
            live: AtomicU64::new(0),
            due: AtomicBool::new(false),
            slack: AtomicU64::new(0),
            owner: Owner::nobody(),
            earlier: Hook::none(),
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

    /// The next deadline; [`Instant::NEVER`] if there is none.
    #[cfg(feature = "embassy-time")]
    pub(super) fn head(&self) -> Instant {
        Instant::from_nanos(self.head.load(Ordering::Relaxed))
    }

    /// One turn of the runner: if the timer's interrupt came, wakes the tasks whose deadlines have passed;
    /// if not, sets the alarm if the next deadline is earlier than what it is set to.
    ///
    /// So the alarm is not set for what comes after a deadline until the tasks that were woken have been
    /// polled, which often have an earlier one. Until then the queue is not [settled](Self::is_settled): do
    /// not halt then, but turn it again.
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
    #[inline]
    pub fn turn(&self) -> Option<Instant> {
        let mut head = self.head.load(Ordering::Relaxed);
        if self.due.load(Ordering::Relaxed) {
            self.answer_interrupt();
            head = self.head.load(Ordering::Relaxed);
        } else if head < self.armed.load(Ordering::Relaxed) {
            self.set_alarm(Instant::from_nanos(head));
            head = self.head.load(Ordering::Relaxed);
        }
        (head != NEVER).then_some(Instant::from_nanos(head))
    }

    /// Puts `node` into the queue, which has `waker` be woken at its deadline.
    ///
    /// # Safety
    ///
    /// `node` is idle. It must stay where it is, and be passed to [`unlink`](Self::unlink) of this queue
    /// before its memory is reused.
    #[inline(never)]
    pub(super) unsafe fn link(&self, node: &TimerNode, waker: &Waker) {
        // Cloning a waker is foreign code: it runs outside the critical section.
        let waker = waker.clone();
        critical_section::with(|cs| {
            // SAFETY: it is not in the queue, where only its owner puts it.
            unsafe { node.wait(waker, cs) };
            let tree = self.tree.borrow(cs);
            // SAFETY: the caller says that the node stays in place until `unlink`, which removes it; its
            // deadline changes outside of the queue only.
            unsafe { tree.insert(node) };
            if tree.is_first(node) {
                self.head
                    .store(node.deadline().as_nanos(), Ordering::Relaxed);
            }
        });
        if self.earlier.is_set() {
            self.tell_of(node.deadline());
        }
    }

    /// Takes `node` out of the queue if it is there.
    ///
    /// # Safety
    ///
    /// If the node was linked since it was made or unlinked, it was to this queue.
    #[inline(never)]
    pub(super) unsafe fn unlink(&self, node: &TimerNode) {
        let waker = critical_section::with(|cs| {
            if !node.is_waiting() {
                // As in `pop_due`.
                return Waker::noop().clone();
            }
            let tree = self.tree.borrow(cs);
            let was_first = tree.is_first(node);
            // SAFETY: who waits is in a tree, and the caller says that it is this one.
            unsafe { tree.remove(node) };
            if was_first {
                self.head.store(first_deadline(tree), Ordering::Relaxed);
            }
            // SAFETY: it was in the queue until now.
            unsafe { node.give_up(cs) }
        });
        // Foreign code: outside the section.
        drop(waker);
    }
}

/// The deadline of the tree's first node; `NEVER` if it is empty.
#[inline(always)]
fn first_deadline(tree: &Tree<TimerNode>) -> u64 {
    tree.first()
        .map_or(NEVER, |node| node.deadline().as_nanos())
}

#[cfg(test)]
mod tests;
