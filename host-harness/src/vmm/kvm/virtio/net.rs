//! The network (virtio 1.2, 5.1), without offloads: frames go to the program `passt`, and come from
//! it. The link is down once that has ended.

mod frames;
mod passt;

use std::{
    io,
    os::{fd::BorrowedFd, unix::net::UnixStream},
    time::Duration,
};

use virtio_bindings::{
    virtio_ids::VIRTIO_ID_NET,
    virtio_net::{VIRTIO_NET_F_MAC, VIRTIO_NET_F_STATUS},
};

use super::{
    device::{Answer, VirtioDevice},
    request::{BrokenRequest, Buffers, Request},
};
use crate::vmm::device::{MAC, NetError, PortForward};
use frames::{Frames, MAX_FRAME, Next};
use passt::Passt;

/// The queues, by what the guest does with them.
#[cfg(test)]
pub(super) const RECEIVE: usize = 0;
pub(super) const TRANSMIT: usize = 1;

const QUEUE_SIZES: [u16; 2] = [256, 256];

/// What comes before each frame: flags of offloads, and how many buffers it takes, which is one.
const HEADER: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0];

/// The shortest frame: addresses and type.
const SHORTEST: u64 = 14;

/// How long `passt` may take to start.
const LIMIT: Duration = Duration::from_secs(10);

pub(super) struct Net {
    frames: Frames,
    /// Address and status.
    config: [u8; 8],
    config_changed: bool,
    /// Ends after the socket is closed.
    _passt: Option<Passt>,
}

impl Net {
    /// A network of its own, of which ports of this host lead to the guest.
    pub(super) fn start(forwards: &[PortForward]) -> Result<Self, NetError> {
        let (passt, socket) = Passt::start("passt".as_ref(), forwards, LIMIT)?;
        let mut net = Self::new(socket).map_err(NetError::PasstStart)?;
        net._passt = Some(passt);
        Ok(net)
    }

    /// A network whose other side is the other end of this socket.
    pub(super) fn new(socket: UnixStream) -> io::Result<Self> {
        let mut config = [0; 8];
        config[..MAC.len()].copy_from_slice(&MAC);
        // The link is up.
        config[MAC.len()] = 1;
        Ok(Self {
            frames: Frames::new(socket)?,
            config,
            config_changed: false,
            _passt: None,
        })
    }

    fn look_at_link(&mut self) {
        let status = &mut self.config[MAC.len()];
        if self.frames.is_closed() && *status != 0 {
            *status = 0;
            self.config_changed = true;
        }
    }

    /// Sends a frame. One of a length that no Ethernet has is lost.
    fn send(&mut self, mut from: Buffers<'_>) -> Result<u32, BrokenRequest> {
        from.read(&mut [0; HEADER.len()])?;
        if (SHORTEST..=MAX_FRAME as u64).contains(&from.length()) {
            let mut frame = [0; MAX_FRAME];
            let frame = &mut frame[..from.length() as usize];
            from.read(frame)?;
            self.frames.send(frame);
        }
        Ok(0)
    }

    fn receive(&mut self, mut to: Buffers<'_>) -> Result<u32, BrokenRequest> {
        let frame = self.frames.take().ok_or(BrokenRequest)?;
        to.write(&HEADER)?;
        to.write(frame)?;
        // At most `MAX_FRAME`.
        Ok((HEADER.len() + frame.len()) as u32)
    }
}

impl VirtioDevice for Net {
    fn id(&self) -> u32 {
        VIRTIO_ID_NET
    }

    fn features(&self) -> u64 {
        1 << VIRTIO_NET_F_MAC | 1 << VIRTIO_NET_F_STATUS
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn config(&self) -> &[u8] {
        &self.config
    }

    fn take_config_change(&mut self) -> bool {
        std::mem::take(&mut self.config_changed)
    }

    fn source(&self) -> Option<BorrowedFd<'_>> {
        Some(self.frames.socket())
    }

    fn answer(&mut self, queue: usize) -> Answer {
        let answer = match queue {
            TRANSMIT if self.frames.has_room() => Answer::Now,
            TRANSMIT => Answer::Later,
            _ => match self.frames.next() {
                Next::Frame => Answer::Now,
                Next::LookAgain => Answer::LookAgain,
                Next::Nothing | Next::Closed => Answer::Later,
            },
        };
        self.look_at_link();
        answer
    }

    fn serve(&mut self, queue: usize, request: Request<'_>) -> Result<u32, BrokenRequest> {
        let served = match queue {
            TRANSMIT => self.send(request.readable),
            _ => self.receive(request.writable),
        };
        self.look_at_link();
        served
    }
}
