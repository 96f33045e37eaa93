//! Spawning: from where the runner is, and from anywhere else.

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

/// Spawns tasks where the runner is: before it runs, and from tasks. Any `'static` future will do.
///
/// It is copied freely. Once its [`Runner`](super::Runner) is gone, spawning is an error.
///
/// # Contexts
///
/// Where the runner is, outside of interrupt handlers; it uses critical sections.
///
/// # Examples
///
/// ```
/// use dormir::executor::{Executor, Shared, Spawner, Up64};
///
/// dormir::task! {
///     async fn parent(spawner: Spawner) -> u32, pool = 1 {
///         let child = spawner.spawn(child(20)).expect("the pool has room");
///         child.await.expect("it is not aborted") + 1
///     }
/// }
/// dormir::task! { async fn child(n: u32) -> u32, pool = 1 { n * 2 } }
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
/// It stays where the runner is:
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
    /// It stays where the runner is.
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
    /// The time that this takes does not depend on the sizes of pool and executor.
    ///
    /// # Errors
    ///
    /// Where there is no room, or the runner is gone. The error tells which, and contains the task.
    ///
    /// # Examples
    ///
    /// ```
    /// use dormir::{executor::{Executor, Shared, SpawnErrorKind, Up64}, platform::host};
    ///
    /// dormir::task! { async fn add(a: u32, b: u32) -> u32, pool = 1 { a + b } }
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
        // SAFETY: where this spawner is, the runner is; when the runner goes, it drops the future.
        unsafe { spawn(self.core, Some(self.runner), JOINABLE, task, join::<F>) }
    }

    /// As [`spawn`](Self::spawn), without a handle. It costs a little less than dropping the
    /// handle.
    ///
    /// # Errors
    ///
    /// As [`spawn`](Self::spawn).
    #[inline]
    pub fn spawn_detached<F: Future + 'static>(&self, task: Task<F>) -> Result<(), SpawnError<F>> {
        // SAFETY: where this spawner is, the runner is; when the runner goes, it drops the future.
        unsafe { spawn(self.core, Some(self.runner), 0, task, |_, _| ()) }
    }
}

impl fmt::Debug for Spawner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spawner").finish_non_exhaustive()
    }
}

/// Spawns tasks from anywhere: interrupt handlers, other vCPUs (or threads), and before there is a
/// runner. Future and output must be `Send`.
///
/// # Contexts
///
/// Any but NMI. On another vCPU than the runner's, only where the program's implementation of
/// `critical-section` keeps vCPUs apart (see [`Shared`](super::Shared)).
///
/// # Examples
///
/// ```
/// use dormir::executor::{Executor, Shared, Up64};
///
/// dormir::task! { async fn greet(name: &'static str), pool = 1 { println!("hello, {name}") } }
///
/// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
/// std::thread::spawn(|| drop(EXECUTOR.remote().spawn(greet("runner")).expect("there is room")))
///     .join()
///     .expect("the thread ends");
/// EXECUTOR.enter()?.run(dormir::platform::host::Skip);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A future that is not `Send` is for a [`Spawner`]:
///
/// ```compile_fail
/// # use dormir::executor::{Executor, Shared, Up64};
/// # use std::rc::Rc;
/// # static EXECUTOR: Executor<Up64> = Executor::new(Shared);
/// dormir::task! { async fn print(text: Rc<str>), pool = 1 { println!("{text}") } }
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
    /// Any but NMI. The first call takes long, see [`enter`](Self::enter); each later one is a
    /// load.
    ///
    /// # Examples
    ///
    /// ```
    /// use dormir::{executor::{Executor, Shared, Up64}, platform::host};
    ///
    /// dormir::task! { async fn answer(packet: u32), pool = 8 { println!("packet {packet}") } }
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

    /// As [`Spawner::spawn`].
    ///
    /// # Errors
    ///
    /// As [`Spawner::spawn`]; the runner need not be there.
    #[inline]
    pub fn spawn<F>(&self, task: Task<F>) -> Result<JoinHandle<F::Output>, SpawnError<F>>
    where
        F: Future + Send + 'static,
        F::Output: Send,
    {
        // SAFETY: the future is `Send`, and so is its output.
        unsafe { spawn(self.core, None, JOINABLE, task, join::<F>) }
    }

    /// As [`spawn`](Self::spawn), without a handle. It costs a little less than dropping the
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

/// Spawns a task, and returns what `hold` makes of it.
///
/// `local` is the caller's runner, if the task is to stay where that runner is. `joinable` is
/// [`JOINABLE`] or 0.
///
/// # Safety
///
/// Future and output are `Send`, or there is a local runner, and the caller is where it is. `hold`
/// makes the one handle of the task if that is joinable.
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
        Memory::Pool(..) => None,
        Memory::Heap(_) => allocate::<F>(),
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
            (Memory::Heap(_), None) => unreachable!("only with a heap is there such a task"),
        };
        let local = if local.is_some() { LOCAL } else { 0 };
        if let Some(claimed) = core.claim(joinable | local, cs) {
            return Ok((header, claimed));
        }
        if let Memory::Pool(pool, give_back) = &vtable.memory {
            // SAFETY: it was claimed for this task, and nothing lies there.
            unsafe { give_back(pool, header, cs) };
        }
        Err(SpawnErrorKind::ExecutorFull)
    });
    let (header, claimed) = match found {
        Ok(found) => found,
        Err(kind) => {
            if let (Memory::Heap(free), Some(header)) = (&vtable.memory, boxed) {
                // SAFETY: it was allocated for this task, and nothing lies there.
                unsafe { free(header) };
            }
            return Err(SpawnError::new(kind, task));
        }
    };
    // SAFETY: the cell was claimed by means of this vtable, whose future is `F`.
    unsafe { TaskCell::fill(header, vtable, task.future) };
    let slot = claimed.slot();
    // The user's code is called only once the task is in its slot, has its handle and is ready: so
    // it may drop the runner, or unwind. By then the task may have ended, and its memory be
    // another's.
    let (spawned, woken) = (Spawned::count(slot, vtable), Woken::count(slot));
    // SAFETY: the cell is filled; the caller says that a future that is not `Send` is local. None
    // of the user's code has run since its runner was there.
    unsafe { claimed.begin(header) };
    // SAFETY: as the caller says. What has a handle keeps its memory until the handle goes.
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
/// It is the task's one handle.
#[inline(always)]
unsafe fn join<F: Future>(slot: TaskRef, header: NonNull<Header>) -> JoinHandle<F::Output> {
    // SAFETY: as the caller says, and the output is the future's.
    unsafe { JoinHandle::new(slot, header) }
}

#[cfg(feature = "alloc")]
fn allocate<F: Future>() -> Option<NonNull<Header>> {
    Some(super::heap::allocate::<F>())
}

#[cfg(not(feature = "alloc"))]
#[expect(clippy::extra_unused_type_parameters, reason = "the other one uses it")]
fn allocate<F: Future>() -> Option<NonNull<Header>> {
    None
}
