//! Executors, tasks, and their handles. [`block_on`](crate::block_on) runs one future without an
//! executor.
//!
//! An [`Executor`] is a static with slots for tasks. [`Executor::enter`] returns its [`Runner`],
//! which polls the tasks; spawners spawn them: a [`Spawner`] on the runner's vCPU, a
//! [`RemoteSpawner`] anywhere. [`task!`](crate::task) makes functions whose futures can be spawned
//! without a heap.
//!
//! ```
//! use core::time::Duration;
//! use dormir::{executor::{Executor, Shared, Up64}, platform::host, time::Timer};
//!
//! dormir::task! {
//!     async fn greet(name: &'static str, delay: Duration), pool = 2 {
//!         Timer::after(delay).await;
//!         println!("hello, {name}");
//!     }
//! }
//!
//! static EXECUTOR: Executor<Up64> = Executor::new(Shared);
//!
//! host::init(); // In a guest: `platform::bare::init`.
//! let mut runner = EXECUTOR.enter()?;
//! let spawner = runner.spawner();
//! spawner.spawn_detached(greet("moon", Duration::from_secs(2)))?;
//! spawner.spawn_detached(greet("sun", Duration::from_secs(1)))?;
//! runner.run(host::Skip); // In a guest: `idle::Halt`.
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub(crate) mod block_on;
mod capacity;
mod cpus;
mod current;
pub(crate) mod drive;
#[cfg(feature = "embassy-time")]
mod embassy_driver;
#[expect(
    clippy::module_inception,
    reason = "the module is named after its type"
)]
mod executor;
mod executor_core;
mod free_list;
mod header;
#[cfg(feature = "alloc")]
mod heap;
mod join;
mod lifecycle;
#[cfg(all(test, loom, feature = "alloc"))]
mod loom_tests;
#[cfg(feature = "metrics")]
pub mod metrics;
mod pool;
mod probe;
pub(crate) mod ready;
mod release;
mod runner;
mod slot;
mod spawn;
mod spawn_error;
pub(crate) mod task;
mod task_macro;
pub(crate) mod task_ref;
#[cfg(all(test, not(loom)))]
mod tests;
#[cfg(feature = "trace")]
pub mod trace;
#[cfg(doctest)]
mod variance;
pub(crate) mod wakers;
mod yield_now;

pub use self::{
    capacity::{Capacity, Up64, Up4096, Up65536},
    cpus::{Cpus, Shared, SingleVcpu},
    current::current_task,
    executor::{AlreadyEntered, Executor},
    join::{AbortHandle, Aborted, JoinHandle},
    runner::{Runner, Turn},
    spawn::{RemoteSpawner, Spawner},
    spawn_error::{SpawnError, SpawnErrorKind},
    task::Task,
    yield_now::{YieldNow, yield_now},
};
#[doc(hidden)]
pub use self::{
    header::TaskVTable,
    pool::{Align, Aligned, Pool, cell_align, cell_size, never_made},
};
/// # Examples
///
/// ```
/// use dormir::executor::{Executor, Shared, Up64, task};
///
/// #[task(pool_size = 2)]
/// async fn sum(mut a: u32, (b, c): (u32, u32)) -> u32 {
///     a += b + c;
///     a
/// }
///
/// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
/// let mut runner = EXECUTOR.enter()?;
/// let handle = runner.spawner().spawn(sum(1, (2, 3)))?;
/// runner.run_until_idle();
/// assert_eq!(dormir::block_on(handle, dormir::platform::host::Skip), Ok(6));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// What a static pool cannot hold is refused:
///
/// ```compile_fail
/// #[dormir::executor::task]
/// async fn call(function: impl Fn()) { function() }
/// ```
///
/// ```compile_fail
/// #[dormir::executor::task]
/// async fn show<T: core::fmt::Debug>(value: T) { println!("{value:?}") }
/// ```
#[cfg(feature = "macros")]
pub use dormir_macros::task;
