//! The runner, which moves packets between the device and the connections.

use alloc::{boxed::Box, sync::Arc, vec, vec::Vec};
use core::{
    fmt,
    future::poll_fn,
    task::{Context, Poll},
};

use virtio_drivers::transport::{DeviceType, Transport};

use super::{
    limits::Limits,
    packet::{HEADER, Header},
    sockets::Sockets,
};
use crate::{
    Attached, Interrupt, RequestError, SetupError,
    device::Device,
    message::{Direction, Message, Reply},
    state::Wanted,
};

/// Descriptors of each queue.
const SIZE: usize = 64;

const RECEIVE: usize = 0;
const TRANSMIT: usize = 1;
const EVENT: usize = 2;

/// The bytes of a buffer for what comes, header and data.
const BUFFER: usize = HEADER + (4 << 10);

/// Events are rare: the device waits when it has no buffer for one.
const EVENTS: usize = 4;
/// The bytes of an event: its number (virtio 1.2, 5.10.6.7).
const EVENT_LENGTH: usize = 4;
/// The connections are gone.
const TRANSPORT_RESET: u32 = 0;

/// Stream sockets (virtio 1.2, 5.10.3).
const STREAM: u64 = 1 << 0;

/// The one task that uses the queues.
const TASK: u64 = 1;

/// The most packets that a poll moves, so that other tasks run.
const PACKETS: usize = 64;

/// Moves packets between the device and the connections: no connection works unless
/// [`run`](Self::run) is awaited. When it is dropped, all connections end.
pub struct Runner<T: Transport, I: Interrupt> {
    device: Device<T, I, SIZE>,
    sockets: Arc<Sockets>,
    /// For each slot of the transmit queue, the connection whose packet is there.
    sent: Vec<u64>,
    /// The device interrupts when it has sent a packet.
    sent_interrupts: bool,
}

/// Reads the CID of this guest.
fn cid<T: Transport, I: Interrupt>(device: &Device<T, I, SIZE>) -> Result<u32, SetupError> {
    // The bus allows no larger pieces.
    let [low, high] = device.configuration(|transport| {
        let low = transport.read_config_space::<u32>(0)?;
        Ok([low, transport.read_config_space::<u32>(4)?])
    })?;
    // Those below and the last one stand for the hypervisor, this machine, the host and any.
    match high {
        0 if (3..u32::MAX).contains(&low) => Ok(low),
        _ => Err(SetupError::Configuration),
    }
}

impl<T: Transport, I: Interrupt> Runner<T, I> {
    pub(super) fn new(
        device: Attached<T, I>,
        limits: Limits,
    ) -> Result<(Arc<Sockets>, Self), SetupError> {
        let wanted = Wanted {
            device_type: DeviceType::Socket,
            features: STREAM,
            queues: &[1, 1, 1],
        };
        let device = Device::new(device, &wanted)?;
        let sockets = Arc::new(Sockets::new(cid(&device)?, limits));
        let mut runner = Self {
            device,
            sockets: Arc::clone(&sockets),
            sent: vec![0; SIZE],
            sent_interrupts: true,
        };
        for _ in 0..SIZE {
            runner.give(RECEIVE, vec![0; BUFFER].into());
        }
        for _ in 0..EVENTS {
            runner.give(EVENT, vec![0; EVENT_LENGTH].into());
        }
        Ok((sockets, runner))
    }

    /// Runs until the device breaks the protocol, which is the reason that is returned. All
    /// connections have ended then.
    ///
    /// Let a task of its own await this.
    ///
    /// # Cancel safety
    ///
    /// When it is dropped, nothing is lost, and nothing moves until it is called again.
    pub async fn run(&mut self) -> RequestError {
        poll_fn(|cx| self.poll_run(cx)).await
    }

