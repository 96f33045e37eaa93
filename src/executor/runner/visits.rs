//! What the runner does with tasks: it visits them, in a pass or out of turn.

use core::ptr::NonNull;

use super::super::{
    Executor,
    capacity::Capacity,
    cpus::Cpus,
    current::InPass,
    place::{Places, TaskRef},
    probe::Polling,
    ready::{ReadySet, Visitor},
    task::Header,
};
use crate::sync::atomic::Ordering;

/// A pass of an executor's runner.
pub(super) struct Pass<C: Capacity, M: Cpus>(pub(super) &'static Executor<C, M>);

impl<C: Capacity, M: Cpus> Visitor<Places> for Pass<C, M> {
    type Pass = InPass;

    #[inline(always)]
    fn begin(&self) -> InPass {
        InPass(&self.0.book)
    }

    #[inline(always)]
    fn visit(&mut self, places: &Places, bit: u32, data: *const ()) {
        // SAFETY: the bit was set, so the place was taken.
        let header = unsafe { places.task(bit) };
        // SAFETY: the pass gives what wakers carry.
        let task = unsafe { TaskRef::from_data(data) };
        // SAFETY: the header stands in that place, and the pass is the runner's.
        unsafe { self.0.visit(task, header) };
    }

    #[inline(always)]
    fn between(&mut self) -> bool {
        // SAFETY: the pass is the runner's.
        let is_time = unsafe { self.0.book.next_word() };
        if is_time {
            // SAFETY: the same, and it is between two words.
            unsafe { self.0.look_within_pass() };
        }
        is_time
    }
}

/// For the runner.
impl<C: Capacity, M: Cpus> Executor<C, M> {
    /// Does with a task what is to be done.
    ///
    /// # Safety
    ///
    /// `header` stands in the place `task`, of this executor. The caller is the runner, and no other visit is
    /// under way.
    #[inline(always)]
    pub(super) unsafe fn visit(&self, task: TaskRef, header: NonNull<Header>) {
        // SAFETY: as the caller says.
        let polling = unsafe { Polling::begin(task, header) };
        // SAFETY: the same.
        unsafe { task.visit(header, self.book.wakers()) };
        polling.end();
    }

    /// In the midst of a long pass: the tasks whose deadlines have passed are polled now, each once, in the
    /// order of their deadlines. The pass may have left their places behind, and is long.
    ///
    /// By the clock, so it needs no interrupt, and no alarm either: that is set after the pass.
    ///
    /// # Safety
    ///
    /// The caller is the runner, and no visit is under way.
    #[cold]
    #[inline(never)]
    unsafe fn look_within_pass(&self) {
        let timers = self.book.timers();
        if timers.is_served_elsewhere() {
            return;
        }
        timers.look_and(|waker| {
            waker.wake_by_ref();
            let Some(task) = self.task_of(&waker) else {
                return;
            };
            // What is woken is polled here and not by its bit.
            ReadySet::<C, M>::clear(task);
            let header = task.task().load(Ordering::Acquire);
            if let Some(header) = NonNull::new(header) {
                // SAFETY: it stands there, and the place is this executor's; the rest is as the caller says.
                unsafe { self.visit(task, header) };
            }
        });
    }
}
