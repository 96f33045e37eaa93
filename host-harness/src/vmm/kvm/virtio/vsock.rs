//! The socket device (virtio 1.2, 5.10): streams between the guest and programs of this host, by
//! Firecracker's scheme.
//!
//! A program connects to a Unix socket and sends `CONNECT PORT`; once the guest has accepted it
//! gets `OK PORT`. A connection of the guest to a port of this host is one to the Unix socket whose
//! path has `_PORT` behind it. The header is read here and not by the crate `virtio-vsock`, which
//! would walk the descriptors once more, and takes two of them at most.

mod connection;
mod dial;
mod fuzz;
mod header;
mod hub;
mod leavers;
mod listener;
#[cfg(test)]
mod tests;
mod visitors;
mod watch;

use std::{io, os::fd::BorrowedFd, time::Duration};

use virtio_bindings::virtio_ids::VIRTIO_ID_VSOCK;

use super::{
    device::{Answer, VirtioDevice},
    request::{BrokenRequest, Buffers, Request},
};
use connection::ROOM;
pub(super) use fuzz::fuzz;
use header::{GUEST_CID, HEADER, Header};
use hub::Hub;
pub(in crate::vmm::kvm) use listener::VsockListener;

/// The queues, by what the guest does with them. It gets no events, which are those of a migration.
pub(super) const RECEIVE: usize = 0;
pub(super) const TRANSMIT: usize = 1;

const QUEUE_SIZES: [u16; 3] = [256; 3];

/// How long a program may take to name a port, and the guest to answer.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct Vsock {
    hub: Hub,
    config: [u8; 8],
    /// The data of a packet of the guest.
    buffer: Box<[u8]>,
}

impl Vsock {
    /// A device with this socket for this host's programs.
    pub(super) fn new(listener: VsockListener) -> io::Result<Self> {
        Ok(Self {
            hub: Hub::new(listener, PATIENCE)?,
            config: GUEST_CID.to_le_bytes(),
            buffer: vec![0; ROOM].into(),
        })
    }

    fn send(&mut self, mut from: Buffers<'_>) -> Result<u32, BrokenRequest> {
        let mut bytes = [0; HEADER];
        from.read(&mut bytes)?;
        let header = Header::from_bytes(&bytes);
        if u64::from(header.length) > from.length() {
            return Err(BrokenRequest);
        }
        // More than the guest may send is not read; the hub sees by the header that it is too much.
        let length = (header.length as usize).min(ROOM);
        let data = &mut self.buffer[..length];
        from.read(data)?;
        self.hub.packet_came(&header, data);
        Ok(0)
    }

    fn receive(&mut self, mut to: Buffers<'_>) -> Result<u32, BrokenRequest> {
        // A buffer of a header alone could not have any data.
        let room = to.length().checked_sub(HEADER as u64);
        let room = room.filter(|room| *room > 0).ok_or(BrokenRequest)?;
        let room = room.min(ROOM as u64) as usize;
        let (header, data) = self.hub.take_packet(room).ok_or(BrokenRequest)?;
        to.write(&header.to_bytes())?;
        to.write(data)?;
        // At most `ROOM`.
        Ok((HEADER + data.len()) as u32)
    }
}

impl VirtioDevice for Vsock {
    fn id(&self) -> u32 {
        VIRTIO_ID_VSOCK
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn config(&self) -> &[u8] {
        &self.config
    }

    fn source(&self) -> Option<BorrowedFd<'_>> {
        Some(self.hub.source())
    }

    fn reset(&mut self) {
        self.hub.clear();
    }

    fn rest(&mut self) {
        self.hub.flush_leavers();
    }

    fn take_news(&mut self) -> bool {
        self.hub.take_news()
    }

    fn answer(&mut self, queue: usize) -> Answer {
        self.hub.look();
        let has_answer = match queue {
            RECEIVE => self.hub.has_packet(),
            TRANSMIT => self.hub.takes_packets(),
            _ => false,
        };
        match has_answer {
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
