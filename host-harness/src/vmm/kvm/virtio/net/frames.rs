//! Ethernet frames on a stream socket: each after its length, in four bytes, the highest first.
//! Nothing here waits.

use std::{
    io,
    net::Shutdown,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
};

use rustix::{
    io::Errno,
    net::{RecvFlags, SendFlags, recv, send},
};

/// The longest frame that the guest is given, and that it may send: an MTU of 1500.
pub(super) const MAX_FRAME: usize = 14 + 1500;

/// The longest frame that may come. Longer ones than a guest is given are left out.
pub(super) const MAX_INCOMING: usize = 14 + 65535;

const LENGTH: usize = 4;

/// How many bytes are kept of what came, about as many as a socket keeps. The longest frame fits.
const INCOMING: usize = 256 << 10;

/// What the socket has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A whole frame, which [`Frames::take`] takes.
    Frame,
    /// No whole frame.
    Nothing,
    /// Not known yet: a frame was left out, or more may have come.
    LookAgain,
    /// Its end, or a length that cannot be.
    Closed,
}

/// What came first of what was not taken.
enum First {
    /// A whole frame of this length.
    Whole(usize),
    /// Not yet a whole frame, or nothing.
    Part,
    /// A length that cannot be.
    Broken,
}

pub(super) struct Frames {
    socket: UnixStream,
    /// What came, from `start` to `end`.
    incoming: Box<[u8]>,
    start: usize,
    end: usize,
    /// What is left of a frame that is being sent.
    outgoing: Vec<u8>,
    is_closed: bool,
}

impl Frames {
    pub(super) fn new(socket: UnixStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            incoming: vec![0; INCOMING].into(),
            start: 0,
            end: 0,
            outgoing: Vec::new(),
            is_closed: false,
        })
    }

    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Looks for a frame. Reads once at most.
    pub(super) fn next(&mut self) -> Next {
        let mut has_read = false;
        while !self.is_closed {
            match self.first() {
                First::Whole(length) if length <= MAX_FRAME => return Next::Frame,
                First::Whole(length) => {
                    self.start += LENGTH + length;
                    return Next::LookAgain;
                }
                First::Part if has_read => {
                    // The socket tells of news only once it was found empty.
                    return Next::LookAgain;
                }
                First::Part => {
                    has_read = true;
                    if !self.read() && !self.is_closed {
                        return Next::Nothing;
                    }
                }
                First::Broken => self.close(),
            }
        }
        Next::Closed
    }

    /// Takes what came although nothing asks for it, so that the other side can go on. If there is
    /// no room, the oldest frames are lost. Reads once at most, and returns whether it has.
    pub(super) fn relieve(&mut self) -> bool {
        while self.incoming.len() - (self.end - self.start) < LENGTH + MAX_INCOMING
            && let First::Whole(length) = self.first()
        {
            self.start += LENGTH + length;
        }
        !self.is_closed && self.read()
    }

    /// What came first.
    fn first(&self) -> First {
        let came = &self.incoming[self.start..self.end];
        let Some((length, frame)) = came.split_first_chunk::<LENGTH>() else {
            return First::Part;
        };
        match u32::from_be_bytes(*length) as usize {
            length if length > MAX_INCOMING => First::Broken,
            length if length <= frame.len() => First::Whole(length),
            _ => First::Part,
        }
    }

    /// Reads, and returns whether something came.
    fn read(&mut self) -> bool {
        self.incoming.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let room = &mut self.incoming[self.end..];
        match recv(&self.socket, room, RecvFlags::empty()) {
            Ok((_, 0)) => self.close(),
            Ok((_, length)) => self.end += length,
            Err(Errno::WOULDBLOCK | Errno::INTR) => return false,
            Err(_) => self.close(),
        }
        !self.is_closed
    }

    fn close(&mut self) {
        self.is_closed = true;
        // Ends a program that says lengths that cannot be. It fails only if it has ended already.
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    /// Takes the frame that [`next`](Self::next) has found.
    pub(super) fn take(&mut self) -> Option<&[u8]> {
        let came = &self.incoming[self.start..self.end];
        let (length, frame) = came.split_first_chunk::<LENGTH>()?;
        let length = u32::from_be_bytes(*length) as usize;
        let frame = frame.get(..length)?;
        self.start += LENGTH + length;
        Some(frame)
    }

    /// Returns whether a frame can be sent now: nothing is left of the last one.
    pub(super) fn has_room(&mut self) -> bool {
        while !self.outgoing.is_empty() && !self.is_closed {
            match send(&self.socket, &self.outgoing, SendFlags::NOSIGNAL) {
                Ok(sent) => drop(self.outgoing.drain(..sent)),
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) => return false,
                Err(_) => self.is_closed = true,
            }
        }
        true
    }

    /// Sends a frame, for which there is room. After the socket's end it is lost.
    pub(super) fn send(&mut self, frame: &[u8]) {
        self.outgoing.clear();
        self.outgoing.extend((frame.len() as u32).to_be_bytes());
        self.outgoing.extend(frame);
        self.has_room();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }
}
