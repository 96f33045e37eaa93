//! A rest of the loop while the table is too small, so that early wakes do not keep the processor
//! busy.

use core::{
    ptr,
    sync::atomic::{AtomicBool, Ordering},
    task::{RawWaker, RawWakerVTable, Waker},
    time::Duration,
};

use super::slot::DeadlineSlot;
use crate::time::TimerQueue;

/// How long the loop rests at most.
pub(super) const PACE: Duration = Duration::from_millis(1);

/// The end of a rest, among the deadlines of a queue: so the alarm is set for it, and whoever asks
/// for the next deadline hears of it.
pub(super) struct Pace {
    end: DeadlineSlot,
    rests: AtomicBool,
}

/// The wakers of the ends: their data pointers are paces, which are static.
static END: RawWakerVTable =
    RawWakerVTable::new(|pace| RawWaker::new(pace, &END), end, end, |_| ());

/// The rest is over.
///
/// # Safety
///
/// `pace` is the address of a static [`Pace`].
unsafe fn end(pace: *const ()) {
    // SAFETY: as the caller says.
    let pace = unsafe { &*pace.cast::<Pace>() };
    pace.rests.store(false, Ordering::Relaxed);
}

impl Pace {
    pub(super) const fn new() -> Self {
        Self {
            end: DeadlineSlot::new(),
            rests: AtomicBool::new(false),
        }
    }

    /// Whether the loop is to rest.
    #[inline(always)]
    pub(super) fn rests(&self) -> bool {
        self.rests.load(Ordering::Relaxed)
    }

    /// A rest begins, if none is on: until the next deadline, or for [`PACE`].
    ///
    /// # Safety
    ///
    /// All calls for one pace, here and of [`end`](Self::end), are with the same queue.
    pub(super) unsafe fn begin(&'static self, queue: &TimerQueue) {
        // SAFETY: the data pointer is what the functions expect, and they may be called anywhere.
        let waker = unsafe { Waker::new(ptr::from_ref(self).cast(), &END) };
        let end = queue.now().saturating_add(PACE).min(queue.head());
        self.rests.store(true, Ordering::Relaxed);
        // SAFETY: as the caller says; such a waker is cloned and dropped without any effect.
        unsafe { self.end.schedule(queue, end, &waker) };
    }

    /// The rest is over, if one is on.
    ///
    /// # Safety
    ///
    /// As [`begin`](Self::begin).
    pub(super) unsafe fn end(&self, queue: &TimerQueue) {
        self.rests.store(false, Ordering::Relaxed);
        // SAFETY: as the caller says.
        unsafe { self.end.clear(queue) };
    }
}
