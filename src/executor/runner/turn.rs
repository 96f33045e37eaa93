//! [`Turn`], which `run_until_idle` returns.

use crate::time::Instant;

/// What is left when [`Runner::run_until_idle`](super::Runner::run_until_idle) returns.
///
/// # Examples
///
/// ```
/// use dormir::{
///     executor::{Executor, Shared, Turn, Up64}, platform::host, time::{Instant, Timer},
/// };
///
/// dormir::tasks! { async fn nap(until: Instant), pool = 1 { Timer::at(until).await } }
///
/// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
///
/// host::init();
/// let until = Instant::from_nanos(5_000_000);
/// let mut runner = EXECUTOR.enter()?;
/// runner.spawner().spawn_detached(nap(until))?;
/// let Turn { tasks_left, next_deadline, .. } = runner.run_until_idle();
/// assert_eq!((tasks_left, next_deadline), (1, Some(until)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Turn {
    /// The number of tasks that have not ended.
    pub tasks_left: usize,
    /// The next deadline; `None` if there is no timer.
    pub next_deadline: Option<Instant>,
}
