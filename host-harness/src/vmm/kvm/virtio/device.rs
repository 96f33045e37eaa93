//! What a kind of device is to its transport.

use super::request::{BrokenRequest, Request};

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

    /// Whether a request of this queue could be answered now. If not, it stays in the queue until
    /// the device is notified again.
    fn has_answer(&self, _queue: usize) -> bool {
        true
    }

    /// Serves a request of this queue, and returns how many bytes it has written to its buffers,
    /// from the first on.
    ///
    /// # Errors
    ///
    /// The request leaves no room for an answer.
    fn serve(&mut self, queue: usize, request: Request<'_>) -> Result<u32, BrokenRequest>;
}
