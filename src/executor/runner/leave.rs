//! The drop of a runner, which drops the futures that only the runner may drop.

use super::Runner;
use crate::executor::{capacity::Capacity, cpus::Cpus, current::OuterTask, executor::Executor};

impl<C: Capacity, M: Cpus> Drop for Runner<C, M> {
    fn drop(&mut self) {
        let _outer = OuterTask::here();
        let core = &self.executor.core;
        // A future that is dropped may try to spawn: that returns an error from here on.
        core.begin_to_leave();
        let mut leaving = Leaving {
            executor: self.executor,
            next: if core.live() == 0 { C::TASKS } else { 0 },
        };
        leaving.leave_slots();
    }
}

/// Leaves one slot after the other, even if dropping a future unwinds.
struct Leaving<C: Capacity, M: Cpus> {
    executor: &'static Executor<C, M>,
    next: u32,
}

impl<C: Capacity, M: Cpus> Leaving<C, M> {
    #[cold]
    #[inline(never)]
    fn leave_slots(&mut self) {
        while self.next < C::TASKS {
            let slot = self.executor.ready.slot(self.next);
            self.next += 1;
            slot.leave();
        }
    }
}

impl<C: Capacity, M: Cpus> Drop for Leaving<C, M> {
    fn drop(&mut self) {
        self.leave_slots();
        self.executor.core.leave();
    }
}
