//! The executor's reports to [`metrics`](super::metrics) and [`trace`](super::trace). Without these
//! features they compile to nothing.
#![cfg_attr(
    not(all(feature = "metrics", feature = "trace")),
    allow(unused_variables, reason = "what is used depends on the features")
)]

use core::ptr::NonNull;

use super::{
    executor_core::ExecutorCore,
    header::{Header, TaskVTable},
    task_ref::TaskRef,
};
#[cfg(feature = "trace")]
use super::{
    header::vacant,
    trace::{self, TaskId},
};
use crate::last_yield::Stretch;

/// The spawn of a task: counted before the task can end, and reported after it has begun.
pub(super) struct Spawned {
    #[cfg(feature = "trace")]
    task: TaskId,
    #[cfg(feature = "trace")]
    name: &'static str,
}

impl Spawned {
    /// Counts a task that is about to begin.
    #[inline(always)]
    pub(super) fn count(task: TaskRef, vtable: &'static TaskVTable) -> Self {
        #[cfg(feature = "metrics")]
        task.core().metrics.spawned();
        Self {
            #[cfg(feature = "trace")]
            task: TaskId::of(task),
            #[cfg(feature = "trace")]
            name: (vtable.name)(),
        }
    }

    /// Reports that the task has begun. This calls foreign code, which may drop the runner, or
    /// unwind.
    #[inline(always)]
    pub(super) fn report(self) {
        #[cfg(feature = "trace")]
        trace::with(|to| to.spawned(self.task, self.name));
    }
}

/// A wake, in any context: counted before the task is ready, and reported after that.
pub(super) struct Woken {
    #[cfg(feature = "trace")]
    task: TaskId,
}

impl Woken {
    #[inline(always)]
    pub(super) fn count(task: TaskRef) -> Self {
        #[cfg(feature = "metrics")]
        {
            task.counters().woken(task.bit());
            task.core().metrics.woken();
        }
        Self {
            #[cfg(feature = "trace")]
            task: TaskId::of(task),
        }
    }

    /// Reports that the task is ready.
    #[inline(always)]
    pub(super) fn report(self) {
        #[cfg(feature = "trace")]
        trace::with(|to| to.woken(self.task));
    }
}

/// The end of a task: counted before another task can get the slot, and reported when nothing is
/// left to do.
pub(super) struct Ended {
    #[cfg(feature = "trace")]
    task: TaskId,
    #[cfg(feature = "trace")]
    has_output: bool,
}

impl Ended {
    #[inline(always)]
    pub(super) fn count(task: TaskRef, has_output: bool) -> Self {
        #[cfg(feature = "metrics")]
        task.core().metrics.ended();
        Self {
            #[cfg(feature = "trace")]
            task: TaskId::of(task),
            #[cfg(feature = "trace")]
            has_output,
        }
    }

    /// Reports the end. Nothing is left to do.
    #[inline(always)]
    pub(super) fn report(self) {
        #[cfg(feature = "trace")]
        trace::with(|to| to.ended(self.task, self.has_output));
    }
}

/// A pass begins. `is_ready` tells whether any task is ready.
#[inline(always)]
pub(super) fn pass(core: &ExecutorCore, is_ready: impl FnOnce() -> bool) {
    #[cfg(feature = "metrics")]
    core.metrics.pass(is_ready());
}

/// A poll, from its beginning to its end.
pub(super) struct Polling {
    _stretch: Stretch,
    #[cfg(feature = "metrics")]
    timed: super::metrics::poll::TimedPoll,
    /// `None` for a visit that follows a stale wake: it is not a poll.
    #[cfg(feature = "trace")]
    task: Option<TaskId>,
}

impl Polling {
    /// A poll begins. It is timed by the clock of the runner's timers, if there is one.
    ///
    /// # Safety
    ///
    /// `header` is in the slot `task`.
    #[inline(always)]
    pub(super) unsafe fn begin(task: TaskRef, header: NonNull<Header>) -> Self {
        // If the trace or the clock unwinds, the task is not polled, and stays ready.
        #[cfg(any(feature = "metrics", feature = "trace"))]
        let unpolled = Unpolled(task);
        #[cfg(feature = "trace")]
        let traced = (header.as_ptr() != vacant()).then(|| TaskId::of(task));
        #[cfg(feature = "trace")]
        if let Some(task) = traced {
            trace::with(|to| to.poll_begun(task));
        }
        #[cfg(feature = "metrics")]
        // SAFETY: the caller guarantees that the header is in the slot.
        let timed = super::metrics::poll::TimedPoll::begin(task, unsafe { header.as_ref() });
        #[cfg(feature = "metrics")]
        let start = timed.start();
        #[cfg(not(feature = "metrics"))]
        let start = None;
        let polling = Self {
            _stretch: Stretch::poll(start),
            #[cfg(feature = "metrics")]
            timed,
            #[cfg(feature = "trace")]
            task: traced,
        };
        #[cfg(any(feature = "metrics", feature = "trace"))]
        core::mem::forget(unpolled);
        polling
    }

    /// The poll ends, and the task may have ended with it.
    #[inline(always)]
    pub(super) fn end(self) {
        #[cfg(feature = "metrics")]
        self.timed.end();
        #[cfg(feature = "trace")]
        if let Some(task) = self.task {
            trace::with(|to| to.poll_ended(task));
        }
    }
}

/// Makes a task ready again whose bit was cleared, but whose poll was prevented by unwinding. This
/// calls the hook of wakes; if that unwinds too, the process aborts.
#[cfg(any(feature = "metrics", feature = "trace"))]
struct Unpolled(TaskRef);

#[cfg(any(feature = "metrics", feature = "trace"))]
impl Drop for Unpolled {
    fn drop(&mut self) {
        self.0.core().set_ready(self.0);
    }
}

/// Calls `wait`, the idle policy, and reports it.
#[inline(always)]
pub(super) fn waiting(core: &ExecutorCore, wait: impl FnOnce()) {
    #[cfg(feature = "metrics")]
    let timers = core.timers();
    #[cfg(feature = "trace")]
    trace::with(|to| to.idle_entered());
    #[cfg(feature = "metrics")]
    let start = timers.has_clock().then(|| timers.now());
    wait();
    #[cfg(feature = "metrics")]
    core.metrics
        .waited(start.map(|start| timers.now().saturating_duration_since(start)));
    #[cfg(feature = "trace")]
    trace::with(|to| to.idle_left());
}
