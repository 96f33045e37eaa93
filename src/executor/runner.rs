//! The runner: it polls.

mod leave;
mod loops;
mod turn;
mod visits;

use core::{fmt, marker::PhantomData, ptr::NonNull};

use super::{
    Executor,
    book::Entry,
    capacity::Capacity,
    cpus::{Cpus, Shared},
    current::OuterTask,
    drive::{Return, drive},
    probe,
    spawn::Spawner,
    task::nobody,
};
use loops::{Forever, UntilEmpty};
pub use turn::Turn;
use visits::Pass;

use crate::{
    idle::Idle,
    sync::atomic::Ordering,
    time::{TimerQueue, pause},
};

/// What polls the tasks of an [`Executor`], where it was [entered](Executor::enter).
///
/// When it goes, the futures that were spawned by its [`Spawner`] and have not ended are dropped, since
/// they may not leave the place where it was; their handles give [`Aborted`](super::Aborted). Tasks that
/// were spawned [remotely](Executor::remote) wait for the next runner. If there is a task left, or a handle
/// of one, it looks at every place of the executor, each in a critical section of its own.
///
/// A runner that is forgotten (`core::mem::forget`) closes its executor for good: [`Executor::enter`] says
/// that there is one already.
///
/// It stays where it was made:
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
/// For the main line of a vCPU (or a thread), interrupts masked or not; not for interrupt handlers.
///
/// # Examples
///
/// ```
/// use dormir::executor::{Executor, Runner, Shared, Up64};
///
/// dormir::task! { async fn forever(), pool = 1 { core::future::pending().await } }
///
/// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
///
/// let mut runner: Runner<Up64> = EXECUTOR.enter()?;
/// runner.spawner().spawn_detached(forever())?;
/// assert_eq!(runner.run_until_idle().tasks_left, 1);
/// drop(runner);
/// assert_eq!(EXECUTOR.tasks(), 0, "the task went with its runner");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Runner<C: Capacity, M: Cpus = Shared> {
    executor: &'static Executor<C, M>,
    entry: Entry,
    /// From which place on [`step`](Self::step) looks for a task.
    next_step: u32,
    /// It stays where it was made: futures need not be `Send`.
    not_send: PhantomData<*mut ()>,
}

impl<C: Capacity, M: Cpus> Runner<C, M> {
    pub(super) fn new(executor: &'static Executor<C, M>, entry: Entry) -> Self {
        Self {
            executor,
            entry,
            next_step: 0,
            not_send: PhantomData,
        }
    }

