//! Foreign code: wakers that are not dormir's.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    task::{RawWaker, RawWakerVTable, Waker},
};

use super::{no_section_is_entered, table};
use crate::time::testing::{at, queue};

/// Clone, wake and drop of a foreign waker may take any time.
#[test]
fn foreign_code_runs_outside_of_critical_sections() {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    fn called() {
        CALLS.fetch_add(1, Ordering::SeqCst);
        no_section_is_entered();
    }
    static FUNCTIONS: RawWakerVTable = RawWakerVTable::new(
        |data| {
            called();
            RawWaker::new(data, &FUNCTIONS)
        },
        |_| called(),
        |_| called(),
        |_| called(),
    );
    let (queue, clock) = queue();
    let table = table::<1>();
    let mut calls = 0;
    let mut ask = |number: usize, nanos, expected: usize| {
        // SAFETY: the functions ignore the data.
        let waker = unsafe { Waker::new(std::ptr::without_provenance(number), &FUNCTIONS) };
        // SAFETY: all calls are with this queue.
        unsafe { table.schedule(queue, at(nanos), &waker) };
        std::mem::forget(waker);
        calls += expected;
        assert_eq!(CALLS.load(Ordering::SeqCst), calls);
    };
    // Cloned.
    ask(1, 10, 1);
    // Cloned, and dropped again.
    ask(1, 5, 2);
    // Cloned; the other one is woken.
    ask(2, 10, 2);
    queue.turn();
    clock.advance_to(at(10), queue);
    queue.turn();
    calls += 1;
    assert_eq!(CALLS.load(Ordering::SeqCst), calls, "woken");
    #[cfg(feature = "alloc")]
    {
        // SAFETY: the functions ignore the data.
        let waker = unsafe { Waker::new(std::ptr::without_provenance(3), &FUNCTIONS) };
        // SAFETY: all calls are with this queue.
        unsafe { table.schedule(queue, at(20), &waker) };
        std::mem::forget(waker);
        // SAFETY: the same.
        unsafe { table.evict_all(queue) };
        calls += 2;
        assert_eq!(CALLS.load(Ordering::SeqCst), calls, "cloned, and woken");
        assert_eq!(queue.turn(), None);
    }
}
