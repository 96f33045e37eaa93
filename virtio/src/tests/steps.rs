//! What a device, or another task, does during a poll.

use std::cell::RefCell;

use super::fake::Shared;

pub(super) type Step = Box<dyn FnOnce()>;

thread_local! {
    /// What is done after as many calls of the hook: before and after each poll for interrupts.
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
