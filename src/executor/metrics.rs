//! What an executor and its tasks have done, as figures that can be read at any time. With the feature
//! `metrics`; without it they cost nothing.
//!
//! The counters wrap at their width. They are kept by relaxed atomic operations, so figures that are read
//! together may be a step apart.

use core::{
    ptr,
    sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

use super::{
    Executor,
    capacity::Capacity,
    cpus::Cpus,
    place::TaskRef,
    ready::BITS,
    task::{Header, TaskType, nobody},
};
use crate::{
    progress,
    sync::critical,
    time::{Instant, TimerQueue},
};

/// What an executor has done since it was made: see [`Executor::metrics`].
///
/// # Examples
///
/// ```
/// use dormir::executor::{Executor, Shared, Up64, metrics::Metrics, yield_now};
///
/// dormir::task! { async fn twice(), pool = 1 { yield_now().await } }
///
/// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
///
/// let mut runner = EXECUTOR.enter()?;
/// let before: Metrics = EXECUTOR.metrics();
/// runner.spawner().spawn_detached(twice())?;
/// runner.run_until_idle();
/// let after = EXECUTOR.metrics();
/// assert_eq!(after.polls - before.polls, 2);
/// println!("longest poll: {:?}, of {:?}", after.longest_poll, after.longest_poll_task);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Tasks that were spawned.
    pub spawned: u64,
    /// Tasks that have ended or were dropped.
    pub ended: u64,
    /// Calls of tasks' wakers, also of tasks that were ready already, or over. A spawn, an abort and a
    /// handle that leaves an output behind wake the task too, and count.
    pub wakes: u64,
    /// Passes over the tasks that were ready.
    pub passes: u64,
    /// Passes over ready tasks that came of nothing but the pass before: since then the executor has not
    /// waited, no timer has fired and no [`Event`](crate::Event) was signalled. Tasks that wake themselves or
    /// one another make such passes. If they never end, the vCPU never halts: two receivers of one channel that
    /// has one waker's place, for example, drive each other out of it for ever.
    pub restless_passes: u64,
    /// The most of them in a row.
    pub longest_restless: u64,
    /// Polls of tasks; the visits that drop a future or an output count too.
    pub polls: u64,
    /// How often the idle policy was asked to wait: with `Halt` these are the halts, but for those that a
    /// wake at the last moment prevented.
    pub waits: u64,
    /// How long it waited altogether.
    pub waited: Duration,
    /// How long the longest poll took, interrupts within it included. Zero without a clock.
    pub longest_poll: Duration,
    /// Which task's it was.
    pub longest_poll_task: Option<&'static str>,
}

/// What a task has done since it was spawned: see [`Executor::for_each_task`].
///
/// # Examples
///
/// ```
/// use dormir::executor::{Executor, Shared, Up64, metrics::TaskMetrics};
///
/// dormir::task! { async fn waits(), pool = 4 { core::future::pending().await } }
///
/// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
///
/// let mut runner = EXECUTOR.enter()?;
/// runner.spawner().spawn_detached(waits())?;
/// runner.run_until_idle();
/// let mut busiest: Option<TaskMetrics> = None;
/// EXECUTOR.for_each_task(|task| {
///     if busiest.is_none_or(|other| other.polls < task.polls) {
///         busiest = Some(task);
///     }
/// });
/// assert!(busiest.is_some_and(|task| task.name.ends_with("waits") && task.polls == 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TaskMetrics {
    /// The function that made it.
    pub name: &'static str,
    /// How many tasks were spawned on the executor when it was, itself included.
    pub number: u64,
    /// How often it was polled.
    pub polls: u32,
    /// How often it was woken, its spawn included.
    pub wakes: u32,
}

impl<C: Capacity, M: Cpus> Executor<C, M> {
    /// What it has done until now. May be called in any context but NMI.
    ///
    /// # Examples
    ///
    /// ```
    /// use dormir::executor::{Executor, Shared, Up64};
    ///
    /// dormir::task! { async fn nothing(), pool = 1 {} }
    ///
    /// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
    /// let mut runner = EXECUTOR.enter()?;
    /// runner.spawner().spawn_detached(nothing())?;
    /// runner.run_until_idle();
    /// assert_eq!(EXECUTOR.metrics().polls, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.book.metrics.read()
    }

    /// Shows what each task has done that has not ended. It looks at every place of the executor, each in
    /// a critical section of its own, and calls `show` outside of them. May be called in any context but
    /// NMI.
    ///
    /// # Examples
    ///
    /// ```
    /// use dormir::executor::{Executor, Shared, Up64};
    ///
    /// dormir::task! { async fn waits(), pool = 1 { core::future::pending().await } }
    ///
    /// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
    /// let mut runner = EXECUTOR.enter()?;
    /// runner.spawner().spawn_detached(waits())?;
    /// runner.run_until_idle();
    /// EXECUTOR.for_each_task(|task| println!("{}: {} polls", task.name, task.polls));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn for_each_task(&'static self, mut show: impl FnMut(TaskMetrics)) {
        for number in 0..C::TASKS {
            if let Some(task) = self.ready.place(number).metrics() {
                show(task);
            }
        }
    }
}

impl TaskRef {
    /// The counters of the tasks of its block.
    pub(super) fn counters(self) -> &'static TaskCounters {
        &self.block().places.counters
    }

    fn metrics(self) -> Option<TaskMetrics> {
        critical(|cs| {
            let header = self.live_task(cs)?;
            // SAFETY: it is valid within the section.
            let header = unsafe { header.as_ref() };
            let counters = self.counters();
            let bit = self.bit() as usize;
            Some(TaskMetrics {
                name: (header.kind().name)(),
                number: self.task_number(),
                polls: counters.polls[bit].load(Ordering::Relaxed),
                wakes: counters.wakes[bit].load(Ordering::Relaxed),
            })
        })
    }
}

