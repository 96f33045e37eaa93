//! Spawning: from where the runner is, and from anywhere else.

use core::{fmt, future::Future, marker::PhantomData, ptr::NonNull};

use super::{
    book::{Book, Claimed, Entry},
    join::JoinHandle,
    place::{JOINABLE, LOCAL, TaskRef},
    probe::{Spawned, Woken},
    spawn_error::{SpawnError, SpawnLimit},
    task::{Header, Memory, Task, TaskCell},
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
///         child.await.expect("nobody aborts it") + 1
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
    book: &'static Book,
    entry: Entry,
    /// It stays where the runner is.
    not_send: PhantomData<*mut ()>,
}

impl Spawner {
    pub(super) const fn new(book: &'static Book, entry: Entry) -> Self {
        Self {
            book,
            entry,
            not_send: PhantomData,
        }
    }

    /// Has the runner poll `task` from its next pass on.
    ///
    /// It takes a constant time, at any size of pool and executor.
    ///
    /// # Errors
    ///
    /// Where there is no room, the error says which of pool and executor is full, and gives the task
    /// back.
    ///
    /// # Examples
    ///
    /// ```
    /// use dormir::executor::{Executor, Shared, SpawnLimit, Up64};
    ///
    /// dormir::task! { async fn add(a: u32, b: u32) -> u32, pool = 1 { a + b } }
    ///
    /// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
    ///
    /// # let idle = dormir::platform::host::Skip;
    /// let mut runner = EXECUTOR.enter()?;
    /// let sum = runner.spawner().spawn(add(1, 2))?;
    /// let full = runner.spawner().spawn(add(3, 4)).expect_err("its pool has one place");
    /// assert_eq!(full.limit(), SpawnLimit::PoolFull);
    /// runner.run(idle);
    /// assert_eq!(dormir::block_on(sum, idle), Ok(3));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn spawn<F: Future + 'static>(
        &self,
        task: Task<F>,
    ) -> Result<JoinHandle<F::Output>, SpawnError<F>> {
        // SAFETY: where this spawner is, the runner is; when the runner goes, it drops the future.
        unsafe { spawn(self.book, Some(self.entry), JOINABLE, task, join::<F>) }
    }

    /// As [`spawn`](Self::spawn), without a handle. It is a little cheaper than to drop one.
    ///
    /// # Errors
    ///
    /// As [`spawn`](Self::spawn).
    ///
    /// # Examples
    ///
    /// ```
    /// use dormir::executor::{Executor, Shared, Up64};
    ///
    /// dormir::task! { async fn greet(), pool = 1 { println!("hello") } }
    ///
    /// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
    /// let mut runner = EXECUTOR.enter()?;
    /// runner.spawner().spawn_detached(greet())?;
    /// runner.run(dormir::platform::host::Skip);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn spawn_detached<F: Future + 'static>(&self, task: Task<F>) -> Result<(), SpawnError<F>> {
        // SAFETY: where this spawner is, the runner is; when the runner goes, it drops the future.
        unsafe { spawn(self.book, Some(self.entry), 0, task, |_, _| ()) }
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
    book: &'static Book,
}

impl RemoteSpawner {
    pub(super) const fn new(book: &'static Book) -> Self {
        Self { book }
    }

    /// As [`Spawner::spawn`].
    ///
    /// # Errors
    ///
    /// As [`Spawner::spawn`]; the runner need not be there.
    ///
    /// # Examples
    ///
    /// ```
    /// use dormir::executor::{Executor, Shared, Up64};
    ///
    /// dormir::task! { async fn length(text: String) -> usize, pool = 1 { text.len() } }
    ///
    /// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
    ///
    /// # let idle = dormir::platform::host::Skip;
    /// let other = std::thread::spawn(|| EXECUTOR.remote().spawn(length("text".into())));
    /// let handle = other.join().expect("the thread ends")?;
    /// EXECUTOR.enter()?.run(idle);
    /// assert_eq!(dormir::block_on(handle, idle), Ok(4));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn spawn<F>(&self, task: Task<F>) -> Result<JoinHandle<F::Output>, SpawnError<F>>
    where
        F: Future + Send + 'static,
        F::Output: Send,
    {
        // SAFETY: the future is `Send`, and so is its output.
        unsafe { spawn(self.book, None, JOINABLE, task, join::<F>) }
    }

