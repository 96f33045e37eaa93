//! What a kind of device is to its transport.

use std::os::fd::BorrowedFd;

use super::request::{BrokenRequest, Request};

/// Whether a request can be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Now,
    /// It stays in its queue until the device is notified again, or its source has news.
    Later,
    /// Not known yet: ask again.
    LookAgain,
}

/// A kind of device. It is called by one thread at a time.
pub(super) trait VirtioDevice: Send {
    /// The kind's number (virtio 1.2, 5).
    fn id(&self) -> u32;

    /// The features that it offers, besides those of the transport, as bits.
    fn features(&self) -> u64 {
        0
    }

    /// The largest size of each of its queues: powers of two, at most
    /// [`MAX_QUEUE_SIZE`](super::request::MAX_QUEUE_SIZE).
    fn queue_sizes(&self) -> &[u16];

    /// Its configuration, which the driver can only read.
    fn config(&self) -> &[u8] {
        &[]
    }

    /// Whether the configuration has changed since the last call.
    fn take_config_change(&mut self) -> bool {
        false
    }

    /// What the device reads from and writes to without waiting: when it can, after it could not,
    /// all queues are served.
    fn source(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Forgets the driver: it has reset the device, or has broken the rules.
    fn reset(&mut self) {}

    /// Does what is left to do without a driver: it is called instead of [`answer`](Self::answer)
    /// while none lets the device run.
    fn rest(&mut self) {}

    /// Whether serving a queue has found, since the last call, what may let others be served.
    fn take_news(&mut self) -> bool {
        false
    }

    /// Whether a request of this queue could be answered.
    fn answer(&mut self, _queue: usize) -> Answer {
        Answer::Now
    }

    /// Serves a request of this queue, and returns how many bytes it has written to its buffers,
    /// from the first on.
    ///
    /// # Errors
    ///
    /// The request leaves no room for an answer.
    fn serve(&mut self, queue: usize, request: Request<'_>) -> Result<u32, BrokenRequest>;
}
