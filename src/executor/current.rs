//! Which task is being polled, for panic messages.

use core::{
    ptr,
    sync::atomic::{AtomicPtr, Ordering},
};

#[cfg(feature = "embassy-time")]
use core::task::Waker;

use super::{book::Book, place::TaskRef};
use crate::sync::critical;
#[cfg(feature = "embassy-time")]
use crate::time::embassy::Slot;

/// The place that was last visited, as its wakers carry it; null outside of passes.
static CURRENT: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());

/// The name of the task that is being polled, by any executor: for panic handlers. `None` outside of
/// polls.
///
/// With several executors on several vCPUs (or threads) it is the one whose poll began last.
///
/// # Contexts
///
/// Any but NMI; it uses a critical section.
///
/// # Examples
///
/// ```
/// use dormir::executor::{Executor, Shared, Up64, current_task};
///
/// dormir::task! {
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
        // SAFETY: it was stored by `set`.
        let task = unsafe { TaskRef::from_data(data) };
        let header = task.live_task(cs)?;
        // SAFETY: it is valid within the section.
        Some((unsafe { header.as_ref() }.kind().name)())
    })
}

/// Panics if `task` cannot end while the caller waits for nothing else by `block_on`: the caller is a task of the
/// same executor, whose runner is in its poll.
///
/// Known is that a task of the executor was visited last, and that its runner is on this vCPU. Where that task
/// runs another executor's tasks, which wait, nothing is known.
#[cold]
#[inline(never)]
pub(super) fn refuse_deadlock(task: TaskRef) {
    let data = CURRENT.load(Ordering::Relaxed).cast_const();
    if data.is_null() {
        return;
    }
    // SAFETY: it was stored by `set`.
    let current = unsafe { TaskRef::from_data(data) };
    let is_same = ptr::eq(current.book(), task.book());
    assert!(
        !(is_same && task.book().is_entered_here()),
        "a task waits by `block_on` for another task of its own executor, which cannot go on meanwhile: await \
         the handle instead"
    );
}

/// The embassy timers' entry of the task that is being polled, if `waker` is that task's.
///
/// A waker says who it is by two addresses, and both are compared: a foreign waker may carry a task's data
/// pointer with functions of its own. (To compare the functions with a list of executors', in place of the
/// task's own, would not do: the compiler may have several copies of them.) So no waker is taken for
/// another task's. One that is not recognised is used in another task's poll, or is a clone with another
/// copy of the functions.
#[cfg(feature = "embassy-time")]
pub(crate) fn slot_of(waker: &Waker) -> Option<&'static Slot> {
    let data = CURRENT.load(Ordering::Relaxed).cast_const();
    if data.is_null() || data != waker.data() {
        return None;
    }
    // SAFETY: it was stored by `set`. Places are static, so it does not matter whether the visit is over.
    let task = unsafe { TaskRef::from_data(data) };
    ptr::eq(task.book().wakers(), waker.vtable()).then(|| task.slot())
}

/// What [`set`] has stored, or null.
pub(crate) fn get() -> *mut () {
    CURRENT.load(Ordering::Relaxed)
}

/// When this goes, also because a poll unwinds, the runner's pass is over: the task in which it was entered is
/// visited again, if there is one.
pub(crate) struct InPass(pub(crate) &'static Book);

impl Drop for InPass {
    #[inline(always)]
    fn drop(&mut self) {
        CURRENT.store(self.0.outer(), Ordering::Relaxed);
    }
}

/// This task is visited now.
#[inline(always)]
pub(crate) fn set(task: TaskRef) {
    CURRENT.store(task.data().cast_mut(), Ordering::Relaxed);
}

/// Which task was visited when others began to be, if one was: when this goes, also because a poll unwinds, it
/// is that one again.
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
