//! Running futures: an executor of many tasks, and [`block_on`](crate::block_on) for one future.
//!
//! ```
//! use core::time::Duration;
//! use dormir::{executor::{Executor, Shared, Up64}, time::Timer};
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
//! # dormir::platform::host::init();
//! # let idle = dormir::platform::host::Skip;
//! # // In a guest: `let idle = dormir::idle::Halt;`
//! let mut runner = EXECUTOR.enter()?;
//! let spawner = runner.spawner();
//! // A handle that is dropped leaves its task alone.
//! drop(spawner.spawn(greet("moon", Duration::from_secs(2)))?);
//! drop(spawner.spawn(greet("sun", Duration::from_secs(1)))?);
//! runner.run(idle);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use core::fmt;

pub(crate) mod block_on;
mod book;
mod capacity;
mod cpus;
mod current;
pub(crate) mod drive;
mod free_list;
mod join;
mod lifecycle;
#[cfg(all(test, loom, feature = "alloc"))]
mod loom_tests;
#[cfg(feature = "metrics")]
pub mod metrics;
mod orphans;
mod place;
mod pool;
mod probe;
mod ready;
mod runner;
mod spawn;
mod spawn_error;
#[cfg(doctest)]
mod subtypes;
mod task;
mod task_macro;
#[cfg(all(test, not(loom)))]
mod tests;
#[cfg(feature = "trace")]
pub mod trace;
mod wakers;
mod yield_now;

pub use capacity::{Capacity, Up64, Up4096, Up65536};
pub use cpus::{Cpus, Shared, SingleVcpu};
pub use current::current_task;
#[cfg(feature = "embassy-time")]
pub(crate) use current::slot_of;
pub use join::{AbortHandle, Aborted, JoinHandle};
#[doc(hidden)]
pub use pool::{Align, Aligned, Pool, cell_align, cell_size, never_made};
pub use runner::{Runner, Turn};
pub use spawn::{RemoteSpawner, Spawner};
pub use spawn_error::{SpawnError, SpawnLimit};
pub use task::Task;
#[doc(hidden)]
pub use task::TaskType;
pub use yield_now::{YieldNow, yield_now};

use crate::sync::const_new;
use book::Book;
use ready::ReadySet;

/// Places for tasks, and the set of those that are ready. It lies in a static, whose memory is all zero
/// until it is used.
///
/// `C` says for how many tasks; `M` from where they may be woken.
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
/// # let idle = dormir::platform::host::Skip;
/// # // In a guest: `let idle = dormir::idle::Halt;`
/// let mut runner = EXECUTOR.enter()?;
/// runner.spawner().spawn_detached(work())?;
/// runner.spawner().spawn_detached(work())?;
/// runner.run(idle);
/// assert_eq!(EXECUTOR.tasks(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Executor<C: Capacity, M: Cpus = Shared> {
    ready: ReadySet<C, M>,
    book: Book,
}

/// The executor has a runner already.
///
/// # Examples
///
/// ```
/// use dormir::executor::{Executor, Shared, Up64};
///
/// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
///
/// let runner = EXECUTOR.enter()?;
/// let refused = EXECUTOR.enter().expect_err("there is a runner");
/// println!("{refused}");
/// # drop(runner);
/// # Ok::<(), dormir::executor::AlreadyEntered>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AlreadyEntered;

impl fmt::Display for AlreadyEntered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "this executor has a runner already: spawn from tasks with its spawner, from elsewhere with `remote`, or drop the runner first",
        )
    }
}

impl core::error::Error for AlreadyEntered {}

impl<C: Capacity, M: Cpus> Executor<C, M> {
    const_new! {
        /// An executor without tasks.
        ///
        /// # Examples
        ///
        /// ```
        /// use dormir::executor::{Executor, Shared, Up4096};
        ///
        /// static EXECUTOR: Executor<Up4096> = Executor::new(Shared);
        /// assert_eq!(EXECUTOR.tasks(), 0);
        /// ```
        #[must_use]
        pub fn new(_cpus: M) -> Self {
            Self {
                ready: ReadySet::new(),
                book: Book::new(),
            }
        }
    }

