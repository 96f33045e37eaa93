//! What the owner does between polls: it sets the alarm, and wakes what is due.

use core::{mem, sync::atomic::Ordering, task::Waker};

use super::{NEVER, TimerQueue, first_deadline};
use crate::{progress, time::Instant};

impl TimerQueue {
    /// Wakes what is due, though no interrupt came: for a loop that may have slept by other means than the
    /// alarm. To be followed by a [`turn`](Self::turn).
    pub(crate) fn look(&self) {
        self.look_and(Waker::wake);
    }

    /// The same, with `wake` for each waker.
    pub(crate) fn look_and(&self, wake: impl FnMut(Waker)) {
        if !self.has_timers() {
            return;
        }
        let now = self.now();
        // An alarm that is still to come stays as it is. One whose time has passed may be over: it is set
        // again.
        if self.armed.load(Ordering::Relaxed) <= now.as_nanos() {
            self.armed.store(NEVER, Ordering::Relaxed);
            self.expect_interrupt();
        }
        if self.head.load(Ordering::Relaxed) <= now.as_nanos() {
            self.expire(now, wake);
        }
    }

    /// Whether a timer waits.
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
            // Something else has ended the wait. What is due need not wait for the alarm, which is late.
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
        // An alarm may ignore a deadline that has passed by the time it is written, so what passed
        // meanwhile is due now, interrupt or not.
        let has_passed = self.now() >= head;
        mem::forget(unarmed);
        if has_passed {
            self.answer_unseen();
        }
    }

    /// The timer's interrupt came, or would have: what has passed is due.
    #[inline(never)]
    pub(super) fn answer_interrupt(&self) {
        // An interrupt that comes before this is answered by the look at the clock below.
        self.due.store(false, Ordering::Relaxed);
        if self.head.load(Ordering::Relaxed) != NEVER {
            // The alarm is a one-shot: what fired is no longer set. If the interrupt was an older one, the
            // alarm is merely written once more than necessary.
            self.armed.store(NEVER, Ordering::Relaxed);
            self.expire(self.now(), Waker::wake);
        } else {
            self.answer_for_nobody();
        }
    }

    /// The timer's interrupt came, and no timer is in the queue.
    #[cold]
    #[inline(never)]
    fn answer_for_nobody(&self) {
        // If it was another one, nobody waits for that which is still to come.
        self.disarm();
    }

    /// Withdraws the alarm: nobody turns the queue for now. The next turn sets it again.
    pub(crate) fn disarm(&self) {
        self.armed.store(NEVER, Ordering::Relaxed);
        let live = self.live.load(Ordering::Relaxed);
        if live == 0 {
            return;
        }
        // One whose time has passed has interrupted.
        if self.now().as_nanos() < live {
            self.devices().alarm.off();
        }
        self.live.store(0, Ordering::Relaxed);
    }

    /// The deadline has passed by the clock, and nobody has seen its interrupt: as
    /// [`on_interrupt`](Self::on_interrupt), for the runner's idle policy.
    pub(crate) fn on_deadline(&self) {
        self.expect_interrupt();
        self.on_interrupt();
    }

    /// If the alarm is on, it may interrupt at any time from now on.
    fn expect_interrupt(&self) {
        if self.live.load(Ordering::Relaxed) != 0 {
            self.live.store(NEVER, Ordering::Relaxed);
        }
    }

    /// The deadline passed while the alarm was set for it, which may interrupt or not.
    #[inline(never)]
    fn answer_unseen(&self) {
        self.expect_interrupt();
        self.answer_interrupt();
    }

    /// Wakes what is due, one node to a critical section, each task outside of it. Whoever comes here expects
    /// something to be due, so the first look at a deadline is the one in the tree.
    #[inline(always)]
    fn expire(&self, now: Instant, mut wake: impl FnMut(Waker)) {
        loop {
            wake(self.pop_due(now));
            if self.head.load(Ordering::Relaxed) > now.as_nanos() {
                break;
            }
        }
    }

    /// Takes the first node out if it is due, and returns its waker; if it is not, a waker that does nothing.
    /// (An `Option` would be asked about, where there nearly always is one.)
    #[inline(always)]
    fn pop_due(&self, now: Instant) -> Waker {
        critical_section::with(|cs| {
            let tree = self.tree.borrow(cs);
            let Some(node) = tree.first().filter(|node| node.deadline() <= now) else {
                // A context that came between has taken it out.
                return Waker::noop().clone();
            };
            progress::note();
            // SAFETY: it was found there.
            unsafe { tree.remove(node) };
            self.head.store(first_deadline(tree), Ordering::Relaxed);
            // SAFETY: it was in the queue until now.
            unsafe { node.fire(cs) }
        })
    }
}

/// An alarm that is being set. Where that unwinds, it may not have been: it is set again at the next turn.
struct Unarmed<'a>(&'a TimerQueue);

impl Drop for Unarmed<'_> {
    fn drop(&mut self) {
        self.0.armed.store(NEVER, Ordering::Relaxed);
    }
}
