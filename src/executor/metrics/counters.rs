//! The counters behind [`Metrics`](super::Metrics) and [`TaskMetrics`](super::TaskMetrics).

use core::{
    ptr,
    sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

use crate::{
    executor::{header::TaskVTable, ready::node::BITS},
    progress,
    sync::critical,
};

/// The counters of the 64 tasks of a block.
pub(in crate::executor) struct TaskCounters {
    pub(super) polls: [AtomicU32; BITS as usize],
    pub(super) wakes: [AtomicU32; BITS as usize],
    pub(super) polled_nanos: [AtomicU64; BITS as usize],
}

impl TaskCounters {
    pub(in crate::executor) const fn new() -> Self {
        Self {
            polls: [const { AtomicU32::new(0) }; BITS as usize],
            wakes: [const { AtomicU32::new(0) }; BITS as usize],
            polled_nanos: [const { AtomicU64::new(0) }; BITS as usize],
        }
    }

    pub(in crate::executor) fn woken(&self, bit: u32) {
        self.wakes[bit as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn polled(&self, bit: u32, time: Duration) {
        self.polled_nanos[bit as usize].fetch_add(nanos(time), Ordering::Relaxed);
    }

    /// Sets the counts of a slot to zero, for a new task.
    pub(in crate::executor) fn reset(&self, bit: u32) {
        self.polls[bit as usize].store(0, Ordering::Relaxed);
        self.wakes[bit as usize].store(0, Ordering::Relaxed);
        self.polled_nanos[bit as usize].store(0, Ordering::Relaxed);
    }
}

/// The counters of an executor.
pub(in crate::executor) struct Counters {
    pub(super) spawned: AtomicU64,
    pub(super) ended: AtomicU64,
    pub(super) wakes: AtomicU64,
    pub(super) passes: AtomicU64,
    pub(super) restless: Restless,
    pub(super) polls: AtomicU64,
    pub(super) polled_nanos: AtomicU64,
    pub(super) waits: AtomicU64,
    pub(super) waited_nanos: AtomicU64,
    pub(super) longest_poll_nanos: AtomicU64,
    pub(super) longest_poll: AtomicPtr<TaskVTable>,
}

impl Counters {
    pub(in crate::executor) const fn new() -> Self {
        Self {
            spawned: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            wakes: AtomicU64::new(0),
            passes: AtomicU64::new(0),
            restless: Restless::new(),
            polls: AtomicU64::new(0),
            polled_nanos: AtomicU64::new(0),
            waits: AtomicU64::new(0),
            waited_nanos: AtomicU64::new(0),
            longest_poll_nanos: AtomicU64::new(0),
            longest_poll: AtomicPtr::new(ptr::null_mut()),
        }
    }

    pub(in crate::executor) fn spawned(&self) {
        self.spawned.fetch_add(1, Ordering::Relaxed);
    }

    pub(in crate::executor) fn ended(&self) {
        self.ended.fetch_add(1, Ordering::Relaxed);
    }

    pub(in crate::executor) fn woken(&self) {
        self.wakes.fetch_add(1, Ordering::Relaxed);
    }

    pub(in crate::executor) fn pass(&self, is_ready: bool) {
        self.passes.fetch_add(1, Ordering::Relaxed);
        self.restless.pass(is_ready);
    }

    /// Counts a wait, and its length if there is a clock.
    pub(in crate::executor) fn waited(&self, time: Option<Duration>) {
        self.waits.fetch_add(1, Ordering::Relaxed);
        self.restless.end();
        self.waited_nanos
            .fetch_add(nanos(time.unwrap_or_default()), Ordering::Relaxed);
    }

    pub(super) fn polled(&self, time: Duration, vtable: &'static TaskVTable) {
        self.polls.fetch_add(1, Ordering::Relaxed);
        self.polled_nanos.fetch_add(nanos(time), Ordering::Relaxed);
        // Only the runner writes these two. The critical section makes readers see both.
        if nanos(time) > self.longest_poll_nanos.load(Ordering::Relaxed) {
            critical(|_| {
                self.longest_poll_nanos
                    .store(nanos(time), Ordering::Relaxed);
                let vtable = ptr::from_ref(vtable).cast_mut();
                self.longest_poll.store(vtable, Ordering::Relaxed);
            });
        }
    }
}

/// Counts passes whose only cause was the pass before. Only the runner writes it.
pub(super) struct Restless {
    pub(super) passes: AtomicU64,
    pub(super) longest: AtomicU64,
    /// The number of passes over ready tasks in a row. The first of them had another cause.
    in_a_row: AtomicU64,
    /// The number of [causes](progress::causes) at the last pass.
    causes: AtomicU64,
}

impl Restless {
    const fn new() -> Self {
        Self {
            passes: AtomicU64::new(0),
            longest: AtomicU64::new(0),
            in_a_row: AtomicU64::new(0),
            causes: AtomicU64::new(0),
        }
    }

    fn pass(&self, is_ready: bool) {
        let causes = progress::causes();
        if !is_ready || self.causes.swap(causes, Ordering::Relaxed) != causes {
            self.end();
        }
        if !is_ready {
            return;
        }
        let restless = self.in_a_row.fetch_add(1, Ordering::Relaxed);
        if restless > 0 {
            self.passes.fetch_add(1, Ordering::Relaxed);
            self.longest.fetch_max(restless, Ordering::Relaxed);
        }
    }

    fn end(&self) {
        self.in_a_row.store(0, Ordering::Relaxed);
    }
}

fn nanos(time: Duration) -> u64 {
    time.as_nanos().try_into().unwrap_or(u64::MAX)
}