    /// Gives the runner, of which there is one at a time. It stays where it is made.
    ///
    /// The first call of this, of [`remote`](Self::remote) or of [`on_wake`](Self::on_wake) writes to each
    /// block of 64 places, of which [`Up65536`] has 1,024: call one of them before interrupts matter.
    ///
    /// # Contexts
    ///
    /// Any but NMI; it uses a critical section.
    ///
    /// # Errors
    ///
    /// [`AlreadyEntered`] while there is another one.
    ///
    /// # Examples
    ///
    /// ```
    /// use dormir::executor::{AlreadyEntered, Executor, Shared, Up64};
    ///
    /// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
    ///
    /// let runner = EXECUTOR.enter()?;
    /// assert!(matches!(EXECUTOR.enter(), Err(AlreadyEntered { .. })));
    /// drop(runner);
    /// assert!(EXECUTOR.enter().is_ok());
    /// # Ok::<(), AlreadyEntered>(())
    /// ```
    pub fn enter(&'static self) -> Result<Runner<C, M>, AlreadyEntered> {
        self.open();
        match self.book.enter() {
            Some(entry) => Ok(Runner::new(self, entry)),
            None => Err(AlreadyEntered),
        }
    }

    /// A spawner for use anywhere.
    ///
    /// # Contexts
    ///
    /// Any but NMI. The first call takes long, see [`enter`](Self::enter); each later one is a load.
    ///
    /// # Examples
    ///
    /// ```
    /// use dormir::executor::{Executor, Shared, Up64};
    ///
    /// dormir::task! { async fn answer(packet: u32), pool = 8 { println!("packet {packet}") } }
    ///
    /// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
    ///
    /// /// Called by the device's interrupt handler.
    /// fn on_packet(packet: u32) {
    ///     if let Err(full) = EXECUTOR.remote().spawn_detached(answer(packet)) {
    ///         println!("packet {packet} is lost: {full}");
    ///     }
    /// }
    /// # on_packet(1);
    /// # EXECUTOR.enter()?.run(dormir::platform::host::Skip);
    /// # Ok::<(), dormir::executor::AlreadyEntered>(())
    /// ```
    #[must_use]
    pub fn remote(&'static self) -> RemoteSpawner {
        self.open();
        RemoteSpawner::new(&self.book)
    }

    /// How many tasks there are that have not ended.
    ///
    /// # Contexts
    ///
    /// Any. It is one load.
    ///
    /// # Examples
    ///
    /// ```
    /// use dormir::executor::{Executor, Shared, Up64};
    ///
    /// dormir::task! { async fn work(), pool = 1 {} }
    ///
    /// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
    /// let mut runner = EXECUTOR.enter()?;
    /// let handle = runner.spawner().spawn(work())?;
    /// assert_eq!(EXECUTOR.tasks(), 1);
    /// runner.run_until_idle();
    /// // It has ended, though nobody has awaited the handle.
    /// assert_eq!(EXECUTOR.tasks(), 0);
    /// # drop(handle);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn tasks(&self) -> usize {
        self.book.live()
    }

    /// Has wakes call `hook`, which takes the place of an earlier one: for a loop that sleeps by other
    /// means than an [idle policy](crate::idle::Idle), or another vCPU that is to be interrupted.
    ///
    /// It is called after each wake of a task that was not ready, in the context of the wake: an
    /// interrupt handler, or an NMI handler if tasks are woken there. With [`SingleVcpu`], which does not
    /// look whether the task is ready, it is called after each wake. Set it before tasks are spawned: wakers
    /// that were made before, in polls, do not know of it.
    ///
    /// # Contexts
    ///
    /// Any but NMI. The first call of this, of [`enter`](Self::enter) or of [`remote`](Self::remote) takes
    /// long, see there.
    ///
    /// # Examples
    ///
    /// ```
    /// use core::sync::atomic::{AtomicBool, Ordering};
    /// use dormir::executor::{Executor, Shared, Up64};
    ///
    /// dormir::task! { async fn nothing(), pool = 1 {} }
    ///
    /// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
    /// static WOKEN: AtomicBool = AtomicBool::new(false);
    ///
    /// EXECUTOR.on_wake(|| WOKEN.store(true, Ordering::SeqCst));
    /// drop(EXECUTOR.remote().spawn(nothing())?);
    /// assert!(WOKEN.load(Ordering::SeqCst));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_wake(&'static self, hook: fn()) {
        self.open();
        // SAFETY: the wakers are this set's.
        unsafe { self.book.on_wake(hook, Self::HOOKED_WAKERS) };
    }

    /// Makes the places reachable, at the first call.
    fn open(&'static self) {
        if !self.book.is_open() {
            let blocks = self.ready.link();
            // SAFETY: they are this set's, and linked, and so are the wakers this set's.
            unsafe { self.book.open(blocks, Self::WAKERS) };
        }
    }
}

impl<C: Capacity, M: Cpus> fmt::Debug for Executor<C, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executor")
            .field("capacity", &C::TASKS)
            .field("tasks", &self.tasks())
            .finish_non_exhaustive()
    }
}
