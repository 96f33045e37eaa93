//! What happens to a task after its spawn: abort, end, join, detach.
//!
//! All changes are made in critical sections. A pass reads none of this state: it calls the
//! function in the task's [`Header`], or that of [`vacant`] if the task has ended.

use core::{
    ptr::NonNull,
    task::{RawWakerVTable, Waker},
};

use critical_section::CriticalSection;

use super::{
    current,
    executor_core::add,
    header::{Header, vacant},
    probe::Ended,
    slot::{ABORTED, ENDED, JOINABLE, LIVE, LOCAL, NUMBER},
    task_ref::TaskRef,
};
use crate::sync::{atomic::Ordering, critical};

/// How a task has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Completion {
    /// With an output, which lies where the future was.
    Output,
    /// Without an output: its future was dropped.
    Aborted,
}

/// What [`join`](TaskRef::join) finds.
pub(crate) enum Joined<T> {
    NotYet,
    Output(T),
    Aborted,
}

impl TaskRef {
    fn flags(self, _cs: CriticalSection<'_>) -> u64 {
        self.state().load(Ordering::Relaxed)
    }

    pub(super) fn is_local(self, cs: CriticalSection<'_>) -> bool {
        self.flags(cs) & LOCAL != 0
    }

    fn set_state(self, state: u64, _cs: CriticalSection<'_>) {
        self.state().store(state, Ordering::Release);
    }

    /// Asks the runner to drop the future, if the slot still has the task of this number.
    pub(crate) fn abort(self, number: u64) {
        let asked = critical(|cs| {
            if self.flags(cs) >> NUMBER != number {
                return false;
            }
            let Some(header) = self.live_task(cs) else {
                return false;
            };
            // SAFETY: `live_task` returns what is valid within the section.
            unsafe { header.as_ref() }.cancel(cs);
            true
        });
        if asked {
            self.core().wake(self);
        }
    }

    /// For the holder of the join handle: takes the output of a task that has ended, or stores a
    /// waker for the end.
    ///
    /// # Safety
    ///
    /// `header` is the task's, and `T` is the output of its future. The handle is not used again
    /// after this has returned anything but `NotYet`.
    pub(crate) unsafe fn join<T>(self, header: NonNull<Header>, waker: &Waker) -> Joined<T> {
        // SAFETY: while there is a handle, the task's memory is not given back.
        let header_ref = unsafe { header.as_ref() };
        let mut state = self.state().load(Ordering::Acquire);
        if state & ENDED == 0 {
            let mut waker = Some(waker.clone());
            state = critical(|cs| {
                let state = self.flags(cs);
                if state & ENDED == 0 {
                    waker = header_ref.joiner.borrow(cs).replace(waker.take());
                }
                state
            });
            // The replaced waker is dropped outside the section.
            drop(waker);
            if state & ENDED == 0 {
                return Joined::NotYet;
            }
        }
        let joined = if state & ABORTED == 0 {
            // SAFETY: the output lies in the same cell.
            let output = unsafe { header.byte_add(header_ref.vtable().output_offset) };
            // SAFETY: the task has ended and was not aborted, so its output is there; only the
            // handle's holder takes it.
            Joined::Output(unsafe { output.cast::<T>().read() })
        } else {
            Joined::Aborted
        };
        // SAFETY: future and output are gone, and the handle was the last reference to the task.
        unsafe { self.release(header) };
        joined
    }

