//! Sockets between a guest and its host: [`Vsock`].

mod connection;
mod credit;
mod deferred;
mod error;
mod limits;
mod listener;
mod listening;
mod packet;
mod runner;
mod sockets;
mod stream;
mod table;

use alloc::sync::Arc;
use core::fmt;

use virtio_drivers::transport::Transport;

use crate::{Attached, Interrupt, SetupError};
pub use error::{ConnectError, ListenError, Stopped, StreamError};
pub use limits::Limits;
pub use listener::{Accept, Listener};
pub use runner::Runner;
use sockets::Sockets;
pub use stream::{Stream, StreamReader, StreamWriter};

/// The CID of the host.
pub const HOST: u32 = 2;

/// Stream sockets (virtio-vsock): connections between programs of the guest and of its host, which
/// need no network. A clone is the same sockets.
///
/// A [`Runner`] moves the packets, in a task of its own.
///
/// # Examples
///
/// ```no_run
/// use dormir_virtio::vsock::{Stream, StreamError, Vsock};
/// use embedded_io_async::{Read, Write};
///
/// /// Serves one connection after another.
/// async fn serve(vsock: Vsock) -> Result<(), Box<dyn core::error::Error>> {
///     let listener = vsock.listen(5000)?;
///     loop {
///         let stream = listener.accept().await?;
///         // A peer that resets its connection ends only that.
///         if let Err(error) = echo(stream).await {
///             println!("{error}");
///         }
///     }
/// }
///
/// /// Sends back what comes.
/// async fn echo(mut stream: Stream) -> Result<(), StreamError> {
///     let mut buffer = [0; 64];
///     loop {
///         let length = stream.read(&mut buffer).await?;
///         if length == 0 {
///             return Ok(());
///         }
///         stream.write_all(&buffer[..length]).await?;
///     }
/// }
/// ```
#[derive(Clone)]
pub struct Vsock {
    sockets: Arc<Sockets>,
}

impl Vsock {
    /// Sets the device up, and gives it buffers for what it receives.
    ///
    /// # Errors
    ///
    /// See [`SetupError`].
    pub fn new<T: Transport, I: Interrupt>(
        device: Attached<T, I>,
    ) -> Result<(Self, Runner<T, I>), SetupError> {
        Self::with_limits(device, Limits::default())
    }

    /// As [`new`](Self::new), with limits of its own.
    ///
    /// # Errors
    ///
    /// See [`SetupError`].
    pub fn with_limits<T: Transport, I: Interrupt>(
        device: Attached<T, I>,
        limits: Limits,
    ) -> Result<(Self, Runner<T, I>), SetupError> {
        let (sockets, runner) = Runner::new(device, limits)?;
        Ok((Self { sockets }, runner))
    }

    /// The number of this guest, its CID. The host can change it when it moves the guest.
    #[must_use]
    pub fn cid(&self) -> u32 {
        self.sockets.with(|table| table.cid)
    }

    /// Connects to a port of the machine with this CID, mostly [`HOST`].
    ///
    /// # Errors
    ///
    /// See [`ConnectError`]. A peer that does not answer is no error: limit the time.
    ///
    /// # Cancel safety
    ///
    /// When it is dropped before it has ended, the connection is reset.
    pub async fn connect(&self, cid: u32, port: u32) -> Result<Stream, ConnectError> {
        let id = self.sockets.with(|table| table.connect(cid, port))?;
        let stream = Stream::new(Arc::clone(&self.sockets), id);
        stream.connected().await?;
        Ok(stream)
    }

    /// Listens on a port.
    ///
    /// # Errors
    ///
    /// See [`ListenError`].
    pub fn listen(&self, port: u32) -> Result<Listener, ListenError> {
        self.sockets.with(|table| table.listen(port))?;
        Ok(Listener::new(Arc::clone(&self.sockets), port))
    }

    #[cfg(test)]
    pub(crate) fn is_locked(&self) -> bool {
        self.sockets.is_locked()
    }

    /// How many connections there are, how many have something to send, and how many resets wait.
    #[cfg(test)]
    pub(crate) fn sizes(&self) -> [usize; 3] {
        self.sockets.with(|table| table.sizes())
    }
}

impl fmt::Debug for Vsock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vsock")
            .field("cid", &self.cid())
            .finish_non_exhaustive()
    }
}
