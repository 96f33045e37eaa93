//! The functions of wakers: what a wake does.

use core::{
    ptr,
    task::{RawWaker, RawWakerVTable, Waker},
};

use super::{
    Executor, book::Wakers, capacity::Capacity, cpus::Cpus, place::TaskRef, probe::Woken,
    ready::ReadySet,
};

impl<C: Capacity, M: Cpus> Executor<C, M> {
    /// The functions of its wakers, whose data pointers are places of its ready set.
    pub(super) const WAKERS: Wakers = Wakers {
        vtable: &RawWakerVTable::new(Self::clone, Self::wake, Self::wake, |_| ()),
        set: Self::set,
    };

    /// Those for an executor with a hook.
    pub(super) const HOOKED_WAKERS: Wakers = Wakers {
        vtable: &RawWakerVTable::new(
            Self::clone_hooked,
            Self::wake_hooked,
            Self::wake_hooked,
            |_| (),
        ),
        set: Self::set_and_call,
    };

    /// The task that `waker` wakes, if it is one of this executor's.
    pub(super) fn task_of(&self, waker: &Waker) -> Option<TaskRef> {
        if !ptr::eq(waker.vtable(), self.book.wakers()) {
            return None;
        }
        // SAFETY: these functions go with the places of such executors.
        let task = unsafe { TaskRef::from_data(waker.data()) };
        ptr::eq(task.book(), &self.book).then_some(task)
    }

    /// # Safety
    ///
    /// None is needed; it is that of wakers' functions.
    unsafe fn clone(data: *const ()) -> RawWaker {
        RawWaker::new(data, Self::WAKERS.vtable)
    }

    /// # Safety
    ///
    /// As [`clone`](Self::clone).
    unsafe fn clone_hooked(data: *const ()) -> RawWaker {
        RawWaker::new(data, Self::HOOKED_WAKERS.vtable)
    }

    /// Sets a ready bit: lock-free, without memory, in any context, NMI included.
    ///
    /// # Safety
    ///
    /// `data` is of the ready set of such an executor.
    unsafe fn wake(data: *const ()) {
        // SAFETY: as the caller says.
        let task = unsafe { TaskRef::from_data(data) };
        let woken = Woken::count(task);
        Self::set(task);
        woken.tell();
    }

    /// # Safety
    ///
    /// As [`wake`](Self::wake).
    unsafe fn wake_hooked(data: *const ()) {
        // SAFETY: as the caller says.
        let task = unsafe { TaskRef::from_data(data) };
        let woken = Woken::count(task);
        Self::set_and_call(task);
        woken.tell();
    }

    #[inline(always)]
    fn set(task: TaskRef) {
        ReadySet::<C, M>::set(task);
    }

    #[inline(always)]
    fn set_and_call(task: TaskRef) {
        if ReadySet::<C, M>::set(task) {
            task.book().hook.call();
        }
    }
}
