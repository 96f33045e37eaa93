//! What a runner leaves to a loop of somebody else.

use crate::time::Instant;

/// What [`Runner::run_until_idle`](super::Runner::run_until_idle) has left.
///
/// # Examples
///
/// ```
/// use dormir::{executor::{Executor, Shared, Turn, Up64}, time::{Instant, Timer}};
///
/// dormir::task! { async fn nap(until: Instant), pool = 1 { Timer::at(until).await } }
///
/// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
///
/// # dormir::platform::host::init();
/// let until = Instant::from_nanos(5_000_000);
/// let mut runner = EXECUTOR.enter()?;
/// runner.spawner().spawn_detached(nap(until))?;
/// let Turn { tasks_left, next_deadline, .. } = runner.run_until_idle();
/// assert_eq!((tasks_left, next_deadline), (1, Some(until)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Turn {
    /// Tasks that have not ended.
    pub tasks_left: usize,
    /// When the next timer ends; `None` if there is none.
    pub next_deadline: Option<Instant>,
}
