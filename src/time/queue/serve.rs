//! What the run loop does with the queue between polls: it sets the alarm, and wakes what is due.

use core::{mem, sync::atomic::Ordering, task::Waker};

use super::{NEVER, TimerQueue, first_deadline};
use crate::{progress, time::Instant};

impl TimerQueue {
    /// Wakes what is due, without an interrupt: for a loop that may have slept by other means than
    /// the alarm. To be followed by a [`turn`](Self::turn).
    pub(crate) fn look(&self) {
        self.look_and(Waker::wake);
    }

    /// The same, but calls `wake` with each waker.
    pub(crate) fn look_and(&self, wake: impl FnMut(Waker)) {
        if !self.has_timers() {
            return;
        }
        let now = self.now();
        // An alarm that is still to come stays as it is. One whose time has passed may have come:
        // it is set again.
        if self.armed.load(Ordering::Relaxed) <= now.as_nanos() {
            self.armed.store(NEVER, Ordering::Relaxed);
            self.expect_interrupt();
        }
        if self.head.load(Ordering::Relaxed) <= now.as_nanos() {
            self.expire(now, wake);
        }
    }

    /// Whether a timer is pending.
    #[inline(always)]
    pub(crate) fn has_timers(&self) -> bool {
        self.head.load(Ordering::Relaxed) != NEVER
    }

    /// If the timer's interrupt ended a wait, wakes what is due.
    #[inline(always)]
    pub(super) fn look_after_wait(&self) {
        if self.due.load(Ordering::Relaxed) {
            self.answer_interrupt();
        } else if self.slack.load(Ordering::Relaxed) != 0 {
            // Something else ended the wait. What is due must not wait for the alarm, which has
            // slack.
            self.look();
        }
    }

    /// Sets the alarm for the earliest deadline.
    #[inline(never)]
    pub(super) fn set_alarm(&self, head: Instant) {
        let slack = self.slack.load(Ordering::Relaxed);
        let mut at = head.as_nanos();
        if slack != 0 {
            at = at.saturating_add(slack).min(NEVER - 1);
        }
        self.live.store(at, Ordering::Relaxed);
        self.armed.store(head.as_nanos(), Ordering::Relaxed);
        let unarmed = Unarmed(self);
        self.devices().alarm.set(Instant::from_nanos(at));
        // The alarm may ignore a deadline that passed before it was written. So what passed
        // meanwhile is due now, with or without an interrupt.
        let has_passed = self.now() >= head;
        mem::forget(unarmed);
        if has_passed {
            self.answer_unseen();
        }
    }

    /// Wakes what is due. The timer's interrupt came, or the deadline passed by the clock.
    #[inline(never)]
    pub(super) fn answer_interrupt(&self) {
        // An interrupt that comes before this store is answered by the look at the clock below.
        self.due.store(false, Ordering::Relaxed);
        if self.head.load(Ordering::Relaxed) != NEVER {
            // The alarm is a one-shot: after its interrupt it is not set. If this was an older
            // interrupt, the alarm is written once more than necessary.
            self.armed.store(NEVER, Ordering::Relaxed);
            self.expire(self.now(), Waker::wake);
        } else {
            self.answer_spurious();
        }
    }

    /// The timer's interrupt came, and there is no timer in the queue.
    #[cold]
    #[inline(never)]
    fn answer_spurious(&self) {
        // If this was an older interrupt, the alarm is still to come, and no timer needs it.
        self.disarm();
    }

    /// Turns the alarm off: no loop serves the queue for now. The next turn sets it again.
    pub(crate) fn disarm(&self) {
        self.armed.store(NEVER, Ordering::Relaxed);
        let live = self.live.load(Ordering::Relaxed);
        if live == 0 {
            return;
        }
        // One whose time has passed has already interrupted.
        if self.now().as_nanos() < live {
            self.devices().alarm.off();
        }
        self.live.store(0, Ordering::Relaxed);
    }

    /// As [`on_interrupt`](Self::on_interrupt), for the run loop's idle policy: the deadline has
    /// passed by the clock, and its interrupt was not seen.
    pub(crate) fn on_deadline(&self) {
        self.expect_interrupt();
        self.on_interrupt();
    }

    /// Notes that the alarm, if it is on, may interrupt at any time from now on.
    fn expect_interrupt(&self) {
        if self.live.load(Ordering::Relaxed) != 0 {
            self.live.store(NEVER, Ordering::Relaxed);
        }
    }

    /// The deadline passed while the alarm was being set for it: the alarm may interrupt or not.
    #[inline(never)]
    fn answer_unseen(&self) {
        self.expect_interrupt();
        self.answer_interrupt();
    }

    /// Wakes what is due: takes out one node in each critical section, and wakes its task outside
    /// of it. Callers expect something to be due, so the first deadline that it looks at is the one
    /// in the tree.
    #[inline(always)]
    fn expire(&self, now: Instant, mut wake: impl FnMut(Waker)) {
        loop {
            wake(self.pop_due(now));
            if self.head.load(Ordering::Relaxed) > now.as_nanos() {
                break;
            }
        }
    }

    /// Takes the first node out if it is due, and returns its waker; if it is not due, a waker that
    /// does nothing. (There nearly always is one, and an `Option` would cost a test.)
    #[inline(always)]
    fn pop_due(&self, now: Instant) -> Waker {
        critical_section::with(|cs| {
            let tree = self.tree.borrow(cs);
            self.debug_head(tree);
            let Some(node) = tree.first().filter(|node| node.deadline() <= now) else {
                // An interrupt handler has taken it out meanwhile.
                return Waker::noop().clone();
            };
            progress::note();
            // SAFETY: it was found in this tree.
            unsafe { tree.remove(node) };
            self.head.store(first_deadline(tree), Ordering::Relaxed);
            // SAFETY: it was in the queue until now.
            unsafe { node.fire(cs) }
        })
    }
}

/// A guard while the alarm is being set. If that unwinds, the alarm may not be set: the next turn
/// sets it again.
struct Unarmed<'a>(&'a TimerQueue);

impl Drop for Unarmed<'_> {
    fn drop(&mut self) {
        self.0.armed.store(NEVER, Ordering::Relaxed);
    }
}
