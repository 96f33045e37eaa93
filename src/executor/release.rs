//! The release of a task that has ended: drops its output, and gives back its memory and its slot.
//!
//! An output may hold the join handle of another task that has ended, whose output is dropped with
//! that handle, and so on. If each were dropped inside the one before, a long chain would overflow
//! the stack. So while an output is being dropped, further outputs of the same executor on the same
//! vCPU are only queued, and the outermost drop goes on with them. (While two vCPUs drop outputs of
//! one executor at once, only the first one queues; the second one's chains are nested. So are the
//! outputs of local tasks where vCPUs cannot be distinguished.)

use core::{mem, ptr::NonNull, task::Waker};

use critical_section::CriticalSection;

use super::{
    executor_core::{OutputQueue, Outputs},
    header::{Header, Memory},
    task_ref::TaskRef,
};
use crate::{sync::critical, vcpu};

impl TaskRef {
    /// Drops the output of a task and releases the task: now, or after the output that is being
    /// dropped on this vCPU.
    ///
    /// # Safety
    ///
    /// The output is in the task with that header, and nothing else uses the task any more. The
    /// output may be dropped on this vCPU.
    pub(super) unsafe fn drop_output(self, header: NonNull<Header>) {
        // SAFETY: the caller guarantees that the task is still there.
        if !unsafe { header.as_ref() }.vtable().output_needs_drop {
            // SAFETY: nothing else uses the task, and nothing in it needs to be dropped.
            return unsafe { self.release(header) };
        }
        let (here, queue) = (vcpu::current(), &self.core().outputs);
        let order = critical(|cs| {
            let outputs = queue.0.borrow(cs);
            let Outputs { dropped_on, next } = outputs.get();
            // Where vCPUs cannot be distinguished, the outer drop may be another vCPU's. It must
            // not get the output of a local task, which need not be `Send`.
            let may_be_left = here != vcpu::UNKNOWN || !self.is_local(cs);
            if dropped_on.is_none() {
                let dropped_on = Some(here);
                outputs.set(Outputs { dropped_on, next });
                Order::First
            } else if dropped_on == Some(here) && may_be_left {
                // SAFETY: nothing else uses the task, which stays until it is taken from the queue.
                unsafe { header.as_ref() }.chain(self, next, cs);
                let next = Some(header);
                outputs.set(Outputs { dropped_on, next });
                Order::Later
            } else {
                Order::Nested
            }
        });
        match order {
            Order::First => {
                let rest = Rest(queue);
                // SAFETY: the contract is the same.
                unsafe { self.drop_now(header) };
                drop(rest);
            }
            Order::Later => {}
            // SAFETY: the contract is the same.
            Order::Nested => unsafe { self.drop_now(header) },
        }
    }

    /// Drops the output of a task and releases the task, even if the drop unwinds.
    ///
    /// # Safety
    ///
    /// As [`drop_output`](Self::drop_output).
    unsafe fn drop_now(self, header: NonNull<Header>) {
        let release = Release(self, header);
        // SAFETY: the task's memory is given back only at the end.
        let vtable = unsafe { header.as_ref() }.vtable();
        // SAFETY: the output is there and not used again; the vtable is the header's own.
        unsafe { (vtable.drop_output)(header) };
        drop(release);
    }

    /// Gives back the memory of a task that has ended, and its slot.
    ///
    /// # Safety
    ///
    /// There is neither future nor output, and nothing uses the task any more.
    pub(super) unsafe fn release(self, header: NonNull<Header>) {
        // SAFETY: the task's memory is given back below.
        let vtable = unsafe { header.as_ref() }.vtable();
        match &vtable.memory {
            Memory::Pool(pool, give_back) => critical(|cs| {
                // SAFETY: nothing uses the memory any more, and the vtable is the header's own.
                unsafe { give_back(pool, header, cs) };
                self.free(cs);
            }),
            Memory::Heap(free) => {
                // SAFETY: the same.
                unsafe { free(header) };
                critical(|cs| self.free(cs));
            }
        }
    }
}

/// When an output is dropped.
enum Order {
    /// Now. Later ones are queued until then.
    First,
    /// After the output that is being dropped.
    Later,
    /// Now, whatever else is being dropped.
    Nested,
}

/// Releases a task whose output was dropped, even if that unwound.
struct Release(TaskRef, NonNull<Header>);

impl Drop for Release {
    fn drop(&mut self) {
        // SAFETY: `drop_now` makes this for a task that nothing else uses, and has dropped the
        // output.
        unsafe { self.0.release(self.1) };
    }
}

/// Drops the outputs that were queued meanwhile, even if one of these drops unwinds.
struct Rest<'a>(&'a OutputQueue);

impl Drop for Rest<'_> {
    fn drop(&mut self) {
        while let Some((task, header)) = critical(|cs| self.take(cs)) {
            let rest = Rest(self.0);
            // SAFETY: `take` returned it, so nothing else uses it. `drop_output` queued it on this
            // vCPU, or the output is that of a remote task, and so `Send`.
            unsafe { task.drop_now(header) };
            mem::forget(rest);
        }
    }
}

impl Rest<'_> {
    /// Takes the next output from the queue. If there is none, later outputs are not queued.
    fn take(&self, cs: CriticalSection<'_>) -> Option<(TaskRef, NonNull<Header>)> {
        let outputs = self.0.0.borrow(cs);
        let Some(header) = outputs.get().next else {
            outputs.set(Outputs::NONE);
            return None;
        };
        // SAFETY: a task in the queue is still there, and nothing else uses it.
        let (task, next) = unsafe { header.as_ref() }.unchain(cs);
        outputs.set(Outputs {
            next,
            ..outputs.get()
        });
        Some((task, header))
    }
}

impl Header {
    /// Stores in the header of an ended task, which no slot points to, which task it is and which
    /// one follows.
    fn chain(&self, task: TaskRef, next: Option<NonNull<Self>>, cs: CriticalSection<'_>) {
        self.set_next(next);
        // SAFETY: the executor's wakers keep the contract, and the data pointer is a task's.
        let waker = unsafe { Waker::new(task.data(), task.core().wakers()) };
        self.joiner.borrow(cs).set(Some(waker));
    }

    /// Returns what [`chain`](Self::chain) stored.
    fn unchain(&self, cs: CriticalSection<'_>) -> (TaskRef, Option<NonNull<Self>>) {
        let waker = self.joiner.borrow(cs).take();
        let data = waker.expect("the task is in the queue").data();
        // SAFETY: `chain` stored a task's data pointer.
        (unsafe { TaskRef::from_data(data) }, self.next())
    }
}
