//! The timer queue: pending timers in the order of their deadlines, a clock, and an alarm for the
//! earliest one.
//!
//! The queue is a [tree](super::tree) whose nodes lie in the timer futures themselves, so it needs
//! no heap and has no fixed size. Each operation on it is one critical section of O(log n) steps.
//! The earliest deadline, `head`, is kept beside the tree, so that the idle check reads it in one
//! load.
//!
//! # States
//!
//! ```text
//!   +---------+           link            +-----------+
//!   |  EMPTY  | ------------------------> |  UNARMED  | <-----------------+
//!   +---------+ <------------------------ +-----------+                   |
//!        ^       unlink of the last timer    |     ^                      |
//!        |                             turn: |     | link of a timer      |
//!        |                       alarm.set() |     | earlier than `armed` |
//!        |                                   v     |                      |
//!        |                                +-----------+                   |
//!        |                                |   ARMED   |                   |
//!        |                                +-----------+                   |
//!        |                                      |                         |
//!        |                         on_interrupt | (in each state)         |
//!        |                                      v                         |
//!        |  turn: wakes what is due       +-----------+  turn: the same,  |
//!        +------------------------------- |    DUE    | ------------------+
//!           no timer is left              +-----------+  others are left
//! ```
//!
//! | state | `due` | `head` and `armed` | [settled](TimerQueue::is_settled) |
//! | --- | --- | --- | --- |
//! | EMPTY | `false` | both `NEVER` | yes |
//! | UNARMED | `false` | `head < armed` | no |
//! | ARMED | `false` | `armed <= head`, and `armed` is not `NEVER` | yes |
//! | DUE | `true` | any | no |
//!
//! - UNARMED, [`turn`](TimerQueue::turn): `set_alarm` stores `live` and `armed = head`, and sets
//!   the alarm. An alarm may ignore a deadline that passes meanwhile. So `set_alarm` then looks at
//!   the clock, and if the deadline has passed, does what `turn` does in DUE.
//! - DUE, `turn`: `answer_interrupt` stores `due = false` and `armed = NEVER`, looks at the clock,
//!   takes each timer whose deadline has passed out of the tree and wakes its waker. With no timer
//!   in the tree it turns the alarm off instead, if that is still to come. After a wait the loop
//!   does this before its pass, by `look_after_wait`.
//! - DUE goes to UNARMED and not to ARMED: the woken tasks run before the alarm is set, since they
//!   often wait for an earlier deadline. Until then the queue is not settled, so the loop does not
//!   halt.
//! - `unlink` leaves `armed` and the alarm as they are, also when it empties the tree: one
//!   interrupt that finds nothing due costs less than an alarm write for each timer that is
//!   dropped. A queue that is UNARMED only by the timer that `unlink` takes out is ARMED again.
//! - `look`, which needs no interrupt, wakes what is due in any state. A loop that ends calls
//!   `disarm`: the alarm is off, and `armed` is `NEVER`.
//!
//! # Who writes what
//!
//! - The tree and `head`: `link` and `unlink`, in any context but NMI and machine check, and on any
//!   vCPU; `expire` in the run loop. Always both, in one critical section.
//! - `due`: `on_interrupt` and the timer's interrupt entry set it, in any context.
//!   `answer_interrupt` clears it, in the run loop.
//! - `armed`: `set_alarm`, `answer_interrupt`, `look` and `disarm`, in the run loop.
//! - `live`: `set_alarm`, `look` and `disarm`, in the run loop; `on_deadline`, in its idle policy.
//!
//! The run loop is that of the queue's [owner](TimerQueue#a-queue-has-one-owner), or one that calls
//! `turn` itself. It runs on one vCPU, not in interrupt handlers, and its idle policy runs inside
//! it. So nothing else writes `armed` or `live` between a load and a store of theirs.

use core::{
    fmt, ptr,
    sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering},
    task::Waker,
};

use critical_section::Mutex;

use super::{Instant, node::TimerNode, tree::Tree};
use crate::hook::Hook;
pub use devices::AlreadyInstalled;
pub(crate) use devices::Devices;
use owner::Owner;
pub(crate) use owner::Served;

mod devices;
mod owner;
mod serve;

/// [`Instant::NEVER`], as the atomics store it.
const NEVER: u64 = Instant::NEVER.as_nanos();

