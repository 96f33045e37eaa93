//! What becomes of a task: aborted, ended, joined, given up, and its place given back.
//!
//! All changes are made in critical sections. The pass asks for nothing: it calls what the task's header
//! says is to be done, which is nothing where the task is over.

use core::{
    ptr::NonNull,
    task::{RawWakerVTable, Waker},
};

use critical_section::CriticalSection;

use super::{
    book::add,
    current,
    place::{ABORTED, ALONE, ENDED, JOINABLE, LIVE, LOCAL, NUMBER, TaskRef},
    probe::Ended,
    task::{Header, Memory, Verdict, nobody},
};
use crate::sync::{atomic::Ordering, critical};

/// What the end of a task has left.
pub(crate) enum End<T> {
    NotYet,
    Output(T),
    Aborted,
}

impl TaskRef {
    fn flags(self, _cs: CriticalSection<'_>) -> u64 {
        self.mark().load(Ordering::Relaxed)
    }

    fn set_mark(self, mark: u64, _cs: CriticalSection<'_>) {
        self.mark().store(mark, Ordering::Release);
    }

    /// The number of the task that has the place.
    pub(crate) fn task_number(self) -> u64 {
        self.mark().load(Ordering::Relaxed) >> NUMBER
    }

    /// Whether the task is over.
    pub(crate) fn has_ended(self) -> bool {
        self.mark().load(Ordering::Acquire) & ENDED != 0
    }

    /// Asks the runner to drop the task of this number.
    pub(crate) fn abort(self, number: u64) {
        let asked = critical(|cs| {
            let mark = self.flags(cs);
            if mark >> NUMBER != number {
                return false;
            }
            let Some(header) = self.live_task(cs) else {
                return false;
            };
            // SAFETY: it is valid within the section.
            unsafe { header.as_ref() }.cancel(cs);
            true
        });
        if asked {
            self.book().wake(self);
        }
    }

    /// For the holder of the join handle: takes what the task left, or leaves a waker for the end.
    ///
    /// # Safety
    ///
    /// `header` is the task's, and `T` the output of its future. The handle is not used again once this
    /// has given something else than `NotYet`.
    pub(crate) unsafe fn join<T>(self, header: NonNull<Header>, waker: &Waker) -> End<T> {
        // SAFETY: while there is a handle, the task's memory is not given back.
        let header_ref = unsafe { header.as_ref() };
        let mut mark = self.mark().load(Ordering::Acquire);
        if mark & ENDED == 0 {
            let mut waker = Some(waker.clone());
            mark = critical(|cs| {
                let mark = self.flags(cs);
                if mark & ENDED == 0 {
                    waker = header_ref.joiner.borrow(cs).replace(waker.take());
                }
                mark
            });
            // What was replaced is dropped outside the section.
            drop(waker);
            if mark & ENDED == 0 {
                return End::NotYet;
            }
        }
        let end = if mark & ABORTED == 0 {
            // SAFETY: there is room for the output in the cell.
            let output = unsafe { header.byte_add(header_ref.kind().output_offset) };
            // SAFETY: the task has ended and was not aborted, so its output is there; the handle's
            // holder is the only one who takes it.
            End::Output(unsafe { output.cast::<T>().read() })
        } else {
            End::Aborted
        };
        // SAFETY: nothing is left there, and the handle is the last to know of it.
        unsafe { self.release(header) };
        end
    }

    /// Gives up the join handle. An output that nobody took is left to the runner to drop. Where the
    /// runner of a local task is gone, it is dropped here: the handle is where the output may be.
    ///
    /// # Safety
    ///
    /// `header` is the task's, and the handle is not used again.
    pub(crate) unsafe fn detach(self, header: NonNull<Header>) {
        enum Left {
            ToRunner,
            Output,
            Nothing,
        }
        // SAFETY: while there is a handle, the task's memory is not given back.
        let header_ref = unsafe { header.as_ref() };
        let mut joiner = None;
        let left = critical(|cs| {
            let mark = self.flags(cs);
            if mark & ENDED == 0 {
                self.set_mark(mark & !JOINABLE, cs);
                joiner = header_ref.joiner.borrow(cs).take();
                return None;
            }
            if mark & ABORTED != 0 || !header_ref.kind().output_needs_drop {
                return Some(Left::Nothing);
            }
            if mark & ALONE != 0 {
                return Some(Left::Output);
            }
            self.set_mark(mark & !JOINABLE, cs);
            header_ref.discard(cs);
            self.task().store(header.as_ptr(), Ordering::Release);
            Some(Left::ToRunner)
        });
        // Nobody waits any more. Dropped outside the section.
        drop(joiner);
        match left {
            None => {}
            Some(Left::ToRunner) => self.book().wake(self),
            // SAFETY: the output is there, and the handle was its only way out; the handle is where it may be.
            Some(Left::Output) => unsafe { self.drop_orphan(header) },
            // SAFETY: nothing is left there, and the handle is the last to know of it.
            Some(Left::Nothing) => unsafe { self.release(header) },
        }
    }

    /// Drops the output and gives the place back.
    ///
    /// # Safety
    ///
    /// The output is there, in the task with that header, and nobody else uses the task any more.
    pub(super) unsafe fn drop_output(self, header: NonNull<Header>) {
        let release = Release(self, header);
        // SAFETY: the task's memory is given back below.
        let kind = unsafe { header.as_ref() }.kind();
        // SAFETY: as the caller says; the type is the header's own.
        unsafe { (kind.drop_output)(header) };
        drop(release);
    }

