//! The one who polls.

use core::{
    fmt,
    marker::PhantomData,
    task::{RawWaker, RawWakerVTable},
};

use super::{
    Executor,
    book::{Entry, Wakers},
    capacity::Capacity,
    cpus::{Cpus, Shared},
    current::{self, OuterTask},
    place::TaskRef,
    probe::{self, Polling},
    ready::ReadySet,
    spawn::Spawner,
};
use crate::{
    idle::Idle,
    time::{Instant, TimerQueue},
};

/// What polls the tasks of an [`Executor`], where it was [entered](Executor::enter).
///
/// When it goes, the futures that were spawned by its [`Spawner`] and have not ended are dropped, since
/// they may not leave the place where it was; their handles give [`Aborted`](super::Aborted). Tasks that
/// were spawned [remotely](Executor::remote) wait for the next runner.
pub struct Runner<C: Capacity, M: Cpus = Shared> {
    executor: &'static Executor<C, M>,
    timers: &'static TimerQueue,
    entry: Entry,
    /// It stays where it was made: futures need not be `Send`.
    not_send: PhantomData<*mut ()>,
}

/// What [`Runner::run_until_idle`] has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Turn {
    /// Tasks that have not ended.
    pub tasks_left: usize,
    /// When the next timer ends; `None` if there is none.
    pub next_deadline: Option<Instant>,
}

impl<C: Capacity, M: Cpus> Runner<C, M> {
    pub(super) fn new(executor: &'static Executor<C, M>, entry: Entry) -> Self {
        Self {
            executor,
            timers: TimerQueue::global(),
            entry,
            not_send: PhantomData,
        }
    }

    /// Serves `timers` in place of the [global queue](TimerQueue::global).
    #[must_use]
    pub fn with_timers(mut self, timers: &'static TimerQueue) -> Self {
        self.timers = timers;
        self
    }

    /// A spawner for any `'static` future, to be used here and in tasks.
    #[must_use]
    pub fn spawner(&self) -> Spawner {
        Spawner::new(&self.executor.book, self.entry)
    }

    /// Runs until no task is left, waiting by `idle` whenever none is ready. Timers are served
    /// meanwhile.
    ///
    /// When it returns, interrupts are masked or not as they were, and the alarm is off. Tasks that
    /// have ended but whose handles are still there do not count as left.
    ///
    /// # Panics
    ///
    /// Where a task does. (A guest ends then. Where panics unwind, the task is dropped, its handle
    /// gives [`Aborted`](super::Aborted), no other task's wake is lost, and the runner may be used
    /// again.)
    pub fn run(&mut self, mut idle: impl Idle) {
        let _outer = OuterTask::here();
        loop {
            let next = self.turn();
            // The last task may have ended: then there is nothing to wait for.
            if self.executor.tasks() == 0 && self.executor.ready.is_empty() {
                break;
            }
            self.wait(next, &mut idle);
        }
        self.timers.disarm();
    }

    /// Runs for good, also while there is no task: for executors whose tasks are spawned by interrupt
    /// handlers.
    ///
    /// # Panics
    ///
    /// As [`run`](Self::run).
    pub fn run_forever(&mut self, mut idle: impl Idle) -> ! {
        loop {
            let next = self.turn();
            self.wait(next, &mut idle);
        }
    }

    /// Polls what is ready, and serves the timers. Gives the next deadline.
    #[inline]
    fn turn(&mut self) -> Option<Instant> {
        self.pass();
        self.timers.turn()
    }

    /// Waits if there is nothing else to do.
    #[inline]
    fn wait(&self, next: Option<Instant>, idle: &mut impl Idle) {
        let idle_still = || self.is_idle();
        if idle_still() {
            // The look that counts is the one that `idle` takes with interrupts masked.
            let wait = || idle.wait(next, &idle_still);
            probe::waiting(&self.executor.book, self.timers, wait);
        }
    }

    /// Runs until no task is ready, and returns instead of waiting: for a loop that somebody else owns.
    ///
    /// That loop calls it again when the deadline has passed, when the timer's interrupt came, or when a
    /// task was woken, which it learns by [`Executor::on_wake`]. To sleep without losing a wake it asks
    /// [`is_idle`](Self::is_idle) with interrupts masked (or between taking note of the hook's calls
    /// and waiting for them).
    ///
    /// Tasks that wake themselves keep it from returning; such a loop calls [`pass`](Self::pass) and
    /// [`TimerQueue::turn`].
    ///
    /// # Panics
    ///
    /// As [`run`](Self::run).
    pub fn run_until_idle(&mut self) -> Turn {
        let _outer = OuterTask::here();
        // The loop may have slept by other means than the alarm.
        self.timers.look();
        loop {
            let next_deadline = self.turn();
            if self.is_idle() {
                return Turn {
                    tasks_left: self.executor.tasks(),
                    next_deadline,
                };
            }
        }
    }

    /// Whether no task is ready and no timer needs the runner. May be called with interrupts masked.
    #[must_use]
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.executor.ready.is_empty() && self.timers.is_settled()
    }

    /// One pass: polls each task that is ready, once, and those that are woken meanwhile ahead of it.
    /// Timers are not served.
    ///
    /// # Panics
    ///
    /// As [`run`](Self::run).
    #[inline]
    pub fn pass(&mut self) {
        probe::pass(&self.executor.book);
        self.executor.ready.pass(|places, bit, data| {
            // SAFETY: the bit was set, so the place was taken.
            let header = unsafe { places.task(bit) };
            // SAFETY: the pass gives what wakers carry.
            let task = unsafe { TaskRef::from_data(data) };
            // SAFETY: the header stands in that place.
            let polling = unsafe { Polling::begin(task, header, self.timers) };
            // SAFETY: the same, and we are the runner.
            unsafe { task.visit(header, self.executor.book.wakers()) };
            polling.end();
        });
        current::clear();
    }
}

impl<C: Capacity, M: Cpus> Drop for Runner<C, M> {
    fn drop(&mut self) {
        let _outer = OuterTask::here();
        let book = &self.executor.book;
        // A future that is dropped may try to spawn.
        book.begin_to_leave();
        if book.live() + book.ended() > 0 {
            for number in 0..C::TASKS {
                self.executor.ready.place(number).leave();
            }
        }
        book.leave();
    }
}

impl<C: Capacity, M: Cpus> fmt::Debug for Runner<C, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner")
            .field("tasks", &self.executor.tasks())
            .finish_non_exhaustive()
    }
}

impl<C: Capacity, M: Cpus> Executor<C, M> {
    /// The functions of its wakers, whose data pointers are places of its ready set.
    pub(super) const WAKERS: Wakers = Wakers {
        vtable: &RawWakerVTable::new(Self::clone, Self::wake, Self::wake, |_| ()),
        wake: Self::wake,
    };

    /// Those for an executor with a hook.
    pub(super) const HOOKED_WAKERS: Wakers = Wakers {
        vtable: &RawWakerVTable::new(
            Self::clone_hooked,
            Self::wake_and_call,
            Self::wake_and_call,
            |_| (),
        ),
        wake: Self::wake_and_call,
    };

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
        probe::woken(task);
        ReadySet::<C, M>::set(task);
    }

    /// # Safety
    ///
    /// As [`wake`](Self::wake).
    unsafe fn wake_and_call(data: *const ()) {
        // SAFETY: as the caller says.
        let task = unsafe { TaskRef::from_data(data) };
        probe::woken(task);
        if ReadySet::<C, M>::set(task) {
            task.book().call_hook();
        }
    }
}
