//! The executor's reports to [`metrics`](super::metrics) and [`trace`](super::trace). Without these
//! features nothing is left of them.
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

/// A task that is spawned: counted before it can end, and reported when it has begun.
pub(super) struct Spawned {
    #[cfg(feature = "trace")]
    task: TaskId,
    #[cfg(feature = "trace")]
    name: &'static str,
}

impl Spawned {
    /// A task with that vtable is about to begin.
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

    /// It has begun. This calls the user's code, which may drop the runner, or unwind.
    #[inline(always)]
    pub(super) fn report(self) {
        #[cfg(feature = "trace")]
        trace::with(|to| to.spawned(self.task, self.name));
    }
}

/// A task that is woken, in any context: counted before, and reported when it is ready.
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

    /// It is ready.
    #[inline(always)]
    pub(super) fn report(self) {
        #[cfg(feature = "trace")]
        trace::with(|to| to.woken(self.task));
    }
}

/// A task that has ended: counted before its slot can be another's, and reported when nothing is
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

    /// Nothing is left to do.
    #[inline(always)]
    pub(super) fn report(self) {
        #[cfg(feature = "trace")]
        trace::with(|to| to.ended(self.task, self.has_output));
    }
}

/// A pass begins, in which something is ready or not.
#[inline(always)]
pub(super) fn pass(core: &ExecutorCore, is_ready: impl FnOnce() -> bool) {
    #[cfg(feature = "metrics")]
    core.metrics.pass(is_ready());
}

/// A poll, from its beginning until it is dropped.
pub(super) struct Polling {
    #[cfg(feature = "metrics")]
    timed: super::metrics::poll::TimedPoll,
    /// `None` for the visit of a stale wake, which is not a poll.
    #[cfg(feature = "trace")]
    task: Option<TaskId>,
}

impl Polling {
    /// A poll begins. Its time is taken from the clock of the runner's timers, if there is one.
    ///
    /// # Safety
    ///
    /// `header` is in the slot `task`.
    #[inline(always)]
    pub(super) unsafe fn begin(task: TaskRef, header: NonNull<Header>) -> Self {
        // A trace or a clock that unwinds keeps the task from its poll: it stays ready.
        #[cfg(any(feature = "metrics", feature = "trace"))]
        let unpolled = Unpolled(task);
        #[cfg(feature = "trace")]
        let traced = (header.as_ptr() != vacant()).then(|| TaskId::of(task));
        #[cfg(feature = "trace")]
        if let Some(task) = traced {
            trace::with(|to| to.poll_begun(task));
        }
        let polling = Self {
            #[cfg(feature = "metrics")]
            // SAFETY: as the caller says.
            timed: super::metrics::poll::TimedPoll::begin(task, unsafe { header.as_ref() }),
            #[cfg(feature = "trace")]
            task: traced,
        };
        #[cfg(any(feature = "metrics", feature = "trace"))]
        core::mem::forget(unpolled);
        polling
    }

    /// The poll ends, and perhaps the task with it.
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

/// A task whose ready bit was cleared, for a poll that does not come: it is made ready again. That
/// calls the hook of wakes, also while it unwinds: a hook that unwinds then aborts the process.
#[cfg(any(feature = "metrics", feature = "trace"))]
struct Unpolled(TaskRef);

#[cfg(any(feature = "metrics", feature = "trace"))]
impl Drop for Unpolled {
    fn drop(&mut self) {
        self.0.core().set_ready(self.0);
    }
}

/// Waiting, as the idle policy does it.
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
