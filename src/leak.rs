//! Statics that tests make while they run.

use std::{
    boxed::Box,
    sync::{Mutex, atomic::AtomicPtr},
    vec::Vec,
};

/// A static of the test's own. It stays reachable, so that leak checkers report only what a test leaks
/// besides.
pub(crate) fn leak<T: Sync + 'static>(value: T) -> &'static T {
    static KEPT: Mutex<Vec<AtomicPtr<()>>> = Mutex::new(Vec::new());
    let pointer = Box::into_raw(Box::new(value));
    KEPT.lock()
        .unwrap()
        .push(AtomicPtr::new(pointer.cast::<()>()));
    // SAFETY: the box is never freed, nor changed by way of the list.
    unsafe { &*pointer }
}
