//! What can go wrong.

use core::fmt;

use embedded_io_async::ErrorKind;

/// The reason why a connection was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectError {
    /// Nothing listens on this port, or there is no such peer, or the virtual machine was moved
    /// meanwhile.
    Refused,
    /// There are as many connections as [`Limits::connections`](super::Limits::connections).
    TooManyConnections,
    /// See [`Stopped`].
    Stopped,
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "the peer refused the connection: check that it listens on the port",
            Self::TooManyConnections => {
                "there are too many connections: drop some, or raise the limit"
            }
            Self::Stopped => return Stopped.fmt(f),
        })
    }
}

impl core::error::Error for ConnectError {}

/// The reason why a port cannot be listened on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListenError {
    /// Another listener has the port.
    InUse,
    /// The number stands for any port (`u32::MAX`).
    NoPort,
    /// See [`Stopped`].
    Stopped,
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InUse => "another listener has the port: drop it, or choose another port",
            Self::NoPort => "the number 0xffffffff stands for any port: choose another one",
            Self::Stopped => return Stopped.fmt(f),
        })
    }
}

impl core::error::Error for ListenError {}

/// The reason why a stream fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamError {
    /// The peer reset the connection, or broke the protocol, or all connections were ended because
    /// the virtual machine was moved.
    Reset,
    /// A write after `shutdown`, or to a peer that receives nothing any more.
    Closed,
    /// See [`Stopped`].
    Stopped,
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reset => "the connection was reset: connect again",
            Self::Closed => "nothing can be written: this side or the peer has ended that",
            Self::Stopped => return Stopped.fmt(f),
        })
    }
}

impl core::error::Error for StreamError {}

impl embedded_io_async::Error for StreamError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Reset => ErrorKind::ConnectionReset,
            Self::Closed => ErrorKind::BrokenPipe,
            Self::Stopped => ErrorKind::Other,
        }
    }
}

/// The [`Runner`](super::Runner) was dropped, or its device broke the protocol. All connections
/// have ended. Connect the device again, and make new sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped;

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the runner of the sockets was dropped, or its device failed: make new ones")
    }
}

impl core::error::Error for Stopped {}
