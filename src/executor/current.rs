//! The task that is being polled: for panic messages, and for embassy's timers.

use core::{
    ptr,
    sync::atomic::{AtomicPtr, Ordering},
};

#[cfg(feature = "embassy-time")]
use core::task::Waker;

use super::{executor_core::ExecutorCore, task_ref::TaskRef};
use crate::sync::critical;
#[cfg(feature = "embassy-time")]
use crate::time::embassy::DeadlineSlot;

/// The data pointer of the task that is being visited, or was visited last in a pass; null outside
/// of passes.
static CURRENT: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());

/// Returns the name of the task that is being polled, by any executor: for panic handlers. `None`
/// if no task is polled.
///
/// The name is the path of the function in [`tasks!`](crate::tasks); for a boxed task
/// (`Task::boxed`) it is the type of its future. With executors on several vCPUs (or threads), it
/// is that of the task whose poll began last.
///
/// # Contexts
///
/// Any but NMI; it uses a critical section. An NMI's handler may call it if it never returns to
/// what it interrupted, and critical sections only mask interrupts, as those of the feature
/// `critical-section-impl` do. (Where they also take a lock, the interrupted code may hold it. What
/// is read here is changed word by word, and each is valid between any two instructions.)
///
/// # Examples
///
/// ```
/// use dormir::executor::{Executor, Shared, Up64, current_task};
///
/// dormir::tasks! {
///     async fn work(), pool = 1 {
///         assert!(current_task().is_some_and(|name| name.ends_with("::work")));
///     }
/// }
///
/// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
///
/// assert_eq!(current_task(), None);
/// EXECUTOR.remote().spawn_detached(work())?;
/// EXECUTOR.enter()?.run(dormir::platform::host::Skip);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn current_task() -> Option<&'static str> {
    critical(|cs| {
        let data = CURRENT.load(Ordering::Relaxed).cast_const();
        if data.is_null() {
            return None;
        }
        // SAFETY: `set` stored the data pointer of a task.
        let task = unsafe { TaskRef::from_data(data) };
        let header = task.live_task(cs)?;
        // SAFETY: `live_task` returns what is valid within the section.
        Some((unsafe { header.as_ref() }.vtable().name)())
    })
}

/// Panics if the caller is a task of the same executor as `task`: it waits for `task` alone, by
/// `block_on`, and `task` can never end, since their runner is in the caller's poll.
///
/// A deadlock is recognised if a task of that executor was visited last, and its runner is on this
/// vCPU. It is not recognised if the caller is a task of an executor that a task of `task`'s
/// executor runs, nor where vCPUs cannot be distinguished.
#[cold]
#[inline(never)]
pub(super) fn refuse_deadlock(task: TaskRef) {
    let data = CURRENT.load(Ordering::Relaxed).cast_const();
    if data.is_null() {
        return;
    }
    // SAFETY: `set` stored the data pointer of a task.
    let current = unsafe { TaskRef::from_data(data) };
    let is_same = ptr::eq(current.core(), task.core());
    assert!(
        !(is_same && task.core().is_entered_here()),
        "a task waits by `block_on` for another task of its own executor, which cannot run \
         meanwhile: await the handle instead"
    );
}

/// Returns the embassy timers' entry of the task that is being polled, if `waker` is that task's.
///
/// A waker is identified by its data pointer and its vtable, and both are compared: a foreign waker
/// may carry a task's data pointer with functions of its own. (The vtable is compared with that of
/// the task's executor, and not with a list of all, since the compiler may make several copies.) So
/// no waker is taken for another task's. A waker is not recognised if it is used in another task's
/// poll, or has another copy of the vtable.
#[cfg(feature = "embassy-time")]
pub(super) fn deadline_slot_of(waker: &Waker) -> Option<&'static DeadlineSlot> {
    let data = CURRENT.load(Ordering::Relaxed).cast_const();
    if data.is_null() || data != waker.data() {
        return None;
    }
    // SAFETY: `set` stored the data pointer of a task. Slots are static, so this holds even if the
    // visit is over.
    let task = unsafe { TaskRef::from_data(data) };
    ptr::eq(task.core().wakers(), waker.vtable()).then(|| task.deadline())
}

/// Returns the data pointer of the current task, or null.
pub(crate) fn get() -> *mut () {
    CURRENT.load(Ordering::Relaxed)
}

/// A pass. When this is dropped, even because a poll unwinds, the current task is again the one in
/// which the runner was entered, if any.
pub(crate) struct InPass(pub(crate) &'static ExecutorCore);

impl Drop for InPass {
    #[inline(always)]
    fn drop(&mut self) {
        CURRENT.store(self.0.outer(), Ordering::Relaxed);
    }
}

/// Makes `task` the current one.
#[inline(always)]
pub(crate) fn set(task: TaskRef) {
    CURRENT.store(task.data().cast_mut(), Ordering::Relaxed);
}

/// The task that was current before a runner was used. When this is dropped, even because a poll
/// unwinds, that task is current again.
pub(crate) struct OuterTask(*mut ());

impl OuterTask {
    #[inline(always)]
    pub(crate) fn here() -> Self {
        Self(CURRENT.load(Ordering::Relaxed))
    }
}

impl Drop for OuterTask {
    #[inline(always)]
    fn drop(&mut self) {
        CURRENT.store(self.0, Ordering::Relaxed);
    }
}
