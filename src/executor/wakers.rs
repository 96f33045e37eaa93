//! The functions of wakers: what a wake does.

use core::{
    marker::PhantomData,
    task::{RawWaker, RawWakerVTable},
};

use super::{
    capacity::Capacity,
    cpus::Cpus,
    executor_core::{ExecutorCore, Wakers},
    probe::Woken,
    ready::ReadySet,
    task_ref::TaskRef,
};

/// The wakers of executors with these parameters. Their data pointers are [`TaskRef`]s.
pub(crate) struct Functions<C, M>(PhantomData<(C, M)>);

impl<C: Capacity, M: Cpus> Functions<C, M> {
    /// For an executor without a hook.
    pub(super) const PLAIN: Wakers = Wakers {
        vtable: &RawWakerVTable::new(Self::clone, Self::wake, Self::wake, |_| ()),
        set_ready: Self::set_ready,
    };

    /// For an executor with a hook: [`Executor::on_wake`](super::executor::Executor::on_wake).
    pub(super) const HOOKED: Wakers = Wakers {
        vtable: &RawWakerVTable::new(
            Self::clone_hooked,
            Self::wake_hooked,
            Self::wake_hooked,
            |_| (),
        ),
        set_ready: Self::set_ready_and_call,
    };

    /// # Safety
    ///
    /// None; the type is that of wakers' functions.
    unsafe fn clone(data: *const ()) -> RawWaker {
        RawWaker::new(data, Self::PLAIN.vtable)
    }

    /// # Safety
    ///
    /// As [`clone`](Self::clone).
    unsafe fn clone_hooked(data: *const ()) -> RawWaker {
        RawWaker::new(data, Self::HOOKED.vtable)
    }

    /// Sets a ready bit. Lock-free, allocates nothing, and may be called in any context, NMI
    /// included.
    ///
    /// # Safety
    ///
    /// `data` is a [`TaskRef`]'s, of an executor of this capacity.
    pub(crate) unsafe fn wake(data: *const ()) {
        // SAFETY: the caller guarantees that `data` is a `TaskRef`'s.
        let task = unsafe { TaskRef::from_data(data) };
        let woken = Woken::count(task);
        Self::set_ready(task);
        woken.report();
    }

    /// # Safety
    ///
    /// As [`wake`](Self::wake).
    unsafe fn wake_hooked(data: *const ()) {
        // SAFETY: the caller guarantees that `data` is a `TaskRef`'s.
        let task = unsafe { TaskRef::from_data(data) };
        let woken = Woken::count(task);
        Self::set_ready_and_call(task);
        woken.report();
    }

    #[inline(always)]
    fn set_ready(task: TaskRef) {
        ReadySet::<C, M>::set(task);
    }

    #[inline(always)]
    fn set_ready_and_call(task: TaskRef) {
        if ReadySet::<C, M>::set(task) {
            task.core().hook.call();
        }
    }
}

impl ExecutorCore {
    /// Wakes a task of this executor.
    pub(crate) fn wake(&self, task: TaskRef) {
        let woken = Woken::count(task);
        self.set_ready(task);
        woken.report();
    }
}
