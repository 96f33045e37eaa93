//! Outputs whose runner is gone, and that are dropped with their handles: one after the other, also where one
//! holds the next one's handle.
//!
//! Each of a chain of such outputs would be dropped inside the one before, and a long chain would overflow the
//! stack. So whoever drops one inside another one's drop only leaves it for the outer drop to go on with.

use core::{cell::Cell, mem, ptr::NonNull, task::Waker};

use critical_section::{CriticalSection, Mutex};

use super::{place::TaskRef, task::Header};
use crate::{sync::critical, vcpu};

/// An executor's outputs that are to be dropped now.
pub(crate) struct Orphans(Mutex<Cell<State>>);

#[derive(Clone, Copy)]
struct State {
    /// The vCPU (on a host: the thread) that is dropping outputs. Those of others it must leave alone: they
    /// need not be `Send`.
    dropped_on: Option<usize>,
    /// The one that it is to drop next. Each has the next one's header.
    next: Option<NonNull<Header>>,
}

// SAFETY: the headers are used by the vCPU that left them there, and the state in critical sections.
unsafe impl Send for State {}

impl Orphans {
    pub(super) const fn none() -> Self {
        Self(Mutex::new(Cell::new(State {
            dropped_on: None,
            next: None,
        })))
    }
}

impl TaskRef {
    /// Drops the output of a task whose runner is gone, and gives memory and place back: now, or when the
    /// output is dropped that is being dropped on this vCPU.
    ///
    /// # Safety
    ///
    /// The output is there, in the task with that header, and nobody else uses the task any more. It may be
    /// dropped on this vCPU.
    pub(super) unsafe fn drop_orphan(self, header: NonNull<Header>) {
        let (here, orphans) = (vcpu::current(), &self.book().orphans.0);
        let dropped_on = critical(|cs| {
            let state = orphans.borrow(cs);
            let State { dropped_on, next } = state.get();
            if dropped_on == Some(here) {
                // SAFETY: as the caller says; it stays until it is taken from there.
                unsafe { header.as_ref() }.chain(self, next, cs);
                let next = Some(header);
                state.set(State { dropped_on, next });
            } else if dropped_on.is_none() {
                let dropped_on = Some(here);
                state.set(State { dropped_on, next });
            }
            dropped_on
        });
        match dropped_on {
            None => {
                let rest = Rest(orphans);
                // SAFETY: as the caller says.
                unsafe { self.drop_output(header) };
                drop(rest);
            }
            Some(vcpu) if vcpu == here => {}
            // SAFETY: as the caller says.
            Some(_) => unsafe { self.drop_output(header) },
        }
    }
}

/// Goes on with what was left, also where dropping an output unwinds.
struct Rest<'a>(&'a Mutex<Cell<State>>);

impl Drop for Rest<'_> {
    fn drop(&mut self) {
        while let Some((task, header)) = critical(|cs| self.take(cs)) {
            let rest = Rest(self.0);
            // SAFETY: `drop_orphan` has left it, on this vCPU.
            unsafe { task.drop_output(header) };
            mem::forget(rest);
        }
    }
}

impl Rest<'_> {
    /// The next one; if there is none, nobody drops outputs any more.
    fn take(&self, cs: CriticalSection<'_>) -> Option<(TaskRef, NonNull<Header>)> {
        let state = self.0.borrow(cs);
        let Some(header) = state.get().next else {
            state.set(State {
                dropped_on: None,
                next: None,
            });
            return None;
        };
        // SAFETY: it was left there, and nobody else uses it.
        let (task, next) = unsafe { header.as_ref() }.unchain(cs);
        state.set(State {
            next,
            ..state.get()
        });
        Some((task, header))
    }
}

impl Header {
    /// Notes in an ended task's header, which is in no place, which task it is and which one follows.
    fn chain(&self, task: TaskRef, next: Option<NonNull<Self>>, cs: CriticalSection<'_>) {
        self.set_next(next);
        // SAFETY: the executor's functions keep the contract of wakers.
        let waker = unsafe { Waker::new(task.data(), task.book().wakers()) };
        self.joiner.borrow(cs).set(Some(waker));
    }

    /// What [`chain`](Self::chain) has noted.
    fn unchain(&self, cs: CriticalSection<'_>) -> (TaskRef, Option<NonNull<Self>>) {
        let waker = self.joiner.borrow(cs).take();
        let data = waker.expect("it was chained").data();
        // SAFETY: it is a place's.
        (unsafe { TaskRef::from_data(data) }, self.next())
    }
}
