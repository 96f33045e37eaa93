//! The functions that guest functions call.

use core::{future::Future, pin::pin, time::Duration};

use dormir_hyperlight_protocol::{NO_DEADLINE, TASKS_ENDED, TASKS_STUCK};

use super::{clock::CLOCK, error::Error, host, running, tick};
use crate::{
    executor::{JoinHandle, SpawnError, Task, block_on::Blocking},
    time::{Clock, Instant},
};
use running::Running;

/// Runs `future` to its end, and the guest's tasks meanwhile: those that were [spawned](spawn) in
/// this call, and those left by earlier calls.
///
/// Tasks that have not ended when it returns are kept, and continue in the next call that runs
/// tasks.
///
/// # Errors
///
/// If the call already runs tasks; if the host's function is needed and not registered: for the
/// time, a wait or a host call; or if it cannot wait: there is no deadline and nothing to expect of
/// the host, or the deadline is too far away. Then the future is dropped, and the sandbox is not
/// poisoned.
///
/// # Panics
///
/// If the future or a task does, which ends the call and poisons the sandbox.
///
/// # Examples
///
/// ```no_run
/// # use dormir_guest as _;
/// use core::time::Duration;
/// use dormir::{hyperlight, time::Timer};
/// use hyperlight_guest::error::HyperlightGuestError;
///
/// // With `#[guest_function]`.
/// fn later(a: i32, b: i32) -> Result<i32, HyperlightGuestError> {
///     let sum = hyperlight::block_on(async {
///         Timer::after(Duration::from_millis(10)).await;
///         a + b
///     })?;
///     Ok(sum)
/// }
/// ```
pub fn block_on<F: Future>(future: F) -> Result<F::Output, Error> {
    let mut running = Running::enter()?;
    let future = pin!(future);
    running.block_on(Blocking::new(future))
}

/// What is left after [`poll_once`].
///
/// # Examples
///
/// ```no_run
/// # use dormir_guest as _;
/// use dormir::hyperlight::{self, Polled};
/// use hyperlight_guest::error::HyperlightGuestError;
///
/// /// Microseconds until the host should call again; -1 when all tasks have ended.
/// // With `#[guest_function]`.
/// fn poll() -> Result<i64, HyperlightGuestError> {
///     let Polled { tasks_left, next_in, .. } = hyperlight::poll_once()?;
///     Ok(match next_in {
///         Some(next_in) => next_in.as_micros() as i64,
///         None if tasks_left == 0 => -1,
///         None => i64::MAX,
///     })
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Polled {
    /// The number of tasks that have not ended.
    pub tasks_left: usize,
    /// The time until the next timer ends; `None` if there is no timer.
    pub next_in: Option<Duration>,
    /// Whether calls of the host's async functions are in flight, or its signals are awaited.
    pub awaits_host: bool,
}

impl Polled {
    /// The word that the host's `Host::drive` expects of the guest function that it calls.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use dormir_guest as _;
    /// use dormir::hyperlight;
    /// use hyperlight_guest::error::HyperlightGuestError;
    ///
    /// // With `#[guest_function]`.
    /// fn turn() -> Result<u64, HyperlightGuestError> {
    ///     Ok(hyperlight::poll_once()?.to_word())
    /// }
    /// ```
    #[must_use]
    pub fn to_word(&self) -> u64 {
        let next_in = self.next_in.map(|time| {
            let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
            nanos.min(TASKS_STUCK - 1)
        });
        match next_in {
            _ if self.tasks_left == 0 => TASKS_ENDED,
            Some(nanos) => nanos,
            None if self.awaits_host => NO_DEADLINE,
            // As for `block_on`, it would be a wait without an end.
            None => TASKS_STUCK,
        }
    }
}

