//! Spawners: [`Spawner`] for the runner's vCPU, [`RemoteSpawner`] for anywhere.

use core::{fmt, future::Future, marker::PhantomData, ptr::NonNull};

use super::{
    capacity::Capacity,
    cpus::Cpus,
    executor::Executor,
    executor_core::{ExecutorCore, RunnerId},
    header::{Header, Memory},
    join::JoinHandle,
    probe::{Spawned, Woken},
    slot::{Claimed, JOINABLE, LOCAL},
    spawn_error::{SpawnError, SpawnErrorKind},
    task::{Task, TaskCell},
    task_ref::TaskRef,
};
use crate::sync::critical;

/// Spawns tasks on the runner's vCPU (on a host: its thread), before the runner runs and from
/// tasks. The future must be `'static`, but need not be `Send`.
///
/// It can be copied. Once its [`Runner`](super::Runner) is dropped, spawning returns an error.
///
/// # Contexts
///
/// The runner's vCPU, outside of interrupt handlers. Spawning uses a critical section.
///
/// # Examples
///
/// ```
/// use dormir::executor::{Executor, Shared, Spawner, Up64};
///
/// dormir::tasks! {
///     async fn parent(spawner: Spawner) -> u32, pool = 1 {
///         let child = spawner.spawn(child(20)).expect("the pool has room");
///         child.await.expect("it was not aborted") + 1
///     }
/// }
/// dormir::tasks! { async fn child(n: u32) -> u32, pool = 1 { n * 2 } }
///
/// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
/// let mut runner = EXECUTOR.enter()?;
/// let spawner = runner.spawner();
/// let answer = spawner.spawn(parent(spawner))?;
/// runner.run(dormir::platform::host::Skip);
/// assert_eq!(dormir::block_on(answer, dormir::platform::host::Skip), Ok(41));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// It cannot be sent to another thread:
///
/// ```compile_fail,E0277
/// # use dormir::executor::{Executor, Shared, Up64};
/// # static EXECUTOR: Executor<Up64> = Executor::new(Shared);
/// let spawner = EXECUTOR.enter()?.spawner();
/// std::thread::spawn(move || drop(spawner));
/// # Ok::<(), dormir::executor::AlreadyEntered>(())
/// ```
#[derive(Clone, Copy)]
pub struct Spawner {
    core: &'static ExecutorCore,
    runner: RunnerId,
    /// It stays on the runner's vCPU.
    not_send: PhantomData<*mut ()>,
}

impl Spawner {
    pub(super) const fn new(core: &'static ExecutorCore, runner: RunnerId) -> Self {
        Self {
            core,
            runner,
            not_send: PhantomData,
        }
    }

    /// Spawns `task`: the runner polls it from its next pass on.
    ///
    /// This takes the same time for any size of pool and executor.
    ///
    /// # Errors
    ///
    /// If the pool or the executor is full, or the runner was dropped. The error tells which, and
    /// contains the task.
    ///
    /// # Examples
    ///
    /// ```
    /// use dormir::{executor::{Executor, Shared, SpawnErrorKind, Up64}, platform::host};
    ///
    /// dormir::tasks! { async fn add(a: u32, b: u32) -> u32, pool = 1 { a + b } }
    ///
    /// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
    ///
    /// let mut runner = EXECUTOR.enter()?;
    /// let sum = runner.spawner().spawn(add(1, 2))?;
    /// let full = runner.spawner().spawn(add(3, 4)).expect_err("one can exist at once");
    /// assert_eq!(full.kind(), SpawnErrorKind::PoolFull);
    /// runner.run(host::Skip);
    /// assert_eq!(dormir::block_on(sum, host::Skip), Ok(3));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn spawn<F: Future + 'static>(
        &self,
        task: Task<F>,
    ) -> Result<JoinHandle<F::Output>, SpawnError<F>> {
        // SAFETY: the spawner is on its runner's vCPU, and the runner drops the future when it
        // leaves.
        unsafe { spawn(self.core, Some(self.runner), JOINABLE, task, join::<F>) }
    }

    /// As [`spawn`](Self::spawn), but returns no handle. It costs a little less than to drop the
    /// handle.
    ///
    /// # Errors
    ///
    /// As [`spawn`](Self::spawn).
    #[inline]
    pub fn spawn_detached<F: Future + 'static>(&self, task: Task<F>) -> Result<(), SpawnError<F>> {
        // SAFETY: the spawner is on its runner's vCPU, and the runner drops the future when it
        // leaves.
        unsafe { spawn(self.core, Some(self.runner), 0, task, |_, _| ()) }
    }
}