/// Timers in the order of their deadlines, with the clock that they are measured by and the alarm
/// that interrupts at the next one.
///
/// Most programs use the [global](Self::global) queue, through [`Timer`](super::Timer). Other
/// instances are for tests that run in parallel, a second clock, or another vCPU.
///
/// # A queue has one owner
///
/// One vCPU at a time (on a host: one thread) serves the queue and sets its alarm: its owner. A run
/// loop ([`Runner::run`](crate::executor::Runner::run) and the other `run` methods,
/// [`block_on`](crate::block_on)) makes its vCPU the owner when it first finds timers in the queue,
/// until the loop ends. Loops may be nested on that vCPU. A loop on another vCPU leaves the queue
/// alone. It panics if it would wait while there are timers in the queue, since these may be its
/// own: it needs a queue of its own, by
/// [`Runner::with_timers`](crate::executor::Runner::with_timers), and timers of that queue, by
/// [`timer`](Self::timer).
///
/// Other vCPUs may poll and drop the queue's timers, if the program's implementation of
/// `critical-section` excludes other vCPUs. Their deadlines are met in time only if
/// [`on_earlier`](Self::on_earlier) notifies the owner.
///
/// # Examples
///
/// A guest with an interrupt table of its own reports the timer's interrupt:
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
    /// The value of `installed`, or devices that panic: so no caller has to check.
    devices: AtomicPtr<Devices>,
    installed: spin::Once<Devices>,
    tree: Mutex<Tree<TimerNode>>,
    /// The earliest deadline in the tree; `NEVER` if it is empty.
    head: AtomicU64,
    /// The deadline that the alarm is set for; `NEVER` if the alarm must be set for the next one.
    armed: AtomicU64,
    /// When the alarm will interrupt, as last set: `armed` plus the slack. 0 if it is off. `NEVER`
    /// if its time has passed and its interrupt was not seen, so that it may still come.
    ///
    /// It stays when an interrupt comes: that may have been an earlier one, and the alarm's is
    /// still to come.
    live: AtomicU64,
    /// Set by the timer's interrupt: the clock must be looked at.
    due: AtomicBool,
    /// How much later than a deadline the alarm may come, in nanoseconds.
    slack: AtomicU64,
    /// The vCPU whose run loops serve the queue.
    owner: Owner,
    /// Notifies the owner of an earlier deadline.
    earlier: Hook,
}

// SAFETY: nodes are reached through the tree in critical sections only, so no two contexts use
// their links and wakers at once; all that is read outside of one is atomic. Wakers, which move
// between contexts, are `Send`, and the references in `devices` are to `Sync` types.
unsafe impl Sync for TimerQueue {}

/// The queue of [`TimerQueue::global`].
pub(crate) static GLOBAL: TimerQueue = TimerQueue::new();

impl Default for TimerQueue {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for TimerQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimerQueue")
            .field("has_clock", &self.has_clock())
            .field("next_deadline", &self.next_deadline())
            .field("is_settled", &self.is_settled())
            .field("slack", &self.slack())
            .finish_non_exhaustive()
    }
}

impl TimerQueue {
    /// The offset of `due`, for interrupt entries: they store a one there.
    #[cfg(all(target_arch = "x86_64", target_os = "none", feature = "bare"))]
    pub(crate) const DUE: usize = core::mem::offset_of!(Self, due);

