//! The requests that wait for room in a queue.

use alloc::collections::VecDeque;
use core::{mem::swap, task::Waker};

/// In the order in which they came.
#[derive(Default)]
pub(crate) struct Waiting(VecDeque<Request>);

struct Request {
    id: u64,
    /// `None` while it was woken and has not been polled since.
    waker: Option<Waker>,
}

impl Waiting {
    /// Whether no other request comes before this one.
    pub(crate) fn is_next(&self, id: u64) -> bool {
        self.0.front().is_none_or(|first| first.id == id)
    }

    /// Adds a request, if it is not there. A waker that is not needed is left in `waker`.
    pub(crate) fn add(&mut self, id: u64, waker: &mut Option<Waker>) {
        match self.0.iter_mut().find(|request| request.id == id) {
            Some(request) => swap(&mut request.waker, waker),
            None => self.0.push_back(Request {
                id,
                waker: waker.take(),
            }),
        }
    }

    #[cfg(feature = "vsock")]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Removes a request, if it is there.
    pub(crate) fn remove(&mut self, id: u64) -> Option<Waker> {
        let position = self.0.iter().position(|request| request.id == id)?;
        self.0.remove(position)?.waker
    }

    /// The waker of the first one.
    pub(crate) fn take_first_waker(&mut self) -> Option<Waker> {
        self.0.front_mut()?.waker.take()
    }

    /// The first one, and its waker.
    pub(crate) fn first(&mut self) -> Option<(u64, Option<Waker>)> {
        let first = self.0.front_mut()?;
        Some((first.id, first.waker.take()))
    }

    /// The waker of any.
    pub(crate) fn take_waker(&mut self) -> Option<Waker> {
        self.0.iter_mut().find_map(|request| request.waker.take())
    }
}
