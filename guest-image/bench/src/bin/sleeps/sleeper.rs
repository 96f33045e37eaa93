//! The task that sleeps, and the mark at the beginning of each of its polls.

use core::{
    arch::asm,
    cell::RefCell,
    pin::Pin,
    sync::atomic::Ordering,
    task::{Context, Poll},
    time::Duration,
};

use alloc::boxed::Box;
use critical_section::Mutex;
use dormir::time::{Instant, Timer};
use dormir_bench_guest::{figures::Tally, stopwatch::stamp};

use crate::entry::{BEHIND_STAMP, ENTERED};

/// How many instructions between the interrupt's stamp and a poll's are not dormir's: the rest of
/// the stamping entry, and the mark.
const OWN: u64 = BEHIND_STAMP + 1;

/// The instructions from each interrupt to the poll that follows.
static TALLY: Mutex<RefCell<Tally>> = Mutex::new(RefCell::new(Tally::new()));

/// Takes the tally, and starts a new one.
pub(crate) fn take_tally() -> Tally {
    critical_section::with(|cs| TALLY.replace(cs, Tally::new()))
}

/// A task that sleeps `left` times for `time` each, and tallies.
pub(crate) struct Sleeper {
    left: u32,
    time: Duration,
    timer: Pin<Box<Timer>>,
}

impl Sleeper {
    pub(crate) fn new(sleeps: u32, time: Duration) -> Self {
        Self {
            left: sleeps,
            time,
            timer: Box::pin(Timer::after(time)),
        }
    }

    /// The poll after its stamp. A function of its own, so that the registers it needs are saved
    /// after the stamp.
    #[inline(never)]
    fn poll_at(&mut self, stamp: u64, cx: &mut Context<'_>) -> Poll<()> {
        if self.timer.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        let entered = ENTERED.load(Ordering::Relaxed);
        if entered != 0 {
            let instructions = stamp - entered - OWN;
            critical_section::with(|cs| TALLY.borrow_ref_mut(cs).add(instructions));
        }
        self.left -= 1;
        if self.left == 0 {
            return Poll::Ready(());
        }
        let next = Instant::now().saturating_add(self.time);
        self.timer.as_mut().reset(next);
        let polled = self.timer.as_mut().poll(cx);
        assert!(polled.is_pending(), "its deadline is far away");
        Poll::Pending
    }
}

impl Future for Sleeper {
    type Output = ();

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        mark();
        let stamp = stamp();
        self.poll_at(stamp, cx)
    }
}

/// Executes an instruction that does nothing, which a VMM that steps through the guest recognises.
#[inline(always)]
fn mark() {
    // SAFETY: it changes nothing. There is no `nomem`, so no memory access moves across it.
    unsafe { asm!("xchg bx, bx", options(nostack, preserves_flags)) };
}
