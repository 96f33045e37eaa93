//! Counts of what an executor and its tasks have done. This module needs the feature `metrics`;
//! without it, the counts cost nothing.
//!
//! Counts wrap when they overflow. They are relaxed atomics, so counts that are read together may
//! differ by an event that is going on.

pub(super) mod counters;
pub(super) mod poll;

use core::{sync::atomic::Ordering, time::Duration};

use super::{capacity::Capacity, cpus::Cpus, executor::Executor, task_ref::TaskRef};
use crate::sync::critical;
use counters::Counters;

/// Counts of an executor: see [`Executor::metrics`].
///
/// # Examples
///
/// ```
/// use dormir::executor::{Executor, Shared, Up64, metrics::Metrics, yield_now};
///
/// dormir::tasks! { async fn twice(), pool = 1 { yield_now().await } }
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
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Metrics {
    /// The number of tasks that were spawned.
    pub spawned: u64,
    /// The number of tasks that have ended, with an output or aborted.
    pub ended: u64,
    /// The number of wakes, including those of tasks that were ready already or have ended. Spawns
    /// and aborts wake the task too, and count.
    pub wakes: u64,
    /// The number of passes, including those in which no task was ready.
    pub passes: u64,
    /// The number of passes over ready tasks whose only cause was the pass before: since then the
    /// executor has not waited, no timer has fired and no [`Event`](crate::Event) was signalled.
    /// Tasks that wake themselves or one another cause such passes. If these never end, the vCPU
    /// never halts. An example is two receivers of a channel that stores only one waker: each
    /// replaces and wakes the other's.
    pub restless_passes: u64,
    /// The largest number of such passes in a row.
    pub longest_restless: u64,
    /// The number of polls. A visit that drops an aborted task's future counts too.
    pub polls: u64,
    /// The total time of the polls, including interrupts. Zero without a clock.
    pub polled: Duration,
    /// The number of calls of the idle policy. With `Halt`, this is the number of halts and of
    /// those that a wake prevented at the last moment.
    pub waits: u64,
    /// The total time of these calls. Zero without a clock.
    pub waited: Duration,
    /// The time of the longest poll, including interrupts. Zero without a clock.
    pub longest_poll: Duration,
    /// The name of the task of the longest poll, as in [`current_task`](super::current_task).
    /// `None` without a clock.
    pub longest_poll_task: Option<&'static str>,
}

/// Counts of a task since its spawn: see [`Executor::for_each_task`].
///
/// # Examples
///
/// ```
/// use dormir::executor::{Executor, Shared, Up64, metrics::TaskMetrics};
///
/// dormir::tasks! { async fn waits(), pool = 4 { core::future::pending().await } }
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
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct TaskMetrics {
    /// The task's name, as in [`current_task`](super::current_task).
    pub name: &'static str,
    /// The task's number: the executor's first task has number 1.
    pub number: u64,
    /// The number of its polls.
    pub polls: u32,
    /// The number of its wakes, including its spawn.
    pub wakes: u32,
    /// The total time of its polls, including interrupts: the processor time that it has taken.
    /// Zero without a clock.
    pub polled: Duration,
}

impl TaskMetrics {
    /// Returns the task's share of the processor time, in thousandths, from an earlier reading to
    /// this one.
    ///
    /// `span` is the time between the two readings.
    ///
    /// # Examples
    ///
    /// ```
    /// use core::time::Duration;
    /// use dormir::executor::metrics::TaskMetrics;
    ///
    /// fn show(before: &TaskMetrics, now: &TaskMetrics) {
    ///     let share = now.share_since(before, Duration::from_secs(1));
    ///     println!("{}: {}.{} %", now.name, share / 10, share % 10);
    /// }
    /// # use dormir::executor::{Executor, Shared, Up64};
    /// # dormir::tasks! { async fn waits(), pool = 1 { core::future::pending().await } }
    /// # static EXECUTOR: Executor<Up64> = Executor::new(Shared);
    /// # EXECUTOR.remote().spawn_detached(waits())?;
    /// # EXECUTOR.for_each_task(|task| show(&task, &task));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn share_since(&self, earlier: &Self, span: Duration) -> u32 {
        let taken = self.polled.saturating_sub(earlier.polled).as_nanos();
        let share = (taken * 1000).checked_div(span.as_nanos());
        share.unwrap_or_default().try_into().unwrap_or(u32::MAX)
    }
}

impl<C: Capacity, M: Cpus> Executor<C, M> {
    /// Returns the counts since the executor was made.
    ///
    /// # Contexts
    ///
    /// Any but NMI.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.core.metrics.read()
    }

    /// Calls `show` with the counts of each task that has not ended. This looks at every slot of
    /// the executor, each in a critical section of its own, and calls `show` outside of these.
    ///
    /// # Contexts
    ///
    /// Any but NMI.
    pub fn for_each_task(&'static self, mut show: impl FnMut(TaskMetrics)) {
        for number in 0..C::TASKS {
            if let Some(task) = self.ready.slot(number).metrics() {
                show(task);
            }
        }
    }
}

impl TaskRef {
    fn metrics(self) -> Option<TaskMetrics> {
        critical(|cs| {
            let header = self.live_task(cs)?;
            // SAFETY: `live_task` returns what is valid within the section.
            let header = unsafe { header.as_ref() };
            let counters = self.counters();
            let bit = self.bit() as usize;
            Some(TaskMetrics {
                name: (header.vtable().name)(),
                number: self.task_number(),
                polls: counters.polls[bit].load(Ordering::Relaxed),
                wakes: counters.wakes[bit].load(Ordering::Relaxed),
                polled: Duration::from_nanos(counters.polled_nanos[bit].load(Ordering::Relaxed)),
            })
        })
    }
}

impl Counters {
    fn read(&self) -> Metrics {
        let (longest_poll, vtable) = critical(|_| {
            (
                self.longest_poll_nanos.load(Ordering::Relaxed),
                self.longest_poll.load(Ordering::Relaxed),
            )
        });
        // SAFETY: the pointer is null, or the address of a static.
        let vtable = unsafe { vtable.as_ref() };
        Metrics {
            spawned: self.spawned.load(Ordering::Relaxed),
            ended: self.ended.load(Ordering::Relaxed),
            wakes: self.wakes.load(Ordering::Relaxed),
            passes: self.passes.load(Ordering::Relaxed),
            restless_passes: self.restless.passes.load(Ordering::Relaxed),
            longest_restless: self.restless.longest.load(Ordering::Relaxed),
            polls: self.polls.load(Ordering::Relaxed),
            polled: Duration::from_nanos(self.polled_nanos.load(Ordering::Relaxed)),
            waits: self.waits.load(Ordering::Relaxed),
            waited: Duration::from_nanos(self.waited_nanos.load(Ordering::Relaxed)),
            longest_poll: Duration::from_nanos(longest_poll),
            longest_poll_task: vtable.map(|vtable| (vtable.name)()),
        }
    }
}

#[cfg(test)]
mod tests;