    /// Gives back the memory of a task that is over, and its place.
    ///
    /// # Safety
    ///
    /// There is neither future nor output, and nobody uses the task any more.
    unsafe fn release(self, header: NonNull<Header>) {
        // SAFETY: as the caller says.
        let kind = unsafe { header.as_ref() }.kind();
        match &kind.memory {
            Memory::Pool(pool, give_back) => critical(|cs| {
                // SAFETY: the same, and the type is the header's own.
                unsafe { give_back(pool, header, cs) };
                self.give_back(cs);
            }),
            Memory::Heap(free) => {
                // SAFETY: the same.
                unsafe { free(header) };
                critical(|cs| self.give_back(cs));
            }
        }
    }

    /// The place of a task that is gone is free from here on.
    #[inline(always)]
    fn give_back(self, cs: CriticalSection<'_>) {
        let book = self.book();
        let free = book.free.borrow(cs);
        let mut list = free.get();
        self.set_mark(u64::from(list.give_back(self.number())) << NUMBER, cs);
        free.set(list);
        add(&book.ended, -1, cs);
    }

    /// For the runner: does with the task what its header says.
    ///
    /// # Safety
    ///
    /// `header` stands in the place, and the caller is the runner.
    #[inline(always)]
    pub(crate) unsafe fn visit(self, header: NonNull<Header>, wakers: &'static RawWakerVTable) {
        current::set(self);
        // SAFETY: what stands in a place is valid until the runner, or somebody whom the runner has let
        // have it by taking it out of the place, gives it back.
        let visit = unsafe { header.as_ref() }.visit();
        // SAFETY: the header says what is to be done, and only the runner does it.
        unsafe { visit(header, self, wakers) };
    }

    /// For the runner: what has become of the task that it has just visited.
    #[cold]
    #[inline(never)]
    pub(crate) fn conclude(self, header: NonNull<Header>, verdict: Verdict) {
        let has_output = match verdict {
            Verdict::Over => {
                self.task().store(nobody(), Ordering::Relaxed);
                // SAFETY: the output was dropped, and there is no handle.
                return unsafe { self.release(header) };
            }
            Verdict::Ended => true,
            Verdict::Aborted => false,
        };
        let ended = Ended::count(self, has_output);
        #[cfg(feature = "embassy-time")]
        crate::time::embassy::forget(self.slot());
        let (joinable, joiner) = critical(|cs| {
            let mark = self.flags(cs);
            self.task().store(nobody(), Ordering::Relaxed);
            let book = self.book();
            add(&book.live, -1, cs);
            add(&book.ended, 1, cs);
            // SAFETY: the memory is given back by us, or by the handle's holder once we leave the section.
            let joiner = unsafe { header.as_ref() }.joiner.borrow(cs).take();
            // loom does not see the joiner's cell. This it sees.
            #[cfg(all(test, loom))]
            // SAFETY: as above.
            let _ = unsafe { header.as_ref() }.visit();
            // Last: the handle's holder asks for it outside of sections, and may then free the memory.
            let aborted = if has_output { 0 } else { ABORTED };
            self.set_mark(mark & !LIVE | ENDED | aborted, cs);
            (mark & JOINABLE != 0, joiner)
        });
        if joinable {
            if let Some(joiner) = joiner {
                joiner.wake();
            }
        } else if has_output {
            // SAFETY: the output is there, and nobody else can want it.
            unsafe { self.drop_output(header) };
        } else {
            // SAFETY: the future was dropped, and there is no handle.
            unsafe { self.release(header) };
        }
        ended.tell();
    }

    /// For a runner that goes: what it alone may drop is dropped, or left to the handle's holder.
    // By itself: else each of an executor's places would get a copy of it.
    #[cold]
    #[inline(never)]
    pub(crate) fn leave(self) {
        let header = critical(|cs| {
            let mark = self.flags(cs);
            if mark & LOCAL == 0 || mark & (LIVE | ENDED) == 0 {
                return None;
            }
            if mark & LIVE != 0 {
                let header = self.live_task(cs)?;
                // SAFETY: it is valid within the section.
                unsafe { header.as_ref() }.cancel(cs);
                return Some(header);
            }
            if mark & JOINABLE != 0 {
                self.set_mark(mark | ALONE, cs);
                return None;
            }
            NonNull::new(self.task().load(Ordering::Relaxed))
        });
        if let Some(header) = header {
            // SAFETY: the place is taken, and its runner, still the only one, is here.
            unsafe { self.visit(header, self.book().wakers()) };
        }
    }
}

/// Gives a place back, also where dropping its output unwinds.
struct Release(TaskRef, NonNull<Header>);

impl Drop for Release {
    fn drop(&mut self) {
        // SAFETY: `drop_output` makes it for a task that nobody uses any more.
        unsafe { self.0.release(self.1) };
    }
}

/// Concludes a visit that unwound: the future is gone, or else the output is.
pub(super) struct Unwound(pub(super) TaskRef, pub(super) NonNull<Header>);

impl Drop for Unwound {
    fn drop(&mut self) {
        let verdict = if self.0.has_ended() {
            Verdict::Over
        } else {
            Verdict::Aborted
        };
        self.0.conclude(self.1, verdict);
    }
}