/// The counters of the 64 tasks of a block.
pub(super) struct TaskCounters {
    polls: [AtomicU32; BITS as usize],
    wakes: [AtomicU32; BITS as usize],
}

impl TaskCounters {
    pub(super) const fn new() -> Self {
        Self {
            polls: [const { AtomicU32::new(0) }; BITS as usize],
            wakes: [const { AtomicU32::new(0) }; BITS as usize],
        }
    }

    pub(super) fn woken(&self, bit: u32) {
        self.wakes[bit as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// For a new task.
    pub(super) fn reset(&self, bit: u32) {
        self.polls[bit as usize].store(0, Ordering::Relaxed);
        self.wakes[bit as usize].store(0, Ordering::Relaxed);
    }
}

/// The counters of an executor.
pub(super) struct Counters {
    spawned: AtomicU64,
    ended: AtomicU64,
    wakes: AtomicU64,
    passes: AtomicU64,
    restless: Restless,
    polls: AtomicU64,
    waits: AtomicU64,
    waited_nanos: AtomicU64,
    longest_poll_nanos: AtomicU64,
    longest_poll: AtomicPtr<TaskType>,
}

impl Counters {
    pub(super) const fn new() -> Self {
        Self {
            spawned: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            wakes: AtomicU64::new(0),
            passes: AtomicU64::new(0),
            restless: Restless::new(),
            polls: AtomicU64::new(0),
            waits: AtomicU64::new(0),
            waited_nanos: AtomicU64::new(0),
            longest_poll_nanos: AtomicU64::new(0),
            longest_poll: AtomicPtr::new(ptr::null_mut()),
        }
    }

    pub(super) fn spawned(&self) {
        self.spawned.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn ended(&self) {
        self.ended.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn woken(&self) {
        self.wakes.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn pass(&self, is_ready: bool) {
        self.passes.fetch_add(1, Ordering::Relaxed);
        self.restless.pass(is_ready);
    }

    /// Waited once; how long, if there is a clock.
    pub(super) fn waited(&self, time: Option<Duration>) {
        self.waits.fetch_add(1, Ordering::Relaxed);
        self.restless.end();
        self.waited_nanos
            .fetch_add(nanos(time.unwrap_or_default()), Ordering::Relaxed);
    }

    fn polled(&self, time: Duration, kind: &'static TaskType) {
        self.polls.fetch_add(1, Ordering::Relaxed);
        // Only the runner writes these two; the section is for who reads them.
        if nanos(time) > self.longest_poll_nanos.load(Ordering::Relaxed) {
            critical(|_| {
                self.longest_poll_nanos
                    .store(nanos(time), Ordering::Relaxed);
                let kind = ptr::from_ref(kind).cast_mut();
                self.longest_poll.store(kind, Ordering::Relaxed);
            });
        }
    }

    fn read(&self) -> Metrics {
        let (longest_poll, kind) = critical(|_| {
            (
                self.longest_poll_nanos.load(Ordering::Relaxed),
                self.longest_poll.load(Ordering::Relaxed),
            )
        });
        // SAFETY: null, or the address of a static.
        let kind = unsafe { kind.as_ref() };
        Metrics {
            spawned: self.spawned.load(Ordering::Relaxed),
            ended: self.ended.load(Ordering::Relaxed),
            wakes: self.wakes.load(Ordering::Relaxed),
            passes: self.passes.load(Ordering::Relaxed),
            restless_passes: self.restless.passes.load(Ordering::Relaxed),
            longest_restless: self.restless.longest.load(Ordering::Relaxed),
            polls: self.polls.load(Ordering::Relaxed),
            waits: self.waits.load(Ordering::Relaxed),
            waited: Duration::from_nanos(self.waited_nanos.load(Ordering::Relaxed)),
            longest_poll: Duration::from_nanos(longest_poll),
            longest_poll_task: kind.map(|kind| (kind.name)()),
        }
    }
}

/// Passes that came of nothing but the pass before. Only the runner writes it.
struct Restless {
    passes: AtomicU64,
    longest: AtomicU64,
    /// How many passes over ready tasks there were in a row, the first of which has a cause.
    in_a_row: AtomicU64,
    /// How many [causes](progress::causes) there had been at the last pass.
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

/// A poll whose time is taken.
pub(super) struct TimedPoll {
    task: TaskRef,
    kind: Option<&'static TaskType>,
    timers: &'static TimerQueue,
    start: Option<Instant>,
}

impl TimedPoll {
    pub(super) fn begin(task: TaskRef, header: &Header) -> Self {
        let timers = task.book().timers();
        // A stale wake's visit is not a poll.
        let kind = (!ptr::eq(header, nobody())).then(|| header.kind());
        if kind.is_some() {
            let bit = task.bit() as usize;
            task.counters().polls[bit].fetch_add(1, Ordering::Relaxed);
        }
        Self {
            task,
            kind,
            timers,
            start: timers.has_clock().then(|| timers.now()),
        }
    }

    pub(super) fn end(self) {
        let Some(kind) = self.kind else { return };
        let now = |start| self.timers.now().saturating_since(start);
        let time = self.start.map(now).unwrap_or_default();
        self.task.book().metrics.polled(time, kind);
    }
}

#[cfg(test)]
mod tests;
