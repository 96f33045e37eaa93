//! [`Host::serve`]: a guest at the other end of a connection.

use std::{
    fmt,
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    os::unix::net::UnixStream,
    panic::resume_unwind,
    sync::{Arc, atomic::Ordering},
    thread,
    time::Duration,
};

use dormir_hyperlight_protocol::{Batch, MAX_MESSAGE, frame};

use crate::{Host, host::HostShared, inbox::Inbox, state::HostState};

/// A stream of bytes each way, to a guest. What one end sends arrives whole and in order, or the
/// connection ends.
///
/// For what the standard library has no type for, such as a vsock, implement it.
pub trait Connection: Read + Write + Send + Sized {
    /// Returns a second handle of the same connection, for another thread.
    ///
    /// # Errors
    ///
    /// There can be no second handle.
    fn try_clone(&self) -> io::Result<Self>;

    /// Ends both directions: reads and writes of all handles return, also those that wait.
    ///
    /// # Errors
    ///
    /// It has ended already, for example.
    fn shutdown(&self) -> io::Result<()>;
}

impl Connection for UnixStream {
    fn try_clone(&self) -> io::Result<Self> {
        Self::try_clone(self)
    }

    fn shutdown(&self) -> io::Result<()> {
        Self::shutdown(self, Shutdown::Both)
    }
}

impl Connection for TcpStream {
    fn try_clone(&self) -> io::Result<Self> {
        Self::try_clone(self)
    }

    fn shutdown(&self) -> io::Result<()> {
        Self::shutdown(self, Shutdown::Both)
    }
}

/// Why a guest is not served any more, but by the end of its connection.
#[derive(Debug)]
#[non_exhaustive]
pub enum ServeError {
    /// The [`Host`] belongs to a sandbox or to another connection.
    InUse,
    /// The connection failed, or cannot be used.
    Io(io::Error),
    /// The connection ended within a message.
    Cut,
    /// The guest sent a message that is longer than any may be.
    TooLong,
    /// The guest sent what is no message.
    Unsound,
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse => f.write_str(
                "this Host already belongs to a sandbox or a connection: make a Host for each \
                 guest",
            ),
            Self::Io(error) => write!(
                f,
                "the connection to the guest failed ({error}): see what is at its other end"
            ),
            Self::Cut => f.write_str(
                "the connection to the guest ended within a message: see how the guest ended",
            ),
            Self::TooLong => write!(
                f,
                "the guest sent a message of more than {MAX_MESSAGE} bytes: give it a connection \
                 to which nothing else writes, and the dormir of this version"
            ),
            Self::Unsound => f.write_str(
                "the guest sent what is no message: give it a connection to which nothing else \
                 writes, a new one for each run, and the dormir of this version",
            ),
        }
    }
}

impl std::error::Error for ServeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl Host {
    /// Serves a guest that is at the other end of `connection`, with `dormir::host_calls::run`:
    /// runs the functions that it calls, until it ends the connection. Then all its calls have
    /// ended. The guest may run in any VMM.
    ///
    /// This takes the calling thread and one more, which reads. To end it from elsewhere, shut the
    /// connection down by a clone. After the end, this `Host` may serve another connection.
    ///
    /// As in a sandbox, the guest is not trusted: [`Limits`](crate::Limits) bounds what its calls
    /// hold, and the messages are bounded too.
    ///
    /// # Errors
    ///
    /// See [`ServeError`]. The connection is shut down then, as it is at every other end.
    ///
    /// # Panics
    ///
    /// If the connection does.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{os::unix::net::UnixStream, thread};
    ///
    /// use dormir_hyperlight_host::Host;
    ///
    /// // The other end is the guest's.
    /// let (ours, guests) = UnixStream::pair()?;
    /// let host = Host::new().async_function("reverse", |mut bytes| async move {
    ///     bytes.reverse();
    ///     Ok::<_, std::convert::Infallible>(bytes)
    /// });
    /// let serving = thread::spawn(move || host.serve(ours));
    /// drop(guests);
    /// serving.join().expect("it does not panic")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn serve(&self, connection: impl Connection) -> Result<(), ServeError> {
        let connection = Open(connection);
        let shared = &*self.shared;
        if shared.is_in_use.swap(true, Ordering::Relaxed) {
            return Err(ServeError::InUse);
        }
        let _serving = Serving(shared);
        let reader = Open(connection.0.try_clone().map_err(ServeError::Io)?);
        let state = &shared.state;
        state.open_inbox();
        thread::scope(|scope| {
            let reading = thread::Builder::new().name("dormir-connection".into());
            let reading = reading
                .spawn_scoped(scope, || read_all(state, reader))
                .map_err(ServeError::Io)?;
            let answered = answer_all(state, connection);
            let read = reading.join().unwrap_or_else(|panic| resume_unwind(panic));
            answered.and(read)
        })
    }
}