    fn poll_run(&mut self, cx: &mut Context<'_>) -> Poll<RequestError> {
        // What it does itself need not wake it.
        self.sockets.with(|table| table.rest(None));
        let is_too_fast = !self.device.listen(TASK, cx);
        // Only now, after the acknowledgement: what the device does after the look interrupts.
        self.take_events();
        for _ in 0..PACKETS {
            let has_sent = self.take_sent();
            let has_received = self.receive();
            if self.send() || has_received || has_sent {
                continue;
            }
            if !self.device.state.get_mut().works() {
                self.sockets.with(|table| table.stop());
                return Poll::Ready(RequestError::Broken);
            }
            let waker = Some(cx.waker().clone());
            let rest = self.sockets.with(|table| table.rest(waker));
            let is_blocked = !self.has_room();
            if rest.has_packets && !is_blocked {
                // Another task has just written.
                continue;
            }
            // What was sent before this interrupts no more, so there is one more look.
            if self.set_sent_interrupts(rest.waits || rest.has_packets) {
                continue;
            }
            if is_too_fast {
                break;
            }
            return Poll::Pending;
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Gives the device a buffer to write to.
    fn give(&mut self, queue: usize, buffer: Box<[u8]>) {
        let state = self.device.state.get_mut();
        if state.works() {
            let (transport, ring) = state.queue(queue);
            let message = Message::plain(buffer, Direction::FromDevice);
            ring.send(transport, message, TASK, None);
        }
    }

    /// Takes back a buffer of a queue, with its slot.
    fn take(&mut self, queue: usize) -> Option<(usize, Reply)> {
        let state = self.device.state.get_mut();
        if !state.works() {
            return None;
        }
        let (_, ring) = state.queue(queue);
        let Ok(taken) = ring.take_back() else {
            state.fail();
            return None;
        };
        let (slot, ..) = taken?;
        Some((slot, ring.reply(slot, &mut None)?))
    }

    /// Takes back a buffer of which the device has written at least so many bytes, and how many.
    fn take_written(&mut self, queue: usize, shortest: usize) -> Option<(Box<[u8]>, usize)> {
        let (_, reply) = self.take(queue)?;
        match reply.result {
            Ok(written) if written as usize >= shortest => Some((reply.buffer, written as usize)),
            _ => {
                self.device.state.get_mut().fail();
                None
            }
        }
    }

    /// Takes what the device has sent, and returns whether there was anything.
    fn take_sent(&mut self) -> bool {
        let mut any = false;
        // The device can write nothing here, so the length that it tells does not matter.
        while let Some((slot, _)) = self.take(TRANSMIT) {
            let id = self.sent[slot];
            self.sockets.with(|table| table.sent(id));
            any = true;
        }
        any
    }

    /// Takes a packet that came, and returns whether there was one.
    fn receive(&mut self) -> bool {
        if !self.sockets.with(|table| table.may_receive()) {
            return false;
        }
        let Some((mut buffer, written)) = self.take_written(RECEIVE, HEADER) else {
            return false;
        };
        let (header, data) = buffer[..written].split_at(HEADER);
        let header = Header::parse(header.try_into().expect("it has this length"));
        let Some(data) = data.get(..header.length as usize) else {
            self.device.state.get_mut().fail();
            return false;
        };
        self.sockets.with(|table| table.receive(&header, data));
        // Some devices give a buffer back as they got it: that is no packet, and not an old one.
        buffer[..HEADER].fill(0);
        self.give(RECEIVE, buffer);
        true
    }

    /// Sends a packet, and returns whether there was one, and room for it.
    fn send(&mut self) -> bool {
        if !self.has_room() {
            return false;
        }
        let Some((id, packet)) = self.sockets.with(|table| table.next_packet()) else {
            return false;
        };
        let (transport, ring) = self.device.state.get_mut().queue(TRANSMIT);
        let message = Message::plain(packet, Direction::ToDevice);
        let slot = ring.send(transport, message, TASK, None);
        self.sent[slot] = id;
        true
    }

    /// Whether one more packet can be sent.
    fn has_room(&mut self) -> bool {
        let state = self.device.state.get_mut();
        state.works() && state.queue(TRANSMIT).1.may_send(TASK)
    }

    /// Returns whether they are on and were not.
    fn set_sent_interrupts(&mut self, on: bool) -> bool {
        if on == self.sent_interrupts {
            return false;
        }
        self.sent_interrupts = on;
        let (_, ring) = self.device.state.get_mut().queue(TRANSMIT);
        ring.set_interrupts(on);
        on
    }

    fn take_events(&mut self) {
        // The device has no more buffers. What it writes into one again is for the next poll.
        for _ in 0..EVENTS {
            let Some((buffer, _)) = self.take_written(EVENT, EVENT_LENGTH) else {
                return;
            };
            if buffer[..] == TRANSPORT_RESET.to_le_bytes() {
                match cid(&self.device) {
                    Ok(cid) => self.sockets.with(|table| table.move_to(cid)),
                    Err(_) => self.device.state.get_mut().fail(),
                }
            }
            self.give(EVENT, buffer);
        }
    }
}

/// All connections end.
impl<T: Transport, I: Interrupt> Drop for Runner<T, I> {
    fn drop(&mut self) {
        self.sockets.with(|table| table.stop());
    }
}

impl<T: Transport, I: Interrupt> fmt::Debug for Runner<T, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner").finish_non_exhaustive()
    }
}
