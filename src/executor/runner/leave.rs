//! A runner that goes: what only it may drop is dropped.

use super::{Capacity, Cpus, Executor, OuterTask, Runner};

impl<C: Capacity, M: Cpus> Drop for Runner<C, M> {
    fn drop(&mut self) {
        let _outer = OuterTask::here();
        let book = &self.executor.book;
        // A future that is dropped may try to spawn.
        book.begin_to_leave();
        let is_empty = book.live() + book.ended() == 0;
        let mut leaving = Leaving {
            executor: self.executor,
            next: if is_empty { C::TASKS } else { 0 },
        };
        leaving.leave_places();
    }
}

/// Leaves one place after the other. Where dropping a future unwinds, the others are left all the same.
struct Leaving<C: Capacity, M: Cpus> {
    executor: &'static Executor<C, M>,
    next: u32,
}

impl<C: Capacity, M: Cpus> Leaving<C, M> {
    #[cold]
    #[inline(never)]
    fn leave_places(&mut self) {
        while self.next < C::TASKS {
            let place = self.executor.ready.place(self.next);
            self.next += 1;
            place.leave();
        }
    }
}

impl<C: Capacity, M: Cpus> Drop for Leaving<C, M> {
    fn drop(&mut self) {
        self.leave_places();
        self.executor.book.leave();
    }
}