impl HostState {
    /// Makes the inbox ready for another connection.
    fn open_inbox(&self) {
        self.changing().inbox = Inbox::default();
    }

    /// Nothing comes any more, and nothing is taken.
    fn close_inbox(&self) {
        self.changing().inbox.is_closed = true;
        self.notify();
    }

    /// Adds a batch, when there is room. Returns `false` if the inbox is closed.
    fn put_batch(&self, batch: Vec<u8>) -> bool {
        let mut changing = self.changing();
        while !changing.inbox.is_closed && !changing.inbox.has_room() {
            changing = self.wait_for_change(changing, Duration::MAX);
        }
        if changing.inbox.is_closed {
            return false;
        }
        changing.inbox.put(batch);
        drop(changing);
        self.notify();
        true
    }

    /// Waits for a batch; `None` once the inbox is closed.
    fn next_batch(&self) -> Option<Vec<u8>> {
        let mut changing = self.changing();
        while !changing.inbox.is_closed {
            if let Some(batch) = changing.inbox.next() {
                drop(changing);
                self.notify();
                return Some(batch);
            }
            changing = self.wait_for_change(changing, Duration::MAX);
        }
        None
    }
}

/// A connection that is served.
struct Serving<'a>(&'a HostShared);

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        self.0.state.close();
        self.0.is_in_use.store(false, Ordering::Relaxed);
    }
}

/// A handle of a connection. Dropping it shuts the connection down: the other thread may read or
/// write, and wait for what does not come.
struct Open<C: Connection>(C);

impl<C: Connection> Drop for Open<C> {
    fn drop(&mut self) {
        // It fails only if that has ended already.
        let _ = self.0.shutdown();
    }
}

/// Dropping it closes the inbox.
struct OpenInbox<'a>(&'a HostState);

impl Drop for OpenInbox<'_> {
    fn drop(&mut self) {
        self.0.close_inbox();
    }
}

/// Reads batches to the end of the connection.
fn read_all(state: &HostState, mut connection: Open<impl Connection>) -> Result<(), ServeError> {
    let _inbox = OpenInbox(state);
    while let Some(batch) = read_message(&mut connection.0)? {
        if !state.put_batch(batch) {
            break;
        }
    }
    Ok(())
}

/// Reads a message; `None` at the end of the connection.
fn read_message(connection: &mut impl Connection) -> Result<Option<Vec<u8>>, ServeError> {
    let mut prefix = frame::Prefix::default();
    let length = read_up_to(connection, &mut prefix)?;
    if length == 0 {
        return Ok(None);
    }
    if length < prefix.len() {
        return Err(ServeError::Cut);
    }
    let mut message = vec![0; frame::length(prefix).ok_or(ServeError::TooLong)?];
    if read_up_to(connection, &mut message)? < message.len() {
        return Err(ServeError::Cut);
    }
    Ok(Some(message))
}

/// Fills `bytes`, or what the end of the connection leaves of them. Returns how many.
fn read_up_to(connection: &mut impl Connection, bytes: &mut [u8]) -> Result<usize, ServeError> {
    let mut length = 0;
    while length < bytes.len() {
        match connection.read(&mut bytes[length..]) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // The other end was closed with something unread.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => return Err(ServeError::Io(error)),
        }
    }
    Ok(length)
}

/// Answers batches, until no more come.
fn answer_all(
    state: &Arc<HostState>,
    mut connection: Open<impl Connection>,
) -> Result<(), ServeError> {
    let _inbox = OpenInbox(state);
    let connection = &mut connection.0;
    while let Some(bytes) = state.next_batch() {
        let batch = Batch::parse(&bytes).ok_or(ServeError::Unsound)?;
        let reply = state.answer(&batch);
        let message = [&frame::prefix(reply.len())[..], &reply].concat();
        let sent = connection.write_all(&message);
        match sent.and_then(|()| connection.flush()) {
            Ok(()) => {}
            // It has ended, and the reader knows how.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
                ) =>
            {
                break;
            }
            Err(error) => return Err(ServeError::Io(error)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
