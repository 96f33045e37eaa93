//! The owner of a queue: the vCPU whose run loops serve it.

use core::{cell::Cell, sync::atomic::Ordering};

use critical_section::Mutex;

use super::TimerQueue;
use crate::{time::Instant, vcpu};

/// The vCPU whose run loops serve a queue, and the number of these loops: a task may run another
/// loop.
pub(super) struct Owner(Mutex<Cell<(usize, u32)>>);

impl Owner {
    pub(super) const fn none() -> Self {
        Self(Mutex::new(Cell::new((0, 0))))
    }

    /// Adds a loop on this vCPU. Returns `false` if another vCPU owns the queue.
    fn add(&self) -> bool {
        let here = vcpu::current();
        critical_section::with(|cs| {
            let owner = self.0.borrow(cs);
            let (vcpu, loops) = owner.get();
            let is_ours = loops == 0 || vcpu == here;
            if is_ours {
                owner.set((here, loops + 1));
            }
            is_ours
        })
    }

    /// Whether another vCPU owns the queue.
    fn is_elsewhere(&self) -> bool {
        let here = vcpu::current();
        let (vcpu, loops) = critical_section::with(|cs| self.0.borrow(cs).get());
        loops != 0 && vcpu != here
    }

    fn remove(&self) {
        critical_section::with(|cs| {
            let owner = self.0.borrow(cs);
            let (vcpu, loops) = owner.get();
            owner.set((vcpu, loops - 1));
        });
    }
}

impl TimerQueue {
    /// Makes the queue call `hook`, in place of an earlier hook, whenever a timer is polled whose
    /// deadline is earlier than all others: for a queue whose timers are polled on other vCPUs than
    /// its owner.
    ///
    /// The owner may be asleep, with its alarm set to a later deadline. The hook ends that sleep:
    /// it sends an interrupt to the owner, or does whatever the owner's [idle
    /// policy](crate::idle::Idle) waits for. (Timers that are polled on the owner call it too. They
    /// need it only in a loop that sleeps by other means than an idle policy.) To send an interrupt
    /// by an MSR, see [`Executor::on_wake`](crate::executor::Executor::on_wake).
    ///
    /// # Contexts
    ///
    /// Any. The hook runs in the context of the poll, which may be an interrupt handler or a
    /// critical section.
    ///
    /// # Examples
    ///
    /// ```
    /// use core::sync::atomic::{AtomicBool, Ordering};
    /// use dormir::{platform::host, time::{Instant, Timer, TimerQueue}};
    ///
    /// static KICKED: AtomicBool = AtomicBool::new(false);
    ///
    /// host::init();
    /// // A guest would send an interrupt to the vCPU that runs the tasks.
    /// TimerQueue::global().on_earlier(|| KICKED.store(true, Ordering::SeqCst));
    /// dormir::block_on(Timer::at(Instant::from_nanos(5)), host::Skip);
    /// assert!(KICKED.load(Ordering::SeqCst));
    /// ```
    pub fn on_earlier(&self, hook: fn()) {
        self.earlier.set(hook);
    }

    /// Whether a loop of another vCPU serves the queue. Then no loop of this vCPU does, nor pauses
    /// for it.
    #[cold]
    pub(crate) fn is_served_elsewhere(&self) -> bool {
        self.owner.is_elsewhere()
    }

    /// Calls the hook if this deadline, of a timer that was just linked, is the earliest.
    #[cold]
    #[inline(never)]
    pub(super) fn notify_owner(&self, deadline: Instant) {
        if self.head.load(Ordering::Relaxed) >= deadline.as_nanos() {
            self.earlier.call();
        }
    }
}

/// One run loop's service of a queue.
///
/// The loop's vCPU owns the queue from the first timer that the loop finds in it until the loop
/// ends. A loop that finds another owner leaves the queue alone. It must not wait while there are
/// timers in the queue: they may be its own.
pub(crate) struct Served {
    queue: &'static TimerQueue,
    is_ours: bool,
}

impl Served {
    pub(crate) fn new(queue: &'static TimerQueue) -> Self {
        let is_ours = false;
        Self { queue, is_ours }
    }

    /// Whether this loop's vCPU owns the queue. It becomes the owner if there was none.
    #[inline(always)]
    pub(crate) fn is_ours(&mut self) -> bool {
        self.is_ours || self.try_own()
    }

    /// [Turns](TimerQueue::turn) the queue if it is in use and ours.
    #[inline(always)]
    pub(crate) fn turn(&mut self) -> Option<Instant> {
        let is_ours = self.is_ours || self.is_used() && self.try_own();
        if is_ours { self.queue.turn() } else { None }
    }

    /// Whether the queue has a timer, or something to do.
    fn is_used(&self) -> bool {
        self.queue.has_timers() || !self.queue.is_settled()
    }

    /// To be called before a wait.
    ///
    /// # Panics
    ///
    /// If there are timers in the queue and another vCPU owns it.
    #[inline(always)]
    pub(crate) fn begin_to_wait(&mut self) {
        if !self.is_ours && self.queue.has_timers() {
            self.own();
        }
    }

    /// To be called after a wait: wakes what is due, so that the next pass has something to poll.
    /// [`turn`](Self::turn) would do that one pass later.
    #[inline(always)]
    pub(crate) fn look_after_wait(&self) {
        if self.is_ours {
            self.queue.look_after_wait();
        }
    }

    /// Ends the service: turns the alarm off, unless another loop needs it.
    pub(crate) fn disarm(&mut self) {
        if self.is_ours || !self.queue.has_timers() && self.try_own() {
            self.queue.disarm();
        }
    }

    #[cold]
    fn try_own(&mut self) -> bool {
        self.is_ours = self.queue.owner.add();
        self.is_ours
    }

    #[cold]
    #[inline(never)]
    fn own(&mut self) {
        assert!(
            self.try_own(),
            "another vCPU (on a host: another thread) serves this timer queue, which has one \
             owner at a time. A loop that waits needs a queue of its own: give its executor one by \
             `Runner::with_timers`, and use `TimerQueue::timer`. `block_on`, `Timer::after` and \
             `platform::host` use the global queue; tests that do must run one after another, by \
             `cargo test -- --test-threads=1`"
        );
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if self.is_ours {
            self.queue.owner.remove();
        }
    }
}