    /// Gives up the join handle. An output that was not taken is dropped here.
    ///
    /// # Safety
    ///
    /// `header` is the task's, and the handle is not used again.
    pub(crate) unsafe fn detach(self, header: NonNull<Header>) {
        // SAFETY: while there is a handle, the task's memory is not given back.
        let header_ref = unsafe { header.as_ref() };
        let mut joiner = None;
        let state = critical(|cs| {
            let state = self.flags(cs);
            if state & ENDED == 0 {
                self.set_state(state & !JOINABLE, cs);
                joiner = header_ref.joiner.borrow(cs).take();
            }
            state
        });
        // Dropped outside the section.
        drop(joiner);
        if state & ENDED == 0 {
            return;
        }
        if state & ABORTED == 0 {
            // SAFETY: the output is there, the handle was the last reference to it, and an output
            // that is not `Send` has a handle that is not `Send`.
            unsafe { self.drop_output(header) };
        } else {
            // SAFETY: future and output are gone, and the handle was the last reference to the
            // task.
            unsafe { self.release(header) };
        }
    }

    /// For the runner: calls the function that the task's header names.
    ///
    /// # Safety
    ///
    /// `header` is in the slot, and the caller is the runner.
    #[inline(always)]
    pub(crate) unsafe fn visit(self, header: NonNull<Header>, wakers: &'static RawWakerVTable) {
        current::set(self);
        // SAFETY: a header in a slot is valid until the runner takes it out.
        let visit = unsafe { header.as_ref() }.visit();
        // SAFETY: the function is the header's own, and the caller is the runner.
        unsafe { visit(header, self, wakers) };
    }

    /// For the runner: ends the task that it is visiting. Wakes the holder of its handle, or
    /// releases it.
    #[cold]
    #[inline(never)]
    pub(crate) fn complete(self, header: NonNull<Header>, completion: Completion) {
        let has_output = completion == Completion::Output;
        let ended = Ended::count(self, has_output);
        #[cfg(feature = "embassy-time")]
        crate::time::embassy::forget(self.deadline());
        let (joinable, joiner) = critical(|cs| {
            let state = self.flags(cs);
            debug_assert!(
                state & (LIVE | ENDED) == LIVE,
                "a task ends once, while its slot is live"
            );
            self.task().store(vacant(), Ordering::Relaxed);
            let core = self.core();
            add(&core.live, -1, cs);
            add(&core.ended, 1, cs);
            // SAFETY: the memory is given back below, or by the handle's holder after this section.
            let joiner = unsafe { header.as_ref() }.joiner.borrow(cs).take();
            // loom does not see that `joiner` is used, so this access to an atomic stands for it.
            #[cfg(all(test, loom))]
            // SAFETY: as above.
            let _ = unsafe { header.as_ref() }.visit();
            // This comes last: the handle's holder reads the state outside of critical sections,
            // and may then free the memory.
            let aborted = if has_output { 0 } else { ABORTED };
            self.set_state(state & !LIVE | ENDED | aborted, cs);
            (state & JOINABLE != 0, joiner)
        });
        if joinable {
            if let Some(joiner) = joiner {
                joiner.wake();
            }
        } else if has_output {
            // SAFETY: the output is there, and there is no handle to take it.
            unsafe { self.drop_output(header) };
        } else {
            // SAFETY: the future was dropped, and there is no handle.
            unsafe { self.release(header) };
        }
        ended.report();
    }

    /// For a runner that leaves: drops the future of a live task that is local to it.
    // Not inlined: otherwise the compiler makes a copy of it for each slot of an executor.
    #[cold]
    #[inline(never)]
    pub(crate) fn leave(self) {
        let header = critical(|cs| {
            if !self.is_local(cs) {
                return None;
            }
            let header = self.live_task(cs)?;
            // SAFETY: `live_task` returns what is valid within the section.
            unsafe { header.as_ref() }.cancel(cs);
            Some(header)
        });
        if let Some(header) = header {
            // SAFETY: the slot is live, and the caller is its runner, still the only one.
            unsafe { self.visit(header, self.core().wakers()) };
        }
    }
}

/// Completes a task when its poll or the drop of its future unwinds: the future is gone.
pub(super) struct Unwound(pub(super) TaskRef, pub(super) NonNull<Header>);

impl Drop for Unwound {
    fn drop(&mut self) {
        self.0.complete(self.1, Completion::Aborted);
    }
}
