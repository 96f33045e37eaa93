//! Executors, tasks, and their handles. [`block_on`](crate::block_on) runs one future without an
//! executor.
//!
//! An [`Executor`] is a static with slots for tasks. [`Executor::enter`] returns its [`Runner`],
//! which polls the tasks; spawners spawn them: a [`Spawner`] on the runner's vCPU, a
//! [`RemoteSpawner`] anywhere. [`tasks!`](crate::tasks) makes functions whose futures can be
//! spawned without a heap.
//!
//! ```
//! use core::time::Duration;
//! use dormir::{executor::{Executor, Shared, Up64}, platform::host, time::Timer};
//!
//! dormir::tasks! {
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
pub(crate) mod task_ref;
mod tasks_macro;
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
pub use crate::last_yield::last_yield;
