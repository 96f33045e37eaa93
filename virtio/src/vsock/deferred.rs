//! Wakers, which are foreign code.

use alloc::vec::Vec;
use core::task::Waker;

/// Wakers that are woken, or only dropped, once the connections are unlocked.
#[derive(Default)]
pub(super) struct Deferred {
    woken: Vec<Waker>,
    unused: Vec<Waker>,
}

impl Deferred {
    pub(super) fn wake(&mut self, waker: &mut Option<Waker>) {
        self.woken.extend(waker.take());
    }

    pub(super) fn drop(&mut self, waker: &mut Option<Waker>) {
        self.unused.extend(waker.take());
    }

    pub(super) fn run(self) {
        drop(self.unused);
        self.woken.into_iter().for_each(Waker::wake);
    }
}
