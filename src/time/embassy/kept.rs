//! A waker that the table keeps, and how it is recognized.

use core::{
    ptr,
    task::{RawWakerVTable, Waker},
};

/// A waker's clone, and the vtable of the waker itself: the clone may have another copy of it.
pub(super) struct KeptWaker {
    clone: Waker,
    functions: &'static RawWakerVTable,
}

impl KeptWaker {
    pub(super) fn new(waker: &Waker) -> Self {
        Self {
            clone: waker.clone(),
            functions: waker.vtable(),
        }
    }

    /// The key for the search. It is the clone's data address: an address stays unique while a
    /// clone holds it.
    pub(super) fn address(&self) -> usize {
        self.clone.data().addr()
    }

    /// Whether it wakes the same task as `other`, which has the same data. `other` may have the
    /// vtable of the clone or of the original.
    pub(super) fn has_functions_of(&self, other: &Waker) -> bool {
        ptr::eq(self.clone.vtable(), other.vtable()) || ptr::eq(self.functions, other.vtable())
    }

    pub(super) fn wake(self) {
        self.clone.wake();
    }
}
