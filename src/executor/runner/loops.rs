//! What a runner's loops poll, and how they wait.

use core::convert::Infallible;

use super::Runner;
use crate::{
    executor::{
        capacity::Capacity,
        cpus::Cpus,
        drive::{Rest, Work},
        executor_core::ExecutorCore,
        probe,
    },
    idle::{Idle, IdleContext},
};

impl<C: Capacity, M: Cpus> Runner<C, M> {
    pub(super) fn rest<I: Idle>(&self, idle: I) -> Reported<I> {
        Reported {
            idle,
            core: &self.executor.core,
        }
    }
}

/// Polls an executor's tasks, until none is left.
pub(super) struct UntilEmpty<'a, C: Capacity, M: Cpus>(pub(super) &'a mut Runner<C, M>);

impl<C: Capacity, M: Cpus> Work for UntilEmpty<'_, C, M> {
    type Output = ();

    #[inline(always)]
    fn poll(&mut self) -> Option<()> {
        self.0.pass();
        // If the last task has ended, there is nothing to wait for.
        let executor = self.0.executor;
        (executor.tasks() == 0 && executor.ready.is_empty()).then_some(())
    }

    #[inline(always)]
    fn is_idle(&self) -> bool {
        self.0.executor.ready.is_empty()
    }
}

/// Polls an executor's tasks, even while there is none.
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

/// An idle policy whose waits are reported to metrics and trace.
pub(super) struct Reported<I> {
    idle: I,
    core: &'static ExecutorCore,
}

impl<I: Idle> Rest for Reported<I> {
    type End = Infallible;

    #[inline(always)]
    fn rest(&mut self, cx: &IdleContext<'_>) -> Result<(), Infallible> {
        // SAFETY: the caller is the runner's loop. (Each wait restarts the count, so that the same
        // instructions follow every wait.)
        unsafe { self.core.restart_word_count() };
        let wait = || self.idle.wait(cx);
        probe::waiting(self.core, wait);
        Ok(())
    }
}
