//! The runner's visits of tasks: in a pass, or out of turn.

use core::ptr::NonNull;

use crate::{
    executor::{
        capacity::Capacity,
        cpus::Cpus,
        current::InPass,
        executor::Executor,
        header::Header,
        probe::Polling,
        ready::{ReadySet, levels::Visitor},
        slot::Block,
        task_ref::TaskRef,
    },
    sync::atomic::Ordering,
};

/// A pass of an executor's runner.
pub(super) struct Pass<C: Capacity, M: Cpus>(pub(super) &'static Executor<C, M>);

impl<C: Capacity, M: Cpus> Visitor for Pass<C, M> {
    type Pass = InPass;

    #[inline(always)]
    fn begin(&self) -> InPass {
        InPass(&self.0.core)
    }

    #[inline(always)]
    fn visit(&mut self, block: &Block, bit: u32, data: *const ()) {
        // SAFETY: the bit was set, so the slot was used.
        let header = unsafe { block.task(bit) };
        // SAFETY: `data` is the data pointer of the slot's wakers.
        let task = unsafe { TaskRef::from_data(data) };
        // SAFETY: the header is in that slot, and the caller is the runner.
        unsafe { self.0.visit(task, header) };
    }

    #[inline(always)]
    fn between(&mut self) -> bool {
        // SAFETY: the caller is the runner.
        let is_time = unsafe { self.0.core.next_word() };
        if is_time {
            // SAFETY: the same, and no visit is going on between two words.
            unsafe { self.0.look_within_pass() };
        }
        is_time
    }
}

/// For the runner.
impl<C: Capacity, M: Cpus> Executor<C, M> {
    /// Visits a task: calls the function that its header names.
    ///
    /// # Safety
    ///
    /// `header` is in the slot `task` of this executor. The caller is the runner, and no other
    /// visit is going on.
    #[inline(always)]
    pub(super) unsafe fn visit(&self, task: TaskRef, header: NonNull<Header>) {
        // SAFETY: the caller guarantees that the header is in the slot.
        let polling = unsafe { Polling::begin(task, header) };
        // SAFETY: the same, and the caller is the runner.
        unsafe { task.visit(header, self.core.wakers()) };
        polling.end();
    }

    /// During a long pass: polls each task whose deadline has passed, in the order of the
    /// deadlines. Otherwise they might wait for the next pass, since this one may be past their
    /// slots.
    ///
    /// This reads the clock, so it needs no interrupt and no alarm. The alarm is set after the
    /// pass.
    ///
    /// # Safety
    ///
    /// The caller is the runner, and no visit is going on.
    #[cold]
    #[inline(never)]
    unsafe fn look_within_pass(&'static self) {
        let timers = self.core.timers();
        if timers.is_served_elsewhere() {
            return;
        }
        timers.look_and(|waker| {
            waker.wake_by_ref();
            // A foreign waker that carries the address of a slot causes a spurious poll.
            let Some(task) = self.ready.slot_of(waker.data()) else {
                return;
            };
            // The task is polled here, so its bit is cleared.
            ReadySet::<C, M>::clear(task);
            let header = task.task().load(Ordering::Acquire);
            if let Some(header) = NonNull::new(header) {
                // SAFETY: the header is in the slot, which is this executor's. The caller
                // guarantees the rest.
                unsafe { self.visit(task, header) };
            }
        });
    }
}
