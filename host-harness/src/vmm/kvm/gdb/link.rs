//! The connection to a debugger, whose bytes are not trusted.

use std::{
    io::{self, ErrorKind, Read},
    net::TcpStream,
    os::fd::AsFd,
    time::Duration,
};

use gdbstub::conn::Connection;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::vmm::send::send_all;

/// The longest answer. A debugger asks for no more than the longest request can hold, 4 KiB.
pub(super) const MAX_ANSWER: usize = 64 << 10;

pub(super) struct Link {
    stream: TcpStream,
    out: Vec<u8>,
    has_answered: bool,
}

impl Link {
    pub(super) fn new(stream: TcpStream) -> io::Result<Self> {
        // The listener does not block, and its connections may have inherited that.
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            out: Vec::new(),
            has_answered: false,
        })
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Returns whether a request was answered, so that the peer is known to speak the protocol.
    pub(super) fn has_answered(&self) -> bool {
        self.has_answered
    }

    /// Reads some bytes, which must be there.
    pub(super) fn read<'b>(&mut self, buffer: &'b mut [u8]) -> io::Result<&'b [u8]> {
        match self.stream.read(buffer)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            length => Ok(&buffer[..length]),
        }
    }
}

impl Connection for Link {
    type Error = io::Error;

    fn write(&mut self, byte: u8) -> io::Result<()> {
        if self.out.len() == MAX_ANSWER {
            return Err(ErrorKind::FileTooLarge.into());
        }
        self.out.push(byte);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        // An answer begins with a dollar sign. An acknowledgement alone has none.
        self.has_answered |= self.out.contains(&b'$');
        let sent = send_all(&self.stream, &self.out);
        self.out.clear();
        sent
    }
}

/// Waits until the socket can be read, for at most this long. A signal ends the wait early.
pub(super) fn is_readable(socket: impl AsFd, limit: Duration) -> bool {
    let mut sockets = [PollFd::new(&socket, PollFlags::IN)];
    let limit = Timespec::try_from(limit).unwrap_or_default();
    poll(&mut sockets, Some(&limit)).is_ok_and(|ready| ready > 0)
}
