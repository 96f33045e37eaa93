//! A waker that is kept for somebody who asked with it.

use core::{
    ptr,
    task::{RawWakerVTable, Waker},
};

/// A waker's clone, and the functions of the waker: the clone may have another copy of them.
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

    /// By what it is looked for. The data's address means the same as long as a clone has it, so it
    /// must be the clone's.
    pub(super) fn address(&self) -> usize {
        self.clone.data().addr()
    }

    /// Whether it would wake the same as a waker with the same data. The functions may be the first
    /// waker's too.
    pub(super) fn has_functions_of(&self, other: &Waker) -> bool {
        ptr::eq(self.clone.vtable(), other.vtable()) || ptr::eq(self.functions, other.vtable())
    }

    pub(super) fn wake(self) {
        self.clone.wake();
    }
}
