//! Where the executor says what it does, to [`metrics`](super::metrics) and [`trace`](super::trace). With
//! both features off nothing is left of it.
#![cfg_attr(
    not(all(feature = "metrics", feature = "trace")),
    allow(unused_variables, reason = "what is told depends on who wants to know")
)]

use core::ptr::NonNull;

use super::{
    book::Book,
    place::TaskRef,
    task::{Header, TaskType},
};
#[cfg(feature = "trace")]
use super::{
    task::nobody,
    trace::{self, TaskId},
};

/// A task that begins: what is known of it before it can be over, and is told when it is there.
pub(super) struct Spawned {
    #[cfg(feature = "trace")]
    task: TaskId,
    #[cfg(feature = "trace")]
    name: &'static str,
}

impl Spawned {
    /// A task of that type is about to begin in this place.
    #[inline(always)]
    pub(super) fn count(task: TaskRef, kind: &'static TaskType) -> Self {
        #[cfg(feature = "metrics")]
        task.book().metrics.spawned();
        Self {
            #[cfg(feature = "trace")]
            task: TaskId::of(task),
            #[cfg(feature = "trace")]
            name: (kind.name)(),
        }
    }

    /// It has begun. What is called here is the user's, and may drop the runner, or unwind.
    #[inline(always)]
    pub(super) fn tell(self) {
        #[cfg(feature = "trace")]
        trace::with(|to| to.spawned(self.task, self.name));
    }
}

/// A task whose waker is called, in any context: which one it is, and told when it is ready.
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
            task.book().metrics.woken();
        }
        Self {
            #[cfg(feature = "trace")]
            task: TaskId::of(task),
        }
    }

    /// It is ready.
    #[inline(always)]
    pub(super) fn tell(self) {
        #[cfg(feature = "trace")]
        trace::with(|to| to.woken(self.task));
    }
}

/// A task that ends, or whose future was dropped: known before its place is another's, and told when nothing
/// is left to do.
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
        task.book().metrics.ended();
        Self {
            #[cfg(feature = "trace")]
            task: TaskId::of(task),
            #[cfg(feature = "trace")]
            has_output,
        }
    }

    /// It is over.
    #[inline(always)]
    pub(super) fn tell(self) {
        #[cfg(feature = "trace")]
        trace::with(|to| to.ended(self.task, self.has_output));
    }
}

/// A pass begins, in which something is ready or not.
#[inline(always)]
pub(super) fn pass(book: &Book, is_ready: impl FnOnce() -> bool) {
    #[cfg(feature = "metrics")]
    book.metrics.pass(is_ready());
}

/// A poll, from its beginning until it is dropped.
pub(super) struct Polling {
    #[cfg(feature = "metrics")]
    timed: super::metrics::TimedPoll,
    /// `None` for a stale wake's visit, which is no poll.
    #[cfg(feature = "trace")]
    task: Option<TaskId>,
}

impl Polling {
    /// A poll begins. Its time is taken from the clock of the runner's timers, if there is one.
    ///
    /// # Safety
    ///
    /// `header` stands in the place `task`.
    #[inline(always)]
    pub(super) unsafe fn begin(task: TaskRef, header: NonNull<Header>) -> Self {
        // A trace or a clock that unwinds keeps the task from its poll: it stays ready.
        #[cfg(any(feature = "metrics", feature = "trace"))]
        let unpolled = Unpolled(task);
        #[cfg(feature = "trace")]
        let traced = (header.as_ptr() != nobody()).then(|| TaskId::of(task));
        #[cfg(feature = "trace")]
        if let Some(task) = traced {
            trace::with(|to| to.poll_begun(task));
        }
        let polling = Self {
            #[cfg(feature = "metrics")]
            // SAFETY: as the caller says.
            timed: super::metrics::TimedPoll::begin(task, unsafe { header.as_ref() }),
            #[cfg(feature = "trace")]
            task: traced,
        };
        #[cfg(any(feature = "metrics", feature = "trace"))]
        core::mem::forget(unpolled);
        polling
    }

    /// It ends, the task perhaps with it.
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

/// A task whose ready bit was cleared for a poll that does not come.
#[cfg(any(feature = "metrics", feature = "trace"))]
struct Unpolled(TaskRef);

#[cfg(any(feature = "metrics", feature = "trace"))]
impl Drop for Unpolled {
    fn drop(&mut self) {
        self.0.book().set(self.0);
    }
}

/// Waiting, as the idle policy does it.
#[inline(always)]
pub(super) fn waiting(book: &Book, wait: impl FnOnce()) {
    #[cfg(feature = "metrics")]
    let timers = book.timers();
    #[cfg(feature = "trace")]
    trace::with(|to| to.idle_entered());
    #[cfg(feature = "metrics")]
    let start = timers.has_clock().then(|| timers.now());
    wait();
    #[cfg(feature = "metrics")]
    book.metrics
        .waited(start.map(|start| timers.now().saturating_since(start)));
    #[cfg(feature = "trace")]
    trace::with(|to| to.idle_left());
}
