//! A console (virtio 1.2, 5.3) with one port, whose other end is a socket. Nothing here waits.

use std::{
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
};

use rustix::{
    io::Errno,
    net::{RecvFlags, SendFlags, recv, send},
};
use virtio_bindings::virtio_ids::VIRTIO_ID_CONSOLE;

use super::{
    console::TRANSMIT,
    device::{Answer, VirtioDevice},
    request::{BrokenRequest, Buffers, Request},
};
use crate::vmm::send::send_all;

const QUEUE_SIZES: [u16; 2] = [64, 64];

/// The most bytes that one request sends.
const MAX_OUTPUT: u64 = 64 << 10;

/// How much is read of the socket at once.
const MAX_INPUT: usize = 4096;

pub(super) struct Port {
    socket: UnixStream,
    /// What came, from `start` to `end`.
    incoming: Box<[u8]>,
    start: usize,
    end: usize,
    /// What is left of a request that is being sent.
    outgoing: Vec<u8>,
    /// Whether nothing more comes. The other side may still read what the guest sends.
    has_ended: bool,
}

impl Port {
    pub(super) fn new(socket: UnixStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            incoming: vec![0; MAX_INPUT].into(),
            start: 0,
            end: 0,
            outgoing: Vec::new(),
            has_ended: false,
        })
    }

    /// Returns whether something has come.
    fn has_input(&mut self) -> bool {
        while self.start == self.end && !self.has_ended {
            match recv(&self.socket, &mut self.incoming[..], RecvFlags::empty()) {
                Ok((_, 0)) => self.has_ended = true,
                Ok((_, length)) => (self.start, self.end) = (0, length),
                Err(Errno::INTR) => {}
                // The socket tells of news from here on.
                Err(Errno::WOULDBLOCK) => return false,
                Err(_) => self.has_ended = true,
            }
        }
        self.start < self.end
    }

    /// Returns whether a request can be sent: nothing is left of the last one.
    fn has_room(&mut self) -> bool {
        while !self.outgoing.is_empty() {
            match send(&self.socket, &self.outgoing, SendFlags::NOSIGNAL) {
                Ok(sent) => drop(self.outgoing.drain(..sent)),
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) => return false,
                // The other side reads no more: what the guest sends is lost.
                Err(_) => self.outgoing.clear(),
            }
        }
        true
    }

    fn send(&mut self, mut from: Buffers<'_>) -> Result<u32, BrokenRequest> {
        if from.length() > MAX_OUTPUT {
            return Err(BrokenRequest);
        }
        self.outgoing.resize(from.length() as usize, 0);
        from.read(&mut self.outgoing)?;
        self.has_room();
        Ok(0)
    }

    fn receive(&mut self, mut to: Buffers<'_>) -> Result<u32, BrokenRequest> {
        if to.length() == 0 {
            return Err(BrokenRequest);
        }
        let came = &self.incoming[self.start..self.end];
        let length = to.length().min(came.len() as u64) as usize;
        to.write(&came[..length])?;
        self.start += length;
        // At most `MAX_INPUT`.
        Ok(length as u32)
    }
}

impl Drop for Port {
    /// Sends what the guest was told to be sent, if the other side takes it within a second.
    fn drop(&mut self) {
        // Otherwise it is lost, as at the other side's end.
        let _ = send_all(&self.socket, &self.outgoing);
    }
}

impl VirtioDevice for Port {
    fn id(&self) -> u32 {
        VIRTIO_ID_CONSOLE
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn source(&self) -> Option<BorrowedFd<'_>> {
        Some(self.socket.as_fd())
    }

    fn answer(&mut self, queue: usize) -> Answer {
        let can = match queue {
            TRANSMIT => self.has_room(),
            _ => self.has_input(),
        };
        match can {
            true => Answer::Now,
            false => Answer::Later,
        }
    }

    fn serve(&mut self, queue: usize, request: Request<'_>) -> Result<u32, BrokenRequest> {
        match queue {
            TRANSMIT => self.send(request.readable),
            _ => self.receive(request.writable),
        }
    }
}
