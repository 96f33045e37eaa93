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
        // SAFETY: `data` is what wakers carry.
        let task = unsafe { TaskRef::from_data(data) };
        // SAFETY: the header is in that slot, and the pass is the runner's.
        unsafe { self.0.visit(task, header) };
    }

    #[inline(always)]
    fn between(&mut self) -> bool {
        // SAFETY: the pass is the runner's.
        let is_time = unsafe { self.0.core.next_word() };
        if is_time {
            // SAFETY: the same, and it is between two words.
            unsafe { self.0.look_within_pass() };
        }
        is_time
    }
}

/// For the runner.
impl<C: Capacity, M: Cpus> Executor<C, M> {
    /// Visits a task: does what its header says.
    ///
    /// # Safety
    ///
    /// `header` is in the slot `task`, of this executor. The caller is the runner, and during no
    /// other visit.
    #[inline(always)]
    pub(super) unsafe fn visit(&self, task: TaskRef, header: NonNull<Header>) {
        // SAFETY: as the caller says.
        let polling = unsafe { Polling::begin(task, header) };
        // SAFETY: the same.
        unsafe { task.visit(header, self.core.wakers()) };
        polling.end();
    }

    /// During a long pass: polls the tasks whose deadlines have passed, each once, in the order of
    /// their deadlines. Else they could wait for the next pass, since this one may be past their
    /// slots.
    ///
    /// It goes by the clock, so it needs no interrupt and no alarm. The alarm is set after the
    /// pass.
    ///
    /// # Safety
    ///
    /// The caller is the runner, and during no visit.
    #[cold]
    #[inline(never)]
    unsafe fn look_within_pass(&'static self) {
        let timers = self.core.timers();
        if timers.is_served_elsewhere() {
            return;
        }
        timers.look_and(|waker| {
            waker.wake_by_ref();
            // A waker of another kind that carries the address of a slot leads to a poll for
            // nothing.
            let Some(task) = self.ready.slot_of(waker.data()) else {
                return;
            };
            // The task is polled here, and not by its bit.
            ReadySet::<C, M>::clear(task);
            let header = task.task().load(Ordering::Acquire);
            if let Some(header) = NonNull::new(header) {
                // SAFETY: it is in the slot, which is this executor's; the rest is as the caller
                // says.
                unsafe { self.visit(task, header) };
            }
        });
    }
}
