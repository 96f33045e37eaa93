//! [`Executor`], which a program declares as a static.

use core::fmt;

use super::{
    capacity::Capacity,
    cpus::{Cpus, Shared},
    executor_core::ExecutorCore,
    ready::ReadySet,
    wakers::Functions,
};
use crate::sync::const_new;

/// An executor: slots for tasks, and the set of those that are ready. It is declared as a static,
/// which is all zero until it is first used and so takes no room in an image.
///
/// `C` is the number of tasks that can exist at once. `M` decides whether other vCPUs may wake
/// them.
///
/// # Examples
///
/// ```
/// use dormir::{executor::{Executor, Shared, Up64}, platform::host};
///
/// dormir::tasks! { async fn work(), pool = 2 {} }
///
/// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
///
/// let mut runner = EXECUTOR.enter()?;
/// runner.spawner().spawn_detached(work())?;
/// runner.spawner().spawn_detached(work())?;
/// // In a guest: `runner.run(Halt)`.
/// runner.run(host::Skip);
/// assert_eq!(EXECUTOR.tasks(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Executor<C: Capacity, M: Cpus = Shared> {
    pub(super) ready: ReadySet<C, M>,
    pub(super) core: ExecutorCore,
}

/// The error of [`Executor::enter`]: the executor already has a runner.
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
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct AlreadyEntered;

impl fmt::Display for AlreadyEntered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "this executor already has a runner: spawn from tasks with its spawner, from elsewhere \
             with `remote`, or drop the runner first",
        )
    }
}

impl core::error::Error for AlreadyEntered {}

impl<C: Capacity, M: Cpus> Executor<C, M> {
    const_new! {
        /// Creates an executor without tasks. The argument chooses `M`: [`Shared`], or a
        /// [`SingleVcpu`](super::SingleVcpu), by which the program promises that there is one vCPU.
        #[must_use]
        pub fn new(_cpus: M) -> Self {
            Self {
                ready: ReadySet::new(),
                core: ExecutorCore::new(),
            }
        }
    }

    /// Returns the number of tasks that have not ended.
    ///
    /// # Contexts
    ///
    /// Any. It is one load.
    #[must_use]
    pub fn tasks(&self) -> usize {
        self.core.live()
    }

    /// Makes each wake call `hook`. A loop that sleeps by other means than an [idle
    /// policy](crate::idle::Idle) needs it, and so does a program that wakes tasks on another vCPU:
    /// there the hook sends the runner's vCPU an interrupt.
    ///
    /// It is called after each wake of a task that was not ready, in the context of the wake: an
    /// interrupt handler, or an NMI handler if tasks are woken there. With
    /// [`SingleVcpu`](super::SingleVcpu), which does not check whether the task was ready, it is
    /// called after each wake.
    ///
    /// A hook that sends an interrupt by an MSR of the local APIC (x2APIC) must execute `mfence`
    /// and `lfence` first: such a write does not wait for earlier stores (SDM vol. 3, "MSR Access
    /// in x2APIC Mode").
    ///
    /// # Contexts
    ///
    /// Any but NMI. The first call of this, of [`enter`](Self::enter) or of
    /// [`remote`](Self::remote) takes long: see [`enter`](Self::enter).
    ///
    /// # Panics
    ///
    /// If the executor already has a hook, or [`enter`](Self::enter) or [`remote`](Self::remote)
    /// was called before: then wakers may exist that do not call the hook.
    ///
    /// # Examples
    ///
    /// ```
    /// use core::sync::atomic::{AtomicBool, Ordering};
    /// use dormir::executor::{Executor, Shared, Up64};
    ///
    /// dormir::tasks! { async fn nothing(), pool = 1 {} }
    ///
    /// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
    /// static WOKEN: AtomicBool = AtomicBool::new(false);
    ///
    /// EXECUTOR.on_wake(|| WOKEN.store(true, Ordering::SeqCst));
    /// EXECUTOR.remote().spawn_detached(nothing())?;
    /// assert!(WOKEN.load(Ordering::SeqCst));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn on_wake(&'static self, hook: fn()) {
        assert!(
            self.open_with_hook(hook),
            "`on_wake` was called too late: call it once, before `enter` and `remote`"
        );
    }

    /// Opens the executor, with a hook that wakes call. Returns `false` if it was open already.
    pub(super) fn open_with_hook(&'static self, hook: fn()) -> bool {
        let blocks = self.ready.link();
        // SAFETY: blocks and wakers are those of this executor's ready set, and the blocks are
        // linked.
        unsafe {
            self.core
                .open(blocks, Functions::<C, M>::HOOKED, Some(hook))
        }
    }

    /// Opens the executor, without a hook, unless it is open already.
    pub(super) fn open(&'static self) {
        if !self.core.is_open() {
            let blocks = self.ready.link();
            // SAFETY: blocks and wakers are those of this executor's ready set, and the blocks are
            // linked.
            unsafe { self.core.open(blocks, Functions::<C, M>::PLAIN, None) };
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
