//! [`run`]: the guest's host calls over a connection.

use core::{
    fmt,
    future::{Future, poll_fn},
    pin::pin,
    task::{Context, Poll},
};

use dormir_hyperlight_protocol::{FromHost, MAX_MESSAGE, frame, guest::LinkError};
use embedded_io_async::{ErrorType, Read, ReadExactError, Write};
use std_alloc::vec::Vec;

use super::{
    connected::Connected,
    events,
    table::{awaits_events, wake, with_table},
};
use crate::executor::yield_now;

/// Why there is no connection to the host any more. `E` is the error of the connection itself.
///
/// # Examples
///
/// ```no_run
/// # use dormir_guest as _;
/// use dormir::host_calls::{self, ConnectionError};
/// use embedded_io_async::{Read, Write};
///
/// /// Carries calls until the host has nothing more to do with this guest.
/// async fn connect<R: Read, W: Write<Error = R::Error>>(
///     reader: R,
///     writer: W,
/// ) -> Result<(), ConnectionError<R::Error>> {
///     match host_calls::run(reader, writer).await {
///         ConnectionError::Closed => Ok(()),
///         error => Err(error),
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ConnectionError<E> {
    /// The guest has another connection, which goes on.
    InUse,
    /// The host has closed the connection.
    Closed,
    /// Reading or writing failed.
    Io(E),
    /// The host sent a message that is longer than any may be.
    TooLong,
    /// The heap has no memory for a message.
    NoMemory,
    /// The host sent what is no reply.
    Unsound,
    /// The host has ended the guest's calls.
    Cancelled,
    /// The host's runtime does not run the guest's calls.
    Stalled,
}

impl<E: fmt::Display> fmt::Display for ConnectionError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse => f.write_str(
                "the guest has a connection for its host calls already: run one at a time",
            ),
            Self::Closed => f.write_str("the host has closed the connection for host calls"),
            Self::Io(error) => write!(f, "the connection for host calls failed: {error}"),
            Self::TooLong => write!(
                f,
                "the host sent a message of more than {MAX_MESSAGE} bytes: see that \
                 dormir-hyperlight-host is at the other end, and nothing else writes there"
            ),
            Self::NoMemory => f.write_str(
                "there is no memory for a message of the host: give the guest more, or lower \
                 `set_result_budget`",
            ),
            Self::Unsound => LinkError::Unsound.fmt(f),
            Self::Cancelled => LinkError::Cancelled.fmt(f),
            Self::Stalled => LinkError::Stalled.fmt(f),
        }
    }
}

impl<E: core::error::Error> core::error::Error for ConnectionError<E> {}

impl<E> From<LinkError> for ConnectionError<E> {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Unsound => Self::Unsound,
            LinkError::Cancelled => Self::Cancelled,
            LinkError::Stalled => Self::Stalled,
        }
    }
}

/// Sends the guest's host calls over a connection, and takes the host's replies, until the
/// connection ends. Returns why.
///
/// The connection is anything that carries bytes whole and in order to a `Host::serve` of the crate
/// dormir-hyperlight-host: a port of a virtio console, a vsock, TCP. Spawn this as a task, or poll
/// it beside the program's other futures.
///
/// Calls that are made before are sent when it begins. When the connection ends, all calls end as
/// [`CallError::Lost`](super::CallError::Lost), and so do new ones, until this is called again, with
/// another connection: where the last one was left is not known. An awaited
/// [`event`](super::event) does not end, since the next connection may bring its signal: select
/// it with this.
///
/// Two messages of 42 KiB at most are under way in each direction. What does not fit into the
/// connection waits in the guest, as do further calls, of which there are at most 1,024.
///
/// # Cancel safety
///
/// Dropping the future ends the connection, as above.
///
/// # Errors
///
/// What it returns: see [`ConnectionError`].
///
/// # Examples
///
/// ```no_run
/// # use dormir_guest as _;
/// use dormir::host_calls;
/// use embedded_io_async::{Read, Write};
///
/// /// Of a console's halves, say, with the program's part that calls functions beside it.
/// async fn connect<R: Read, W: Write<Error = R::Error>>(reader: R, writer: W) {
///     let error = host_calls::run(reader, writer).await;
///     // To the console, say.
///     let _sentence = error;
/// }
/// ```
pub fn run<R, W>(reader: R, writer: W) -> impl Future<Output = ConnectionError<R::Error>>
where
    R: Read,
    W: Write<Error = R::Error>,
{
    let connection = Connection::begin();
    async move {
        let Some(_connection) = connection else {
            return ConnectionError::InUse;
        };
        let mut sending = pin!(send_all(writer));
        let mut receiving = pin!(receive_all(reader));
        poll_fn(|cx| match receiving.as_mut().poll(cx) {
            Poll::Ready(error) => Poll::Ready(error),
            Poll::Pending => sending.as_mut().poll(cx),
        })
        .await
    }
}

