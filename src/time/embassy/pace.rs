//! The run loop's pause while the table is too small, so that early wakes do not keep the vCPU
//! busy.

use core::{
    ptr,
    sync::atomic::{AtomicBool, Ordering},
    task::{RawWaker, RawWakerVTable, Waker},
    time::Duration,
};

use super::slot::DeadlineSlot;
use crate::time::TimerQueue;

/// The longest pause.
pub(super) const PACE: Duration = Duration::from_millis(1);

/// A pause, whose end is one of the queue's deadlines: so the alarm is set for it, and the next
/// deadline includes it.
pub(super) struct Pace {
    end: DeadlineSlot,
    is_on: AtomicBool,
}

/// The wakers of the ends. Their data pointers are addresses of static paces.
static END: RawWakerVTable =
    RawWakerVTable::new(|pace| RawWaker::new(pace, &END), end, end, |_| ());

/// Ends the pause.
///
/// # Safety
///
/// `pace` is the address of a static [`Pace`].
unsafe fn end(pace: *const ()) {
    // SAFETY: as the caller promises.
    let pace = unsafe { &*pace.cast::<Pace>() };
    pace.is_on.store(false, Ordering::Relaxed);
}

impl Pace {
    pub(super) const fn new() -> Self {
        Self {
            end: DeadlineSlot::new(),
            is_on: AtomicBool::new(false),
        }
    }

    /// Whether the loop must pause.
    #[inline(always)]
    pub(super) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// Begins a pause, until the next deadline, but no longer than [`PACE`].
    ///
    /// # Safety
    ///
    /// All calls for one pace, here and of [`end`](Self::end), are with the same queue.
    pub(super) unsafe fn begin(&'static self, queue: &TimerQueue) {
        // SAFETY: the data pointer is what the functions expect, and they may be called anywhere.
        let waker = unsafe { Waker::new(ptr::from_ref(self).cast(), &END) };
        let end = queue.now().saturating_add(PACE).min(queue.next_deadline());
        self.is_on.store(true, Ordering::Relaxed);
        // SAFETY: as the caller promises; cloning and dropping this waker has no effect.
        unsafe { self.end.schedule(queue, end, &waker) };
    }

    /// Ends the pause, if there is one.
    ///
    /// # Safety
    ///
    /// As [`begin`](Self::begin).
    pub(super) unsafe fn end(&self, queue: &TimerQueue) {
        self.is_on.store(false, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { self.end.clear(queue) };
    }
}