impl fmt::Debug for Spawner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spawner").finish_non_exhaustive()
    }
}

/// Spawns tasks from anywhere: from interrupt handlers, from other vCPUs (or threads), and before
/// the executor has a runner. Future and output must be `Send`.
///
/// # Contexts
///
/// Any but NMI. On another vCPU than the runner's, only if the program's implementation of
/// `critical-section` excludes other vCPUs (see [`Shared`](super::Shared)).
///
/// # Examples
///
/// ```
/// use dormir::executor::{Executor, Shared, Up64};
///
/// dormir::tasks! { async fn greet(name: &'static str), pool = 1 { println!("hello, {name}") } }
///
/// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
/// std::thread::spawn(|| drop(EXECUTOR.remote().spawn(greet("runner")).expect("there is room")))
///     .join()
///     .expect("the thread ends");
/// EXECUTOR.enter()?.run(dormir::platform::host::Skip);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A future that is not `Send` needs a [`Spawner`]:
///
/// ```compile_fail
/// # use dormir::executor::{Executor, Shared, Up64};
/// # use std::rc::Rc;
/// # static EXECUTOR: Executor<Up64> = Executor::new(Shared);
/// dormir::tasks! { async fn print(text: Rc<str>), pool = 1 { println!("{text}") } }
///
/// EXECUTOR.remote().spawn_detached(print("local".into()))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
pub struct RemoteSpawner {
    core: &'static ExecutorCore,
}

impl<C: Capacity, M: Cpus> Executor<C, M> {
    /// Returns a spawner for use anywhere.
    ///
    /// # Contexts
    ///
    /// Any but NMI. The first call takes long: see [`enter`](Self::enter). Each later one is a
    /// load.
    ///
    /// # Examples
    ///
    /// ```
    /// use dormir::{executor::{Executor, Shared, Up64}, platform::host};
    ///
    /// dormir::tasks! { async fn answer(packet: u32), pool = 8 { println!("packet {packet}") } }
    ///
    /// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
    ///
    /// /// Called by the device's interrupt handler.
    /// fn on_packet(packet: u32) {
    ///     if let Err(error) = EXECUTOR.remote().spawn_detached(answer(packet)) {
    ///         println!("packet {packet} is lost: {error}");
    ///     }
    /// }
    /// # on_packet(1);
    /// # EXECUTOR.enter()?.run(host::Skip);
    /// # Ok::<(), dormir::executor::AlreadyEntered>(())
    /// ```
    #[must_use]
    pub fn remote(&'static self) -> RemoteSpawner {
        self.open();
        RemoteSpawner::new(&self.core)
    }
}

impl RemoteSpawner {
    const fn new(core: &'static ExecutorCore) -> Self {
        Self { core }
    }

    /// Spawns `task`: the runner polls it from its next pass on, or the next runner if there is
    /// none now.
    ///
    /// # Errors
    ///
    /// If the pool or the executor is full. The error tells which, and contains the task.
    #[inline]
    pub fn spawn<F>(&self, task: Task<F>) -> Result<JoinHandle<F::Output>, SpawnError<F>>
    where
        F: Future + Send + 'static,
        F::Output: Send,
    {
        // SAFETY: the future is `Send`, and so is its output.
        unsafe { spawn(self.core, None, JOINABLE, task, join::<F>) }
    }

    /// As [`spawn`](Self::spawn), but returns no handle. It costs a little less than to drop the
    /// handle.
    ///
    /// # Errors
    ///
    /// As [`spawn`](Self::spawn).
    #[inline]
    pub fn spawn_detached<F>(&self, task: Task<F>) -> Result<(), SpawnError<F>>
    where
        F: Future + Send + 'static,
        F::Output: Send,
    {
        // SAFETY: the future is `Send`, and so is its output.
        unsafe { spawn(self.core, None, 0, task, |_, _| ()) }
    }
}