/// The connection. Dropping it ends it.
struct Connection;

impl Connection {
    /// `None` if there is one.
    fn begin() -> Option<Self> {
        with_table(|table| {
            if table.connection.is_some() {
                return None;
            }
            table.connection = Some(Connected::new());
            table.calls.connected();
            Some(Self)
        })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let connection = with_table(|table| {
            table.calls.disconnected();
            table.connection.take()
        });
        drop(connection);
        wake();
    }
}

/// Sends what is queued, whenever there is something.
async fn send_all<W: Write>(mut writer: W) -> ConnectionError<W::Error> {
    loop {
        poll_fn(poll_due).await;
        // Tasks that are ready, perhaps by what has just come, have more to send.
        yield_now().await;
        let batch = with_table(|table| {
            let connection = table.connection.as_mut()?;
            Some(connection.link.batch(&mut table.calls, awaits_events()))
        });
        wake();
        let Some(batch) = batch else {
            return ConnectionError::Closed;
        };
        let sent = match writer.write_all(&batch).await {
            Ok(()) => writer.flush().await,
            error => error,
        };
        if let Err(error) = sent {
            return ConnectionError::Io(error);
        }
    }
}

/// Ready when something is to be sent.
fn poll_due(cx: &mut Context<'_>) -> Poll<()> {
    let waker = cx.waker().clone();
    let (poll, unused) = with_table(|table| match &mut table.connection {
        Some(it) if !it.link.is_due(&table.calls, awaits_events()) => {
            (Poll::Pending, it.sender.replace(waker))
        }
        _ => (Poll::Ready(()), Some(waker)),
    });
    drop(unused);
    poll
}

/// Takes what comes.
async fn receive_all<R: Read>(mut reader: R) -> ConnectionError<R::Error> {
    let mut message = Vec::new();
    loop {
        if let Err(error) = receive(&mut reader, &mut message).await {
            return error;
        }
    }
}

/// Takes the next message. `message` is a place for it, which is used again.
async fn receive<R: Read>(
    reader: &mut R,
    message: &mut Vec<u8>,
) -> Result<(), ConnectionError<R::Error>> {
    let mut prefix = frame::Prefix::default();
    read_exact(reader, &mut prefix).await?;
    let length = frame::length(prefix).ok_or(ConnectionError::TooLong)?;
    message.clear();
    let has_memory = message.try_reserve(length);
    has_memory.map_err(|_| ConnectionError::NoMemory)?;
    message.resize(length, 0);
    read_exact(reader, message).await?;
    let (taken, sender) = with_table(|table| {
        let Some(it) = &mut table.connection else {
            return (Err(LinkError::Cancelled), None);
        };
        let taken = it.link.take(&mut table.calls, message);
        (taken, it.due(&table.calls, awaits_events()))
    });
    wake();
    if let Some(sender) = sender {
        sender.wake();
    }
    for record in taken?.records() {
        if let FromHost::Signal { event, count } = record {
            events::signal(event, count);
        }
    }
    Ok(())
}

/// Fills `bytes`.
async fn read_exact<R: Read>(
    reader: &mut R,
    bytes: &mut [u8],
) -> Result<(), ConnectionError<<R as ErrorType>::Error>> {
    reader.read_exact(bytes).await.map_err(|error| match error {
        ReadExactError::UnexpectedEof => ConnectionError::Closed,
        ReadExactError::Other(error) => ConnectionError::Io(error),
    })
}
