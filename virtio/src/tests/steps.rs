//! What a device, or another task, does during a poll.

use std::{
    cell::RefCell,
    mem::ManuallyDrop,
    sync::Arc,
    task::{RawWaker, RawWakerVTable, Waker},
};

use super::{Flag, fake::Shared};

pub(super) type Step = Box<dyn FnOnce()>;

thread_local! {
    /// What is done after as many calls of the hook: before and after each poll for interrupts, and
    /// with a waker of [`stepping`] when it is cloned.
    static STEP: RefCell<(usize, Option<Step>)> = const { RefCell::new((0, None)) };
}

fn hook() {
    let step = STEP.with_borrow_mut(|(calls, step)| match calls.checked_sub(1) {
        Some(left) => {
            *calls = left;
            None
        }
        None => step.take(),
    });
    if let Some(step) = step {
        step();
    }
}

/// Runs `poll` with the step at this place of it, and returns whether there is such a place. If
/// not, the step is done behind it.
pub(super) fn with_step<R>(
    shared: &Shared,
    place: usize,
    step: Step,
    poll: impl FnOnce() -> R,
) -> (R, bool) {
    STEP.set((place, Some(step)));
    *shared.hook.lock().unwrap() = Some(hook);
    let result = poll();
    *shared.hook.lock().unwrap() = None;
    match STEP.take().1 {
        Some(step) => {
            step();
            (result, false)
        }
        None => (result, true),
    }
}

/// A waker that calls the hook when it is cloned, so that a step can be taken where a driver stores
/// its waker.
pub(super) fn stepping(flag: &Arc<Flag>) -> Waker {
    let data = Arc::into_raw(Arc::clone(flag)).cast();
    // SAFETY: the functions take the pointer of an `Arc<Flag>`, of which each waker owns one.
    unsafe { Waker::new(data, &STEPPING) }
}

static STEPPING: RawWakerVTable = RawWakerVTable::new(
    |data| {
        hook();
        // SAFETY: the waker's, which lives.
        let flag = ManuallyDrop::new(unsafe { Arc::from_raw(data.cast::<Flag>()) });
        let clone = Arc::into_raw(Arc::clone(&flag));
        RawWaker::new(clone.cast(), &STEPPING)
    },
    // SAFETY: the waker's, which ends.
    |data| Waker::from(unsafe { Arc::from_raw(data.cast::<Flag>()) }).wake(),
    |data| {
        // SAFETY: the waker's, which lives.
        let flag = ManuallyDrop::new(unsafe { Arc::from_raw(data.cast::<Flag>()) });
        Waker::from(Arc::clone(&flag)).wake();
    },
    // SAFETY: the waker's, which ends.
    |data| drop(unsafe { Arc::from_raw(data.cast::<Flag>()) }),
);
