//! The network (virtio 1.2, 5.1), without offloads: frames go to the program `passt`, and come from
//! it. The link is down once that has ended.

mod filter;
mod frames;
mod fuzz;
mod passt;

use std::{
    io,
    os::{fd::BorrowedFd, unix::net::UnixStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use virtio_bindings::{
    virtio_ids::VIRTIO_ID_NET,
    virtio_net::{VIRTIO_NET_F_MAC, VIRTIO_NET_F_STATUS},
};

use super::{
    device::{Answer, VirtioDevice},
    request::{BrokenRequest, Buffers, Request},
};
use crate::vmm::{
    config::{RunConfig, Vmm},
    device::{DeviceError, MAC, NetError, Network, PortForward},
    error::RunError,
    limit::{Limit, Unstarted},
};
use filter::Filter;
use frames::{Frames, MAX_FRAME, Next};
pub(crate) use fuzz::fuzz_frames;
pub(super) use fuzz::is_answer;
pub(in crate::vmm::kvm) use passt::Passt;

/// The queues, by what the guest does with them.
#[cfg(test)]
pub(super) const RECEIVE: usize = 0;
pub(super) const TRANSMIT: usize = 1;

const QUEUE_SIZES: [u16; 2] = [256, 256];

/// What comes before each frame: flags of offloads, and how many buffers it takes, which is one.
const HEADER: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0];

/// The shortest frame: addresses and type.
const SHORTEST: u64 = 14;

pub(super) struct Net {
    frames: Frames,
    /// Address and status.
    config: [u8; 8],
    config_changed: bool,
    /// Something has come while something was to be sent.
    has_news: bool,
    /// Set with the link's end.
    is_down: Arc<AtomicBool>,
    /// What keeps the guest from sending; `None`: nothing does.
    filter: Option<Filter>,
}

/// What is seen of a network from outside its thread.
pub(in crate::vmm::kvm) struct NetWatch {
    is_down: Arc<AtomicBool>,
    held_back: Arc<AtomicU64>,
}

impl NetWatch {
    /// Returns whether the link is down, as far as the guest has made the device look.
    pub(in crate::vmm::kvm) fn link_is_down(&self) -> bool {
        self.is_down.load(Ordering::SeqCst)
    }

    /// Returns how many packets were held back.
    pub(in crate::vmm::kvm) fn held_back(&self) -> u64 {
        self.held_back.load(Ordering::Relaxed)
    }
}

/// Checks that a guest of our own VMM can have a network: starts `passt`, which connects it, waits
/// until it answers, and ends it.
///
/// # Errors
///
/// `passt` is missing, or does not do what it should: the error says what to do.
pub fn probe_network() -> Result<(), RunError> {
    let network = Network {
        forwards: Vec::new(),
        restrict: true,
    };
    let config = RunConfig::new(Vmm::Kvm);
    match Passt::start_for(&network, &Limit::new(&config)) {
        Ok(_) => Ok(()),
        Err(Unstarted::Refused(error)) => Err(error),
        // Nothing stops it, so that is the time limit.
        Err(Unstarted::Cut(_)) => {
            let silent = NetError::PasstSilent(config.timeout);
            Err(RunError::Device(DeviceError::Net(silent)))
        }
    }
}

impl Net {
    /// What is seen of it from outside. What it lets out only answers connections that these ports
    /// get, if any are given.
    pub(super) fn watch(&mut self, answers: Option<&[PortForward]>) -> NetWatch {
        NetWatch {
            held_back: answers.map_or_else(Arc::default, |forwards| self.restrict(forwards)),
            is_down: Arc::clone(&self.is_down),
        }
    }

    /// Lets out only what answers connections that were forwarded. Returns the number of packets
    /// that are held back.
    pub(super) fn restrict(&mut self, forwards: &[PortForward]) -> Arc<AtomicU64> {
        let held_back = Arc::<AtomicU64>::default();
        self.filter = Some(Filter::new(forwards, Arc::clone(&held_back)));
        held_back
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
            has_news: false,
            is_down: Arc::default(),
            filter: None,
        })
    }

    fn look_at_link(&mut self) {
        let status = &mut self.config[MAC.len()];
        if self.frames.is_closed() && *status != 0 {
            *status = 0;
            self.config_changed = true;
            self.is_down.store(true, Ordering::SeqCst);
        }
    }

    /// Sends a frame. One of a length that no Ethernet has is lost; so is one that is held back.
    fn send(&mut self, mut from: Buffers<'_>) -> Result<u32, BrokenRequest> {
        from.read(&mut [0; HEADER.len()])?;
        if (SHORTEST..=MAX_FRAME as u64).contains(&from.length()) {
            let mut frame = [0; MAX_FRAME];
            let frame = &mut frame[..from.length() as usize];
            from.read(frame)?;
            if self
                .filter
                .as_ref()
                .is_none_or(|filter| filter.lets_out(frame))
            {
                self.frames.send(frame);
            }
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

    fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.has_news)
    }

    fn source(&self) -> Option<BorrowedFd<'_>> {
        Some(self.frames.socket())
    }

    fn answer(&mut self, queue: usize) -> Answer {
        let answer = match queue {
            TRANSMIT if self.frames.has_room() => Answer::Now,
            // The other side may read nothing until what it sends is taken.
            TRANSMIT if self.frames.relieve() => {
                self.has_news = true;
                Answer::LookAgain
            }
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

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// What comes while nothing can be sent is received later; the oldest of it is lost if it is
    /// much.
    #[test]
    fn what_comes_meanwhile_is_kept_in_bounds() {
        let (socket, mut other_end) = UnixStream::pair().unwrap();
        let mut net = Net::new(socket).unwrap();
        while net.answer(TRANSMIT) == Answer::Now {
            net.frames.send(&[6; MAX_FRAME]);
        }
        assert!(net.answer(TRANSMIT) == Answer::Later && !net.take_news());
        assert_eq!(net.answer(RECEIVE), Answer::Later);
        other_end.set_nonblocking(true).unwrap();
        let mut next = 0_u32;
        for count in [1, 5000] {
            for _ in 0..count {
                let frame = [&next.to_be_bytes()[..], &[0; 1000]].concat();
                let length = frame.len() as u32;
                let framed = [&length.to_be_bytes()[..], &frame].concat();
                other_end.write_all(&framed).expect("it was relieved");
                next += 1;
                assert_eq!(net.answer(TRANSMIT), Answer::LookAgain);
                assert_eq!(net.answer(TRANSMIT), Answer::Later);
                assert!(net.take_news());
            }
            let mut came = Vec::new();
            while net.answer(RECEIVE) == Answer::Now {
                let frame = net.frames.take().expect("a whole frame");
                came.push(u32::from_be_bytes(*frame.first_chunk().unwrap()));
            }
            // The last ones, in their order, and more than the guest has buffers for.
            let first = next - came.len() as u32;
            assert!(came.iter().copied().eq(first..next));
            assert!(came.len() == 1 || (100..1000).contains(&came.len()));
        }
    }
}