    /// Serves `timers` in place of the [global queue](TimerQueue::global).
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
    /// dormir::task! { async fn wait(timer: Timer), pool = 1 { timer.await } }
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
        self.executor.book.set_timers(timers);
        self
    }

    /// A spawner for any `'static` future, to be used here and in tasks.
    ///
    /// # Examples
    ///
    /// ```
    /// use dormir::executor::{Executor, Shared, Spawner, Up64};
    ///
    /// dormir::task! {
    ///     async fn parent(spawner: Spawner), pool = 1 {
    ///         spawner.spawn_detached(child()).expect("there is room");
    ///     }
    ///
    ///     async fn child(), pool = 1 {}
    /// }
    ///
    /// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
    ///
    /// let mut runner = EXECUTOR.enter()?;
    /// let spawner = runner.spawner();
    /// spawner.spawn_detached(parent(spawner))?;
    /// runner.run(dormir::platform::host::Skip);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
    /// With interrupts masked, they are let in while `idle` waits and at no other time: a task that is always
    /// ready then keeps all timers waiting.
    ///
    /// # Panics
    ///
    /// Where a task does. (A guest ends then. Where panics unwind, the task is dropped, its handle
    /// gives [`Aborted`](super::Aborted), no other task's wake is lost, and the runner may be used
    /// again.)
    ///
    /// # Examples
    ///
    /// ```
    /// use core::time::Duration;
    /// use dormir::{executor::{Executor, Shared, Up64}, time::{Instant, Timer}};
    ///
    /// dormir::task! { async fn nap(), pool = 1 { Timer::after(Duration::from_secs(1)).await } }
    ///
    /// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
    ///
    /// # dormir::platform::host::init();
    /// # let idle = dormir::platform::host::Skip;
    /// # // In a guest: `let idle = dormir::idle::Halt;`
    /// let mut runner = EXECUTOR.enter()?;
    /// runner.spawner().spawn_detached(nap())?;
    /// let start = Instant::now();
    /// runner.run(idle);
    /// assert!(Instant::now().saturating_since(start) >= Duration::from_secs(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn run(&mut self, idle: impl Idle) {
        let _outer = OuterTask::here();
        let (timers, mut rest) = (self.executor.book.timers(), self.rest(idle));
        let Ok(()) = drive(timers, &mut UntilEmpty(self), &mut rest);
    }

    /// Runs for good, also while there is no task: for executors whose tasks are spawned by interrupt
    /// handlers.
    ///
    /// # Panics
    ///
    /// As [`run`](Self::run).
    ///
    /// # Examples
    ///
    /// It does not return, so this is only compiled here:
    ///
    /// ```no_run
    /// use dormir::executor::{Executor, Shared, Up64};
    ///
    /// dormir::task! { async fn answer(packet: u32), pool = 8 { println!("packet {packet}") } }
    ///
    /// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
    ///
    /// /// Called by the device's interrupt handler.
    /// fn on_packet(packet: u32) {
    ///     // Where there is no room, the packet is dropped.
    ///     let _ = EXECUTOR.remote().spawn_detached(answer(packet));
    /// }
    ///
    /// # let idle = dormir::platform::host::Skip;
    /// # // In a guest: `let idle = dormir::idle::Halt;`
    /// EXECUTOR.enter()?.run_forever(idle);
    /// # #[allow(unreachable_code)]
    /// # Ok::<(), dormir::executor::AlreadyEntered>(())
    /// ```
    pub fn run_forever(&mut self, idle: impl Idle) -> ! {
        let _outer = OuterTask::here();
        let (timers, mut rest) = (self.executor.book.timers(), self.rest(idle));
        let Ok(never) = drive(timers, &mut Forever(self), &mut rest);
        match never {}
    }

    /// One pass: polls each task that is ready, once, and those that are woken meanwhile ahead of it.
    /// The timers' alarm is not set: that is for [`TimerQueue::turn`].
    ///
    /// In a long pass, of more than 512 tasks, the timers are looked at in between: a task whose deadline
    /// has passed is polled then.
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
    /// dormir::task! {
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
    // As a function of its own it would save all registers, for a pass in which nothing is ready too.
    #[inline(always)]
    pub fn pass(&mut self) {
        let executor = self.executor;
        probe::pass(&executor.book, || !executor.ready.is_empty());
        executor.ready.pass(&mut Pass(executor));
        pause::begin_if_needed(|| executor.book.timers());
    }

    /// Polls one task that is ready. Returns `false` if none is.
    ///
    /// It takes them in turn, so each is polled again only after every other ready task has been. Timers are
    /// not served: for loops that do other work between polls, and call [`TimerQueue::turn`].
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
    /// dormir::task! { async fn work(), pool = 2 {} }
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
            self.next_step = task.number() + 1;
            let header = task.task().load(Ordering::Acquire);
            // A stale wake's visit does nothing.
            if let Some(header) = NonNull::new(header).filter(|task| task.as_ptr() != nobody()) {
                // SAFETY: it stands there, the place is this executor's, and there is no other visit.
                unsafe { self.executor.visit(task, header) };
                return true;
            }
        }
        false
    }

    /// Whether no task is ready and no timer needs the runner. May be called with interrupts masked.
    ///
    /// # Examples
    ///
    /// ```
    /// use dormir::executor::{Executor, Shared, Up64};
    ///
    /// dormir::task! { async fn work(), pool = 1 {} }
    ///
    /// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
    ///
    /// let mut runner = EXECUTOR.enter()?;
    /// assert!(runner.is_idle());
    /// runner.spawner().spawn_detached(work())?;
    /// assert!(!runner.is_idle(), "a task is ready");
    /// runner.pass();
    /// assert!(runner.is_idle());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    #[inline]
    pub fn is_idle(&self) -> bool {
        let (ready, timers) = (&self.executor.ready, self.executor.book.timers());
        let pauses = || pause::is_on(timers) && !timers.is_served_elsewhere();
        (ready.is_empty() || pauses()) && timers.is_settled()
    }

    /// Runs until no task is ready, and returns instead of waiting: for a loop that somebody else owns.
    ///
    /// That loop calls it again when the deadline has passed, when the timer's interrupt came, when a
    /// task was woken, which it learns by [`Executor::on_wake`], or when another context (an interrupt handler)
    /// has polled a timer: no hook tells of that. To sleep without losing a wake it asks
    /// [`is_idle`](Self::is_idle) with interrupts masked (or between taking note of the hook's calls
    /// and waiting for them).
    ///
    /// Tasks that wake themselves keep it from returning; such a loop calls [`pass`](Self::pass) and
    /// [`TimerQueue::turn`], and [`TimerQueue::on_interrupt`] before that if it may have slept by other means
    /// than the alarm.
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
    /// # dormir::task! { async fn work(), pool = 1 {} }
    ///
    /// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
    /// static WOKEN: AtomicBool = AtomicBool::new(true);
    ///
    /// EXECUTOR.on_wake(|| WOKEN.store(true, Ordering::Release));
    /// let mut runner = EXECUTOR.enter()?;
    /// # runner.spawner().spawn_detached(work())?;
    /// // The loop that somebody else owns; it would also wait for other things.
    /// while WOKEN.swap(false, Ordering::Acquire) {
    ///     let turn = runner.run_until_idle();
    ///     println!("{} tasks left, next at {:?}", turn.tasks_left, turn.next_deadline);
    /// }
    /// # assert_eq!(EXECUTOR.tasks(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn run_until_idle(&mut self) -> Turn {
        let _outer = OuterTask::here();
        // The loop may have slept by other means than the alarm.
        let timers = self.executor.book.timers();
        if !timers.is_served_elsewhere() {
            timers.look();
        }
        let Err(next_deadline) =
            drive(self.executor.book.timers(), &mut Forever(self), &mut Return);
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