    /// As [`spawn`](Self::spawn), without a handle. It is a little cheaper than to drop one.
    ///
    /// # Errors
    ///
    /// As [`spawn`](Self::spawn).
    ///
    /// # Examples
    ///
    /// ```
    /// use dormir::executor::{Executor, Shared, Up64};
    ///
    /// dormir::task! { async fn note(time: u64), pool = 4 { println!("it was {time}") } }
    ///
    /// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
    ///
    /// // Before there is a runner.
    /// EXECUTOR.remote().spawn_detached(note(7))?;
    /// EXECUTOR.enter()?.run(dormir::platform::host::Skip);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn spawn_detached<F>(&self, task: Task<F>) -> Result<(), SpawnError<F>>
    where
        F: Future + Send + 'static,
        F::Output: Send,
    {
        // SAFETY: the future is `Send`, and so is its output.
        unsafe { spawn(self.book, None, 0, task, |_, _| ()) }
    }
}

impl fmt::Debug for RemoteSpawner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteSpawner").finish_non_exhaustive()
    }
}

/// Spawns a task, and gives what `hold` makes of its place and header: a join handle, or nothing.
///
/// # Safety
///
/// Unless future and output are `Send`: `local` is the runner that is where the caller is. `hold` makes the
/// task's one handle if `joinable` is [`JOINABLE`], and nothing if it is 0.
#[inline(always)]
unsafe fn spawn<F: Future + 'static, H>(
    book: &'static Book,
    local: Option<Entry>,
    joinable: u64,
    task: Task<F>,
    hold: unsafe fn(TaskRef, NonNull<Header>) -> H,
) -> Result<H, SpawnError<F>> {
    let kind = task.kind;
    // The heap is not asked inside the critical section.
    let boxed = match &kind.memory {
        Memory::Pool(..) => None,
        Memory::Heap(_) => allocate::<F>(),
    };
    let found = critical(|cs| -> Result<(NonNull<Header>, Claimed), SpawnLimit> {
        if local.is_some_and(|entry| !book.is_there(entry, cs)) {
            return Err(SpawnLimit::RunnerGone);
        }
        let header = match (&kind.memory, boxed) {
            (Memory::Pool(pool, _), _) => {
                // SAFETY: the task's future is `F`.
                unsafe { pool.claim::<F>(cs) }.ok_or(SpawnLimit::PoolFull)?
            }
            (Memory::Heap(_), Some(header)) => header,
            (Memory::Heap(_), None) => unreachable!("without a heap no task lies there"),
        };
        let local = if local.is_some() { LOCAL } else { 0 };
        if let Some(claimed) = book.claim(joinable | local, cs) {
            return Ok((header, claimed));
        }
        if let Memory::Pool(pool, give_back) = &kind.memory {
            // SAFETY: it was claimed for this task, and nothing lies there.
            unsafe { give_back(pool, header, cs) };
        }
        Err(SpawnLimit::ExecutorFull)
    });
    let (header, claimed) = match found {
        Ok(found) => found,
        Err(limit) => {
            if let (Memory::Heap(free), Some(header)) = (&kind.memory, boxed) {
                // SAFETY: it was allocated for this task, and nothing lies there.
                unsafe { free(header) };
            }
            return Err(SpawnError::new(limit, task));
        }
    };
    // SAFETY: the cell was claimed from this type, whose future is `F`.
    unsafe { TaskCell::fill(header, kind, task.future) };
    let place = claimed.place();
    // What is foreign is called only once the task is in its place, has its handle and is ready: so it may
    // drop the runner, or unwind. By then the task may be over, and its memory another's.
    let (spawned, woken) = (Spawned::count(place, kind), Woken::count(place));
    // SAFETY: the cell is filled; the caller says that a future that is not `Send` is local. No foreign code
    // has run since its runner was there.
    unsafe { claimed.begin(header) };
    // SAFETY: as the caller says. What has a handle keeps its memory until the handle goes.
    let held = unsafe { hold(place, header) };
    book.set(place);
    spawned.tell();
    woken.tell();
    Ok(held)
}

/// The handle of a task with future `F`.
///
/// # Safety
///
/// It is the task's one handle.
#[inline(always)]
unsafe fn join<F: Future>(place: TaskRef, header: NonNull<Header>) -> JoinHandle<F::Output> {
    // SAFETY: as the caller says, and the output is the future's.
    unsafe { JoinHandle::new(place, header) }
}

#[cfg(feature = "alloc")]
fn allocate<F: Future>() -> Option<NonNull<Header>> {
    Some(super::pool::heap::allocate::<F>())
}

#[cfg(not(feature = "alloc"))]
#[expect(
    clippy::extra_unused_type_parameters,
    reason = "it has one where there is a heap"
)]
fn allocate<F: Future>() -> Option<NonNull<Header>> {
    None
}
