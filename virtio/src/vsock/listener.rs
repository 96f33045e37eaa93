//! A port that is listened on, as its user has it.

use alloc::sync::Arc;
use core::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use super::{error::Stopped, sockets::Sockets, stream::Stream};

/// Takes the connections to a port. When it is dropped, those that were not accepted are reset.
pub struct Listener {
    sockets: Arc<Sockets>,
    port: u32,
}

impl Listener {
    pub(super) fn new(sockets: Arc<Sockets>, port: u32) -> Self {
        Self { sockets, port }
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u32 {
        self.port
    }

    /// Waits for the next connection, and takes it. Several tasks may wait: each connection wakes
    /// one of them. So poll this when its task is woken, or drop it.
    ///
    /// # Errors
    ///
    /// [`Stopped`].
    ///
    /// # Cancel safety
    ///
    /// When it is dropped before it has ended, no connection is lost.
    pub fn accept(&self) -> Accept<'_> {
        let id = self.sockets.with(|table| table.new_id());
        Accept { listener: self, id }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.sockets.with(|table| table.stop_listening(self.port));
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

/// The future of [`Listener::accept`].
#[derive(Debug)]
#[must_use = "it does nothing unless it is awaited"]
pub struct Accept<'a> {
    listener: &'a Listener,
    id: u64,
}

impl Future for Accept<'_> {
    type Output = Result<Stream, Stopped>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Listener { sockets, port } = self.listener;
        let mut waker = Some(cx.waker().clone());
        let poll = sockets.with(|table| table.accept(*port, self.id, &mut waker));
        poll.map_ok(|id| Stream::new(Arc::clone(sockets), id))
    }
}

impl Drop for Accept<'_> {
    fn drop(&mut self) {
        let Listener { sockets, port } = self.listener;
        sockets.with(|table| table.stop_accepting(*port, self.id));
    }
}
