//! [`Runner`], which polls an executor's tasks.

mod leave;
mod loops;
mod turn;
mod visits;

use core::{fmt, marker::PhantomData, ptr::NonNull};

use super::{
    capacity::Capacity,
    cpus::{Cpus, Shared},
    current::{self, OuterTask},
    drive::{Return, drive},
    executor::{AlreadyEntered, Executor},
    executor_core::RunnerId,
    header::vacant,
    probe,
    spawn::Spawner,
};
use loops::{Forever, UntilEmpty};
pub use turn::Turn;
use visits::Pass;

use crate::{
    idle::Idle,
    sync::atomic::Ordering,
    time::{TimerQueue, pause},
};

/// Polls the tasks of an [`Executor`], on the vCPU (or thread) on which it was
/// [entered](Executor::enter).
///
/// When a runner is dropped, it drops the futures that its [`Spawner`] has spawned and that have
/// not ended, since they must not leave the runner's vCPU or thread; their handles return
/// [`Aborted`](super::Aborted). Tasks that were spawned [remotely](Executor::remote) wait for the
/// next runner. If a task is left, the drop looks at every slot of the executor, each in a critical
/// section of its own.
///
/// A runner that is forgotten (`core::mem::forget`) closes its executor permanently:
/// [`Executor::enter`] then returns an error.
///
/// A runner is not `Send`:
///
/// ```compile_fail,E0277
/// # use dormir::executor::{Executor, Shared, Up64};
/// # static EXECUTOR: Executor<Up64> = Executor::new(Shared);
/// let runner = EXECUTOR.enter()?;
/// std::thread::spawn(move || drop(runner));
/// # Ok::<(), dormir::executor::AlreadyEntered>(())
/// ```
///
/// # Contexts
///
/// The main line of a vCPU (or thread), with interrupts masked or not; not interrupt handlers.
///
/// # Examples
///
/// ```
/// use dormir::executor::{Executor, Runner, Shared, Up64};
///
/// dormir::tasks! { async fn forever(), pool = 1 { core::future::pending().await } }
///
/// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
///
/// let mut runner: Runner<Up64> = EXECUTOR.enter()?;
/// runner.spawner().spawn_detached(forever())?;
/// assert_eq!(runner.run_until_idle().tasks_left, 1);
/// drop(runner);
/// assert_eq!(EXECUTOR.tasks(), 0, "the task was dropped with its runner");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Runner<C: Capacity, M: Cpus = Shared> {
    executor: &'static Executor<C, M>,
    id: RunnerId,
    /// The number of the slot at which the next [`step`](Self::step) begins to look for a ready
    /// task.
    next_step: u32,
    /// A runner is not `Send`, since its tasks' futures need not be.
    not_send: PhantomData<*mut ()>,
}

impl<C: Capacity, M: Cpus> Executor<C, M> {
    /// Returns the runner, of which there is one at a time. It stays on this vCPU (or thread).
    ///
    /// The first call of this, of [`remote`](Self::remote) or of [`on_wake`](Self::on_wake) writes
    /// to each block of 64 slots, and [`Up65536`](super::Up65536) has 1,024 of them. So make the
    /// first call before interrupts matter.
    ///
    /// # Contexts
    ///
    /// Those of the [`Runner`]. This uses a critical section.
    ///
    /// # Errors
    ///
    /// [`AlreadyEntered`] while there is another runner.
    pub fn enter(&'static self) -> Result<Runner<C, M>, AlreadyEntered> {
        self.open();
        match self.core.enter(current::get()) {
            Some(id) => Ok(Runner::new(self, id)),
            None => Err(AlreadyEntered),
        }
    }
}

impl<C: Capacity, M: Cpus> Runner<C, M> {
    fn new(executor: &'static Executor<C, M>, id: RunnerId) -> Self {
        Self {
            executor,
            id,
            next_step: 0,
            not_send: PhantomData,
        }
    }