impl fmt::Debug for RemoteSpawner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteSpawner").finish_non_exhaustive()
    }
}

/// Spawns a task, and returns what `hold` makes for it: a handle, or nothing.
///
/// `local` is the runner whose vCPU the task must stay on, if there is such a runner. `joinable` is
/// [`JOINABLE`] or 0.
///
/// # Safety
///
/// Future and output are `Send`, or `local` is a runner of this vCPU. If the task is joinable,
/// `hold` makes its only handle.
#[inline(always)]
unsafe fn spawn<F: Future + 'static, H>(
    core: &'static ExecutorCore,
    local: Option<RunnerId>,
    joinable: u64,
    task: Task<F>,
    hold: unsafe fn(TaskRef, NonNull<Header>) -> H,
) -> Result<H, SpawnError<F>> {
    let vtable = task.vtable;
    // Memory is not allocated inside the critical section.
    let boxed = match &vtable.memory {
        #[cfg(feature = "alloc")]
        Memory::Heap(_) => Some(super::heap::allocate::<F>()),
        _ => None,
    };
    let found = critical(|cs| -> Result<(NonNull<Header>, Claimed), SpawnErrorKind> {
        if local.is_some_and(|runner| !core.has_runner(runner, cs)) {
            return Err(SpawnErrorKind::RunnerGone);
        }
        let header = match (&vtable.memory, boxed) {
            (Memory::Pool(pool, _), _) => {
                // SAFETY: the task's future is `F`.
                unsafe { pool.claim::<F>(cs) }.ok_or(SpawnErrorKind::PoolFull)?
            }
            (Memory::Heap(_), Some(header)) => header,
            (Memory::Heap(_), None) => {
                unreachable!("only the feature `alloc` makes tasks on the heap")
            }
        };
        let local = if local.is_some() { LOCAL } else { 0 };
        if let Some(claimed) = core.claim(joinable | local, cs) {
            return Ok((header, claimed));
        }
        if let Memory::Pool(pool, give_back) = &vtable.memory {
            // SAFETY: the cell was claimed for this task, and nothing lies there.
            unsafe { give_back(pool, header, cs) };
        }
        Err(SpawnErrorKind::ExecutorFull)
    });
    let (header, claimed) = match found {
        Ok(found) => found,
        Err(kind) => {
            if let (Memory::Heap(free), Some(header)) = (&vtable.memory, boxed) {
                // SAFETY: the memory was allocated for this task, and nothing lies there.
                unsafe { free(header) };
            }
            return Err(SpawnError::new(kind, task));
        }
    };
    // SAFETY: the cell was claimed for a task with this vtable, whose future is `F`.
    unsafe { TaskCell::fill(header, vtable, task.future) };
    let slot = claimed.slot();
    // Foreign code (hooks) is called only once the task is in its slot, has its handle and is
    // ready, so it may drop the runner, or unwind. By then the task may have ended, and its memory
    // may be another task's.
    let (spawned, woken) = (Spawned::count(slot, vtable), Woken::count(slot));
    // SAFETY: the cell is filled, and the caller guarantees that a future that is not `Send` is
    // local. No foreign code has run since the check for its runner.
    unsafe { claimed.begin(header) };
    // SAFETY: `hold` makes the only handle. A joinable task keeps its memory until that is gone.
    let held = unsafe { hold(slot, header) };
    core.set_ready(slot);
    spawned.report();
    woken.report();
    Ok(held)
}

/// The handle of a task with future `F`.
///
/// # Safety
///
/// This is the task's only handle, and the future is an `F`.
#[inline(always)]
unsafe fn join<F: Future>(slot: TaskRef, header: NonNull<Header>) -> JoinHandle<F::Output> {
    // SAFETY: the caller guarantees it, and the output is that of the future.
    unsafe { JoinHandle::new(slot, header) }
}
