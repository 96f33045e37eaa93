//! A runtime's turn: it ends when the measured tasks have completed, whatever else there is to do.

use core::{
    cell::Cell,
    sync::atomic::{AtomicUsize, Ordering},
};

use critical_section::Mutex;

/// How many of the measured tasks have not completed yet.
static REMAINING: AtomicUsize = AtomicUsize::new(0);

/// Called when the last of them completes.
static AT_END: Mutex<Cell<fn()>> = Mutex::new(Cell::new(|| {}));

/// Starts a turn with `tasks` measured tasks.
pub(crate) fn begin(tasks: usize, at_end: fn()) {
    REMAINING.store(tasks, Ordering::Relaxed);
    critical_section::with(|cs| AT_END.borrow(cs).set(at_end));
}

/// Tells the turn that a measured task completes.
pub(crate) fn end_one() {
    let remaining = REMAINING.load(Ordering::Relaxed) - 1;
    REMAINING.store(remaining, Ordering::Relaxed);
    if remaining == 0 {
        critical_section::with(|cs| AT_END.borrow(cs).get())();
    }
}

/// Returns whether all measured tasks have completed.
pub(crate) fn is_over() -> bool {
    REMAINING.load(Ordering::Relaxed) == 0
}
