//! A runtime's turn: it ends when the tasks that are measured have ended, whatever else there is to do.

use core::{
    cell::Cell,
    sync::atomic::{AtomicUsize, Ordering},
};

use critical_section::Mutex;

/// How many of the tasks that are measured have yet to end.
static LEFT: AtomicUsize = AtomicUsize::new(0);

/// What is to be done when the last of them has.
static AT_END: Mutex<Cell<fn()>> = Mutex::new(Cell::new(|| {}));

/// A turn begins, with so many tasks that are measured.
pub(crate) fn begin(tasks: usize, at_end: fn()) {
    LEFT.store(tasks, Ordering::Relaxed);
    critical_section::with(|cs| AT_END.borrow(cs).set(at_end));
}

/// One of them ends.
pub(crate) fn end_one() {
    let left = LEFT.load(Ordering::Relaxed) - 1;
    LEFT.store(left, Ordering::Relaxed);
    if left == 0 {
        critical_section::with(|cs| AT_END.borrow(cs).get())();
    }
}

/// Whether all have ended.
pub(crate) fn is_over() -> bool {
    LEFT.load(Ordering::Relaxed) == 0
}
