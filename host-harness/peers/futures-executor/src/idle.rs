//! How a thread waits for a wake.

use dormir::idle::{Idle, IdleContext};
use std::sync::{Condvar, Mutex, PoisonError};

/// Held from the look at the ready tasks to the wait, and taken by every wake.
static LOOKS: Mutex<()> = Mutex::new(());
static WOKEN: Condvar = Condvar::new();

/// What each executor's wakes call. They wake all threads that wait, since a hook is not told which
/// executor it is for. Those whose executors have nothing ready look again and wait on: no wait
/// ends by another's wake, and none is missed, as all are notified. That takes time where many
/// threads wait, which those of the peer's tests do not. The wake of another thread's executor may
/// hide that one was not announced; but most of those tests have one thread, and would hang.
pub(crate) fn on_wake() {
    // A thread that has looked before this wake waits by now, and one that has not will see it.
    drop(LOOKS.lock().unwrap_or_else(PoisonError::into_inner));
    WOKEN.notify_all();
}

/// Waits while `is_idle` returns `true`. It does not park the thread, which tests do themselves.
pub(crate) fn wait_while(is_idle: impl Fn() -> bool) {
    let looks = LOOKS.lock().unwrap_or_else(PoisonError::into_inner);
    let woken = WOKEN.wait_while(looks, |()| is_idle());
    drop(woken.unwrap_or_else(PoisonError::into_inner));
}

/// The idle policy of a thread.
pub(crate) struct Wait;

impl Idle for Wait {
    fn wait(&mut self, cx: &IdleContext<'_>) {
        wait_while(|| cx.is_idle());
    }
}