/// Runs tasks until none is ready, and returns instead of waiting: for hosts that schedule guests
/// themselves. The tasks and their timers are kept.
///
/// While a task keeps waking itself, it does not return.
///
/// # Errors
///
/// If the host's function is needed and not registered, or if the call already runs tasks.
///
/// # Panics
///
/// If a task does, which ends the call and poisons the sandbox.
///
/// # Examples
///
/// ```no_run
/// # use dormir_guest as _;
/// use core::time::Duration;
/// use dormir::{hyperlight, time::Timer};
/// use hyperlight_guest::error::HyperlightGuestError;
///
/// dormir::tasks! {
///     async fn beat(), pool = 1 { Timer::after(Duration::from_secs(1)).await }
/// }
///
/// // Both with `#[guest_function]`.
/// fn start() -> bool {
///     hyperlight::spawn(beat()).is_ok()
/// }
///
/// fn poll() -> Result<u64, HyperlightGuestError> {
///     let turn = hyperlight::poll_once()?;
///     Ok(turn.next_in.map_or(u64::MAX, |left| left.as_nanos() as u64))
/// }
/// ```
pub fn poll_once() -> Result<Polled, Error> {
    let mut running = Running::enter()?;
    let next = running.until_idle()?;
    let left = |at: Instant| at.saturating_duration_since(CLOCK.now());
    Ok(Polled {
        tasks_left: running.tasks_left(),
        next_in: next.map(left),
        awaits_host: host::expects(),
    })
}

/// Spawns a task, which this guest's calls run. Up to 4096 tasks can exist at once. May be called
/// in tasks, in the future of [`block_on`], and in calls that run no tasks.
///
/// # Errors
///
/// If there is no room. The error reports whether the pool or the executor is full, and returns the
/// task.
///
/// # Examples
///
/// ```no_run
/// # use dormir_guest as _;
/// use dormir::{executor::Task, hyperlight};
/// use hyperlight_guest::error::HyperlightGuestError;
///
/// // With `#[guest_function]`. This task is on the heap; `tasks!` makes tasks without one.
/// fn length(text: &'static str) -> Result<u64, HyperlightGuestError> {
///     let length = hyperlight::block_on(async move {
///         let task = hyperlight::spawn(Task::boxed(async move { text.len() }));
///         task.expect("there is room").await.expect("it is not aborted")
///     })?;
///     Ok(length as u64)
/// }
/// ```
pub fn spawn<F: Future + 'static>(task: Task<F>) -> Result<JoinHandle<F::Output>, SpawnError<F>> {
    running::spawner().spawn(task)
}

/// Sets the timer's period in sandboxes with interrupts: one millisecond by default. It takes
/// effect at the next start of the timer, which is at a call's first wait. The host allows 100 µs
/// to 10 s; other values are clamped.
///
/// A shorter period makes sleeps more exact, and idling more costly. Set it once, when the guest
/// starts.
///
/// # Examples
///
/// ```no_run
/// # use dormir_guest as _;
/// use core::time::Duration;
/// use dormir::hyperlight;
///
/// // With `#[hyperlight_guest_bin::main]`.
/// fn start() {
///     hyperlight::set_tick_period(Duration::from_micros(500));
/// }
/// # start();
/// ```
pub fn set_tick_period(period: Duration) {
    tick::set_period(period);
}

/// The timer's period.
///
/// # Examples
///
/// ```no_run
/// # use dormir_guest as _;
/// use core::time::Duration;
/// use dormir::hyperlight;
///
/// hyperlight::set_tick_period(Duration::ZERO);
/// assert_eq!(hyperlight::tick_period(), Duration::from_micros(100));
/// ```
#[must_use]
pub fn tick_period() -> Duration {
    tick::period()
}

/// The number of timer ticks since the guest started. Zero in a sandbox without interrupts.
///
/// # Examples
///
/// ```no_run
/// # use dormir_guest as _;
/// use core::time::Duration;
/// use dormir::{hyperlight, time::Timer};
///
/// let before = hyperlight::ticks();
/// hyperlight::block_on(async { Timer::after(Duration::from_millis(10)).await })?;
/// let halts = hyperlight::ticks() - before;
/// # let _ = halts;
/// # Ok::<(), hyperlight::Error>(())
/// ```
#[must_use]
pub fn ticks() -> u64 {
    tick::ticks()
}
