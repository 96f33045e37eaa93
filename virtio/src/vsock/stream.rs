//! A connection, as its user has it.

use alloc::sync::Arc;
use core::{fmt, future::poll_fn};

use embedded_io_async::{ErrorType, Read, Write};

use super::{
    connection::Connection,
    error::{ConnectError, StreamError},
    packet::Key,
    sockets::Sockets,
};

/// A connection, for one task that reads and one that writes.
///
/// A `read` returns 0 when the other side has ended its half, and all that it sent was read. A
/// `write` ends when its bytes are in the connection's buffer; `flush` when the device has sent all
/// of them. That the other side has read them is known only by an answer of it.
///
/// When a stream is dropped, what was written is still sent, for as long as the runner runs, and
/// what came and was not read is lost. But when there are as many connections as
/// [`Limits::connections`](super::Limits::connections), a new one takes the place of one that was
/// dropped, which is reset: one that has sent all, or else one that has not. Flush before the drop
/// if all must be sent, and before the guest ends.
///
/// # Cancel safety
///
/// A `read` or `write` that is dropped before it has ended has taken no bytes.
pub struct Stream {
    sockets: Arc<Sockets>,
    id: u64,
    key: Key,
}

impl Stream {
    pub(super) fn new(sockets: Arc<Sockets>, id: u64) -> Self {
        let key = sockets.with(|table| table.change(id, |connection, _| connection.key));
        Self { sockets, id, key }
    }

    /// The CID of the other side.
    #[must_use]
    pub fn peer_cid(&self) -> u32 {
        self.key.peer_cid
    }

    /// The port of the other side.
    #[must_use]
    pub fn peer_port(&self) -> u32 {
        self.key.peer_port
    }

    /// The port of this side.
    #[must_use]
    pub fn local_port(&self) -> u32 {
        self.key.local_port
    }

    /// The halves.
    pub fn split(&mut self) -> (StreamReader<'_>, StreamWriter<'_>) {
        (StreamReader(self), StreamWriter(self))
    }

    /// Ends this side's half: the other side reads what was written, and then the end. Later writes
    /// fail. Reading goes on.
    pub fn shutdown(&mut self) {
        self.shut_down();
    }

    /// The bytes of memory for what came, and for what is to be sent.
    #[cfg(test)]
    pub(crate) fn capacities(&self) -> [usize; 2] {
        self.change(|connection| connection.capacities())
    }

    fn change<R>(&self, change: impl FnOnce(&mut Connection) -> R) -> R {
        let Self { sockets, id, .. } = self;
        sockets.with(|table| table.change(*id, |connection, _| change(connection)))
    }

    pub(super) async fn connected(&self) -> Result<(), ConnectError> {
        poll_fn(|cx| {
            // What is left in it is dropped when the connections are not locked. So below.
            let mut waker = Some(cx.waker().clone());
            self.change(|connection| connection.connected(&mut waker))
        })
        .await
    }

    async fn read_half(&self, bytes: &mut [u8]) -> Result<usize, StreamError> {
        if bytes.is_empty() {
            return Ok(0);
        }
        poll_fn(|cx| {
            let mut waker = Some(cx.waker().clone());
            self.change(|connection| connection.read(bytes, &mut waker))
        })
        .await
    }

    async fn write_half(&self, bytes: &[u8]) -> Result<usize, StreamError> {
        if bytes.is_empty() {
            return Ok(0);
        }
        poll_fn(|cx| {
            let mut waker = Some(cx.waker().clone());
            self.change(|connection| connection.write(bytes, &mut waker))
        })
        .await
    }

    async fn flush_half(&self) -> Result<(), StreamError> {
        poll_fn(|cx| {
            let mut waker = Some(cx.waker().clone());
            self.sockets
                .with(|table| table.flushed(self.id, &mut waker))
        })
        .await
    }

    fn shut_down(&self) {
        self.change(Connection::shut_down);
    }
}

/// What was written is still sent.
impl Drop for Stream {
    fn drop(&mut self) {
        self.sockets.with(|table| {
            table.change(self.id, |connection, deferred| connection.release(deferred))
        });
    }
}

impl ErrorType for Stream {
    type Error = StreamError;
}

impl Read for Stream {
    async fn read(&mut self, bytes: &mut [u8]) -> Result<usize, StreamError> {
        self.read_half(bytes).await
    }
}

impl Write for Stream {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, StreamError> {
        self.write_half(bytes).await
    }

    async fn flush(&mut self) -> Result<(), StreamError> {
        self.flush_half().await
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("peer_cid", &self.key.peer_cid)
            .field("peer_port", &self.key.peer_port)
            .field("local_port", &self.key.local_port)
            .finish_non_exhaustive()
    }
}

/// The half of a [`Stream`] that reads.
#[derive(Debug)]
pub struct StreamReader<'a>(&'a Stream);

impl ErrorType for StreamReader<'_> {
    type Error = StreamError;
}

impl Read for StreamReader<'_> {
    async fn read(&mut self, bytes: &mut [u8]) -> Result<usize, StreamError> {
        self.0.read_half(bytes).await
    }
}

/// The half of a [`Stream`] that writes.
#[derive(Debug)]
pub struct StreamWriter<'a>(&'a Stream);

impl StreamWriter<'_> {
    /// As [`Stream::shutdown`].
    pub fn shutdown(&mut self) {
        self.0.shut_down();
    }
}

impl ErrorType for StreamWriter<'_> {
    type Error = StreamError;
}

impl Write for StreamWriter<'_> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, StreamError> {
        self.0.write_half(bytes).await
    }

    async fn flush(&mut self) -> Result<(), StreamError> {
        self.0.flush_half().await
    }
}
