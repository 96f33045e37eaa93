//! What guest functions call.

use core::{future::Future, pin::pin, time::Duration};

use super::{clock::CLOCK, error::Error, running, tick};
use crate::{
    executor::{JoinHandle, SpawnError, Task, block_on::Blocking},
    time::{Clock, Instant},
};
use running::Running;

/// Runs `future` to its end, and the guest's tasks meanwhile: those that were [spawned](spawn) in this call,
/// and those that earlier calls left.
///
/// Tasks that have not ended when it returns are kept. They go on in the next call that runs tasks.
///
/// # Errors
///
/// The host's functions are not registered; the call runs tasks already; or it cannot wait, because there is
/// no deadline or one too far away. The future is dropped then, and the sandbox is not poisoned.
///
/// # Panics
///
/// Where the future or a task does, which ends the call and poisons the sandbox.
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

/// What [`poll_once`] has left.
///
/// # Examples
///
/// ```no_run
/// # use dormir_guest as _;
/// use dormir::hyperlight::{self, Polled};
/// use hyperlight_guest::error::HyperlightGuestError;
///
/// /// In how many microseconds the host is to call again; -1 when all tasks have ended. With
/// /// `#[guest_function]`.
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
#[non_exhaustive]
pub struct Polled {
    /// Tasks that have not ended.
    pub tasks_left: usize,
    /// What is left until the next timer ends; `None` if there is none.
    pub next_in: Option<Duration>,
}

/// Polls what is ready until nothing is, and returns instead of waiting: for hosts that schedule guests
/// themselves. The tasks are kept, and so are their timers.
///
/// Tasks that wake themselves again and again keep it from returning.
///
/// # Errors
///
/// The host's functions are not registered, or the call runs tasks already.
///
/// # Panics
///
/// Where a task does, which ends the call and poisons the sandbox.
///
/// # Examples
///
/// ```no_run
/// # use dormir_guest as _;
/// use core::time::Duration;
/// use dormir::{hyperlight, time::Timer};
/// use hyperlight_guest::error::HyperlightGuestError;
///
/// dormir::task! {
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
    let next = running.until_idle();
    let left = |at: Instant| at.saturating_duration_since(CLOCK.now());
    Ok(Polled {
        tasks_left: running.tasks_left(),
        next_in: next.map(left),
    })
}

/// Has this guest's calls run `task`, of which there can be 4096 at a time. It may be called in tasks, in the
/// future of [`block_on`], and in calls that run none.
///
/// # Errors
///
/// Where there is no room, the error says which of pool and executor is full, and gives the task back.
///
/// # Examples
///
/// ```no_run
/// # use dormir_guest as _;
/// use dormir::{executor::Task, hyperlight};
/// use hyperlight_guest::error::HyperlightGuestError;
///
/// // With `#[guest_function]`. On the heap; `task!` makes tasks that need none.
/// fn length(text: &'static str) -> Result<u64, HyperlightGuestError> {
///     let length = hyperlight::block_on(async move {
///         let task = hyperlight::spawn(Task::boxed(async move { text.len() }));
///         task.expect("there is room").await.expect("nobody aborts it")
///     })?;
///     Ok(length as u64)
/// }
/// ```
pub fn spawn<F: Future + 'static>(task: Task<F>) -> Result<JoinHandle<F::Output>, SpawnError<F>> {
    running::spawner().spawn(task)
}

/// Chooses the timer's period, where the sandbox has interrupts: one millisecond unless it is called. It holds
/// from the next start of the timer on, which is at a call's first wait. The host allows 100 µs to 10 s; what
/// lies outside is the nearest of these.
///
/// A shorter one makes sleeps more exact and idling more costly. Choose it once, when the guest starts.
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

/// How often the timer has ticked in this guest's life. Zero in a sandbox without interrupts.
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