    /// An empty queue without a clock.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            devices: AtomicPtr::new(ptr::from_ref(&devices::NOT_INSTALLED).cast_mut()),
            installed: spin::Once::new(),
            tree: Mutex::new(Tree::new()),
            head: AtomicU64::new(NEVER),
            armed: AtomicU64::new(NEVER),
            live: AtomicU64::new(0),
            due: AtomicBool::new(false),
            slack: AtomicU64::new(0),
            owner: Owner::none(),
            earlier: Hook::none(),
        }
    }

    /// The queue of [`Timer::after`](super::Timer::after) and of [`block_on`](crate::block_on).
    #[must_use]
    #[inline]
    pub fn global() -> &'static Self {
        &GLOBAL
    }

    /// Reports the timer's interrupt, so that the run loop looks at the clock. The interrupt's
    /// handler calls it after it has acknowledged the interrupt. Lock-free; may be called in any
    /// context, NMI included.
    #[inline]
    pub fn on_interrupt(&self) {
        self.due.store(true, Ordering::Release);
    }

    /// Whether [`turn`](Self::turn) has nothing to do: no interrupt came, and no timer is earlier
    /// than the alarm. Three loads; meant for the idle check, with interrupts masked.
    #[must_use]
    #[inline]
    pub fn is_settled(&self) -> bool {
        !self.due.load(Ordering::Acquire)
            && self.head.load(Ordering::Relaxed) >= self.armed.load(Ordering::Relaxed)
    }

    /// Returns the earliest deadline in the queue, which may have passed; [`Instant::NEVER`] if
    /// there is no timer. One load; may be called in any context, NMI included.
    ///
    /// # Examples
    ///
    /// ```
    /// use dormir::time::{Instant, TimerQueue};
    ///
    /// static TIMERS: TimerQueue = TimerQueue::new();
    ///
    /// assert_eq!(TIMERS.next_deadline(), Instant::NEVER);
    /// ```
    #[must_use]
    #[inline]
    pub fn next_deadline(&self) -> Instant {
        Instant::from_nanos(self.head.load(Ordering::Relaxed))
    }

    /// Does one turn of the loop: if the timer's interrupt came, wakes the tasks whose deadlines
    /// have passed; if not, sets the alarm if the next deadline is earlier than the one it is set
    /// for.
    ///
    /// So after a deadline the alarm is not set for the next one until the woken tasks have been
    /// polled, since they often wait for an earlier one. Until then the queue is not
    /// [settled](Self::is_settled): do not halt, but call `turn` again.
    ///
    /// When the last timer is dropped, the alarm stays as it is: one interrupt that finds nothing
    /// due costs less than an alarm write for each timer that is dropped.
    ///
    /// Returns the next deadline. To be called between polls by the one loop that runs tasks; not
    /// by interrupt handlers. [`block_on`](crate::block_on) and `Runner::run` call it themselves.
    ///
    /// # Panics
    ///
    /// If timers are pending and no clock is installed.
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
    /// # dormir::tasks! { async fn wait(timer: Timer), pool = 1 { timer.await } }
    ///
    /// TIMERS.install(&CLOCK, &CLOCK)?;
    /// let mut runner = EXECUTOR.enter()?.with_timers(&TIMERS);
    /// # runner.spawner().spawn_detached(wait(TIMERS.timer(Instant::from_nanos(5))))?;
    /// // One round of your own loop: the tasks, then the timers.
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

    /// Puts `node` into the queue, which wakes `waker` at its deadline.
    ///
    /// # Safety
    ///
    /// `node` is idle. It must stay where it is, and be passed to [`unlink`](Self::unlink) of this
    /// queue before its memory is reused.
    #[inline(never)]
    pub(super) unsafe fn link(&self, node: &TimerNode, waker: &Waker) {
        // Cloning a waker is foreign code: it runs outside the critical section.
        let waker = waker.clone();
        critical_section::with(|cs| {
            // SAFETY: the node is idle, so it is not in the queue.
            unsafe { node.wait(waker, cs) };
            let tree = self.tree.borrow(cs);
            // SAFETY: the caller promises that the node stays in place until `unlink`, which
            // removes it; its deadline changes outside of the queue only.
            unsafe { tree.insert(node) };
            if tree.is_first(node) {
                self.head
                    .store(node.deadline().as_nanos(), Ordering::Relaxed);
            }
            self.debug_head(tree);
        });
        if self.earlier.is_set() {
            self.notify_owner(node.deadline());
        }
    }

    /// Takes `node` out of the queue if it is in it.
    ///
    /// # Safety
    ///
    /// If the node is in a queue, it is in this one.
    #[inline(never)]
    pub(super) unsafe fn unlink(&self, node: &TimerNode) {
        let waker = critical_section::with(|cs| {
            if !node.is_waiting() {
                // As in `pop_due`.
                return Waker::noop().clone();
            }
            let tree = self.tree.borrow(cs);
            let was_first = tree.is_first(node);
            // SAFETY: a waiting node is in a tree, and the caller promises that it is this one.
            unsafe { tree.remove(node) };
            if was_first {
                self.head.store(first_deadline(tree), Ordering::Relaxed);
            }
            self.debug_head(tree);
            // SAFETY: the node was in the queue until now.
            unsafe { node.cancel(cs) }
        });
        // Dropping a waker is foreign code: it runs outside the critical section.
        drop(waker);
    }

    /// In builds with debug assertions, checks that the earliest deadline is the tree's.
    #[inline(always)]
    fn debug_head(&self, tree: &Tree<TimerNode>) {
        debug_assert_eq!(
            self.head.load(Ordering::Relaxed),
            first_deadline(tree),
            "the earliest deadline is not that of the tree's first node"
        );
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
