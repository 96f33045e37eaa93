//! What a runner's loops poll, and how they rest.

use core::convert::Infallible;

use super::{
    super::{
        book::Book,
        capacity::Capacity,
        cpus::Cpus,
        drive::{Rest, Work},
        probe,
    },
    Runner,
};
use crate::idle::{Idle, IdleContext};

impl<C: Capacity, M: Cpus> Runner<C, M> {
    pub(super) fn rest<I: Idle>(&self, idle: I) -> Told<I> {
        Told {
            idle,
            book: &self.executor.book,
        }
    }
}

/// An executor's tasks, until none is left.
pub(super) struct UntilEmpty<'a, C: Capacity, M: Cpus>(pub(super) &'a mut Runner<C, M>);

impl<C: Capacity, M: Cpus> Work for UntilEmpty<'_, C, M> {
    type Output = ();

    #[inline(always)]
    fn poll(&mut self) -> Option<()> {
        self.0.pass();
        // The last task may have ended: then there is nothing to wait for.
        let executor = self.0.executor;
        (executor.tasks() == 0 && executor.ready.is_empty()).then_some(())
    }

    #[inline(always)]
    fn is_idle(&self) -> bool {
        self.0.executor.ready.is_empty()
    }
}

/// An executor's tasks, also while there is none.
pub(super) struct Forever<'a, C: Capacity, M: Cpus>(pub(super) &'a mut Runner<C, M>);

impl<C: Capacity, M: Cpus> Work for Forever<'_, C, M> {
    type Output = Infallible;

    #[inline(always)]
    fn poll(&mut self) -> Option<Infallible> {
        self.0.pass();
        None
    }

    #[inline(always)]
    fn is_idle(&self) -> bool {
        self.0.executor.ready.is_empty()
    }
}

/// An idle policy whose waits are told to metrics and trace.
pub(super) struct Told<I> {
    idle: I,
    book: &'static Book,
}

impl<I: Idle> Rest for Told<I> {
    type End = Infallible;

    #[inline(always)]
    fn rest(&mut self, cx: &IdleContext<'_>) -> Result<(), Infallible> {
        // SAFETY: it is the runner that waits. (So each wait is followed by the same instructions.)
        unsafe { self.book.count_words_anew() };
        let wait = || self.idle.wait(cx);
        probe::waiting(self.book, wait);
        Ok(())
    }
}