    /// Makes the runner serve `timers` instead of the [global queue](TimerQueue::global).
    ///
    /// # Examples
    ///
    /// ```
    /// use dormir::{
    ///     executor::{Executor, Shared, Up64}, platform::host::VirtualClock,
    ///     time::{Instant, Timer, TimerQueue},
    /// };
    ///
    /// static CLOCK: VirtualClock = VirtualClock::new();
    /// static TIMERS: TimerQueue = TimerQueue::new();
    /// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
    ///
    /// dormir::tasks! { async fn wait(timer: Timer), pool = 1 { timer.await } }
    ///
    /// TIMERS.install(&CLOCK, &CLOCK)?;
    /// let mut runner = EXECUTOR.enter()?.with_timers(&TIMERS);
    /// runner.spawner().spawn_detached(wait(TIMERS.timer(Instant::from_nanos(5))))?;
    /// assert_eq!(runner.run_until_idle().tasks_left, 1);
    /// CLOCK.advance_to(Instant::from_nanos(5), &TIMERS);
    /// assert_eq!(runner.run_until_idle().tasks_left, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn with_timers(self, timers: &'static TimerQueue) -> Self {
        self.executor.core.set_timers(timers);
        self
    }

    /// Returns a spawner, for use here and in tasks. It spawns futures that need not be `Send`.
    #[must_use]
    pub fn spawner(&self) -> Spawner {
        Spawner::new(&self.executor.core, self.id)
    }

    /// Runs the tasks until none is left. Serves the timers, and calls `idle` whenever no task is
    /// ready.
    ///
    /// A task that has ended does not count, even if its handle still exists. When `run` returns,
    /// interrupts are masked or not as they were before, and the alarm is off, unless it is set for
    /// timers of another loop.
    ///
    /// If it is called with interrupts masked, they are unmasked only while `idle` waits, so a task
    /// that is always ready then delays all timers.
    ///
    /// # Panics
    ///
    /// If the poll of a task panics. (This ends a guest. Where panics unwind, the task is dropped,
    /// its handle returns [`Aborted`](super::Aborted), no other task's wake is lost, and the runner
    /// can be used again.) If it would wait while there are timers in its queue and another vCPU's
    /// loop serves them.
    ///
    /// # Examples
    ///
    /// ```
    /// use core::time::Duration;
    /// use dormir::{
    ///     executor::{Executor, Shared, Up64}, platform::host, time::{Instant, Timer},
    /// };
    ///
    /// dormir::tasks! { async fn nap(), pool = 1 { Timer::after(Duration::from_secs(1)).await } }
    ///
    /// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
    ///
    /// host::init(); // In a guest: `platform::bare::init`.
    /// let mut runner = EXECUTOR.enter()?;
    /// runner.spawner().spawn_detached(nap())?;
    /// let start = Instant::now();
    /// runner.run(host::Skip); // In a guest: `idle::Halt`.
    /// assert!(Instant::now().saturating_duration_since(start) >= Duration::from_secs(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn run(&mut self, idle: impl Idle) {
        let _outer = OuterTask::here();
        let (timers, mut rest) = (self.executor.core.timers(), self.rest(idle));
        let Ok(()) = drive(timers, &mut UntilEmpty(self), &mut rest);
    }

    /// Runs permanently, even while there is no task: for executors whose tasks are spawned by
    /// interrupt handlers.
    ///
    /// # Panics
    ///
    /// As [`run`](Self::run).
    pub fn run_forever(&mut self, idle: impl Idle) -> ! {
        let _outer = OuterTask::here();
        let (timers, mut rest) = (self.executor.core.timers(), self.rest(idle));
        let Ok(never) = drive(timers, &mut Forever(self), &mut rest);
        match never {}
    }

    /// Runs one pass: polls each ready task once, in the order of the slots (not of the spawns),
    /// and also tasks that are woken meanwhile in slots ahead of the pass. The alarm is not set:
    /// call [`TimerQueue::turn`] afterwards.
    ///
    /// In an executor of more than 64 tasks, a pass looks at the timers after every 8 words of 64
    /// slots in which tasks were ready, and polls tasks whose deadlines have passed. So no deadline
    /// waits for more than 512 polls of other tasks.
    ///
    /// # Panics
    ///
    /// As [`run`](Self::run).
    ///
    /// # Examples
    ///
    /// ```
    /// use dormir::{executor::{Executor, Shared, Up64, yield_now}, time::TimerQueue};
    ///
    /// dormir::tasks! {
    ///     /// Is always ready, so that `run_until_idle` would not return.
    ///     async fn busy(), pool = 1 { loop { yield_now().await } }
    /// }
    ///
    /// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
    ///
    /// let mut runner = EXECUTOR.enter()?;
    /// runner.spawner().spawn_detached(busy())?;
    /// for _ in 0..3 {
    ///     runner.pass();
    ///     TimerQueue::global().turn();
    ///     // Here the loop does other things.
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    // Not inlined, it would save all registers even if nothing is ready.
    #[inline(always)]
    pub fn pass(&mut self) {
        let executor = self.executor;
        probe::pass(&executor.core, || !executor.ready.is_empty());
        executor.ready.pass(&mut Pass(executor));
        pause::begin_if_needed(|| executor.core.timers());
    }

    /// Polls one ready task. Returns `false` if none is ready.
    ///
    /// Each task is polled again only after every other ready task has been. Timers are not served.
    /// This is for loops that do other work between polls, and that call [`TimerQueue::turn`].
    ///
    /// # Panics
    ///
    /// As [`run`](Self::run).
    ///
    /// # Examples
    ///
    /// ```
    /// use dormir::executor::{Executor, Shared, Up64};
    ///
    /// dormir::tasks! { async fn work(), pool = 2 {} }
    ///
    /// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
    ///
    /// let mut runner = EXECUTOR.enter()?;
    /// runner.spawner().spawn_detached(work())?;
    /// runner.spawner().spawn_detached(work())?;
    /// assert!(runner.step());
    /// assert_eq!(EXECUTOR.tasks(), 1);
    /// assert!(runner.step());
    /// assert!(!runner.step(), "none is left");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn step(&mut self) -> bool {
        let _outer = OuterTask::here();
        while let Some(task) = self.executor.ready.take(self.next_step) {
            self.next_step = task.slot_number() + 1;
            let header = task.task().load(Ordering::Acquire);
            // A visit that follows a stale wake would do nothing, and is not a step.
            if let Some(header) = NonNull::new(header).filter(|task| task.as_ptr() != vacant()) {
                // SAFETY: the header is in the slot, which is this executor's, and no visit is
                // going on.
                unsafe { self.executor.visit(task, header) };
                return true;
            }
        }
        false
    }

    /// Whether no task is ready and no timer needs to be served. May be called with interrupts
    /// masked.
    #[must_use]
    #[inline]
    pub fn is_idle(&self) -> bool {
        let (ready, timers) = (&self.executor.ready, self.executor.core.timers());
        let pauses = || pause::is_on(timers) && !timers.is_served_elsewhere();
        (ready.is_empty() || pauses()) && timers.is_settled()
    }

    /// Runs until no task is ready, and returns instead of waiting: for a loop that belongs to
    /// another library.
    ///
    /// That loop must call this again when the deadline has passed, when the timer's interrupt
    /// came, when a task was woken, for which [`Executor::on_wake`] sets a hook, and when an
    /// interrupt handler has polled a timer that became the earliest, for which
    /// [`TimerQueue::on_earlier`] sets a hook. To sleep without losing a
    /// wake, it must check [`is_idle`](Self::is_idle) with interrupts masked (or after it has read
    /// what the hook writes, and before it waits for that to change).
    ///
    /// This does not return while tasks wake themselves. A loop with such tasks calls
    /// [`pass`](Self::pass) and [`TimerQueue::turn`] instead, and before that
    /// [`TimerQueue::on_interrupt`] if something other than the alarm may have ended its sleep.
    ///
    /// # Panics
    ///
    /// As [`run`](Self::run).
    ///
    /// # Examples
    ///
    /// ```
    /// use core::sync::atomic::{AtomicBool, Ordering};
    /// use dormir::executor::{Executor, Shared, Up64};
    /// # dormir::tasks! { async fn work(), pool = 1 {} }
    ///
    /// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
    /// static WOKEN: AtomicBool = AtomicBool::new(true);
    ///
    /// EXECUTOR.on_wake(|| WOKEN.store(true, Ordering::Release));
    /// let mut runner = EXECUTOR.enter()?;
    /// # runner.spawner().spawn_detached(work())?;
    /// // The other library's loop. It would also wait for other things.
    /// while WOKEN.swap(false, Ordering::Acquire) {
    ///     let turn = runner.run_until_idle();
    ///     println!("{} tasks left, next at {:?}", turn.tasks_left, turn.next_deadline);
    /// }
    /// # assert_eq!(EXECUTOR.tasks(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn run_until_idle(&mut self) -> Turn {
        let _outer = OuterTask::here();
        // Something other than the alarm may have ended the loop's sleep.
        let timers = self.executor.core.timers();
        if !timers.is_served_elsewhere() {
            timers.look();
        }
        let Err(next_deadline) =
            drive(self.executor.core.timers(), &mut Forever(self), &mut Return);
        Turn {
            tasks_left: self.executor.tasks(),
            next_deadline,
        }
    }
}

impl<C: Capacity, M: Cpus> fmt::Debug for Runner<C, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner")
            .field("tasks", &self.executor.tasks())
            .finish_non_exhaustive()
    }
}
