//! Who serves a queue: the run loops of one vCPU at a time.

use core::{cell::Cell, sync::atomic::Ordering};

use critical_section::Mutex;

use super::TimerQueue;
use crate::{time::Instant, vcpu};

/// The vCPU whose run loops serve a queue, and how many they are: a task may run another loop.
pub(super) struct Owner(Mutex<Cell<(usize, u32)>>);

impl Owner {
    pub(super) const fn nobody() -> Self {
        Self(Mutex::new(Cell::new((0, 0))))
    }

    /// One more loop on this vCPU. Returns `false` if another vCPU owns the queue.
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

    /// Whether it is another vCPU's.
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
    /// Makes the queue call `hook`, in place of an earlier one, whenever a timer is polled whose deadline is
    /// earlier than all others: for a queue whose timers are polled on other vCPUs than its owner's.
    ///
    /// The owner may be asleep then, and its alarm set to a later deadline. The hook ends that sleep: by an
    /// interrupt that it sends to the owner's vCPU, or by what the owner's [idle policy](crate::idle::Idle)
    /// waits for. (Timers that are polled on the owner's vCPU call it too, and need it only in a loop that
    /// sleeps by other means than an idle policy.)
    ///
    /// # Contexts
    ///
    /// Any. The hook is called in the context of the poll, which may be an interrupt handler or inside a
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

    /// Whether another vCPU's loop serves it: then nobody else does, nor goes by its rests.
    #[cold]
    pub(crate) fn is_served_elsewhere(&self) -> bool {
        self.owner.is_elsewhere()
    }

    /// A timer with this deadline was put into the queue.
    #[cold]
    #[inline(never)]
    pub(super) fn tell_of(&self, deadline: Instant) {
        if self.head.load(Ordering::Relaxed) >= deadline.as_nanos() {
            self.earlier.call();
        }
    }
}

/// A queue, as one run loop serves it.
///
/// The loop's vCPU owns the queue from the first timer that there is to serve until the loop ends. A loop that finds
/// it owned by another vCPU leaves it alone, and must not wait while there are timers in it: they may be its own.
pub(crate) struct Served {
    queue: &'static TimerQueue,
    is_ours: bool,
}

impl Served {
    pub(crate) fn new(queue: &'static TimerQueue) -> Self {
        let is_ours = false;
        Self { queue, is_ours }
    }

    /// Whether this loop's vCPU owns the queue, now if nobody did.
    #[inline(always)]
    pub(crate) fn is_ours(&mut self) -> bool {
        self.is_ours || self.try_own()
    }

    /// [Turns](TimerQueue::turn) the queue if there is something in it and it is ours.
    #[inline(always)]
    pub(crate) fn turn(&mut self) -> Option<Instant> {
        let is_ours = self.is_ours || self.is_used() && self.try_own();
        if is_ours { self.queue.turn() } else { None }
    }

    /// Whether there is something to serve.
    fn is_used(&self) -> bool {
        self.queue.has_timers() || !self.queue.is_settled()
    }

    /// To be called before a wait.
    ///
    /// # Panics
    ///
    /// If there are timers in the queue, and another vCPU owns it.
    #[inline(always)]
    pub(crate) fn begin_to_wait(&mut self) {
        if !self.is_ours && self.queue.has_timers() {
            self.own();
        }
    }

    /// After a wait: wakes what is due, so that the pass that follows has something to poll. [`turn`](Self::turn)
    /// does that too, a pass later.
    #[inline(always)]
    pub(crate) fn look_after_wait(&self) {
        if self.is_ours {
            self.queue.look_after_wait();
        }
    }

    /// The loop has come to its end: the alarm goes off, unless it is set for somebody else.
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
            "another vCPU (on a host: another thread) serves this timer queue, which has one owner at a time, and a \
             loop that waits needs a queue of its own: give its executor one by `Runner::with_timers`, and use \
             `TimerQueue::timer`. `block_on`, `Timer::after` and `platform::host` use the global queue; tests that \
             do run one after another with `cargo test -- --test-threads=1`"
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
