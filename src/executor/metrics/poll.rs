//! [`TimedPoll`]: a poll that is counted and timed.

use core::{ptr, sync::atomic::Ordering};

use crate::{
    executor::{
        header::{Header, TaskVTable, vacant},
        task_ref::TaskRef,
    },
    time::{Instant, TimerQueue},
};

/// A poll that is counted and timed.
pub(in crate::executor) struct TimedPoll {
    task: TaskRef,
    vtable: Option<&'static TaskVTable>,
    timers: &'static TimerQueue,
    start: Option<Instant>,
    /// The task's number: its slot may belong to another when the poll has ended.
    number: u64,
}

impl TimedPoll {
    pub(in crate::executor) fn begin(task: TaskRef, header: &Header) -> Self {
        let timers = task.core().timers();
        // A visit that follows a stale wake is not a poll.
        let vtable = (!ptr::eq(header, vacant())).then(|| header.vtable());
        if vtable.is_some() {
            let bit = task.bit() as usize;
            task.counters().polls[bit].fetch_add(1, Ordering::Relaxed);
        }
        Self {
            task,
            vtable,
            timers,
            start: timers.has_clock().then(|| timers.now()),
            number: task.task_number(),
        }
    }

    /// When it began, if there is a clock.
    pub(in crate::executor) fn start(&self) -> Option<Instant> {
        self.start
    }

    pub(in crate::executor) fn end(self) {
        let Some(vtable) = self.vtable else { return };
        let now = |start| self.timers.now().saturating_duration_since(start);
        let time = self.start.map(now).unwrap_or_default();
        self.task.core().metrics.polled(time, vtable);
        if self.task.task_number() == self.number {
            self.task.counters().polled(self.task.bit(), time);
        }
    }
}
