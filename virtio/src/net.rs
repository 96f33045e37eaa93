//! Networks: [`Net`].

#[cfg(feature = "embassy-net-driver")]
mod embassy;
mod packet;

use alloc::{boxed::Box, collections::VecDeque, vec, vec::Vec};
use core::{
    fmt,
    task::{Context, Poll},
};

use virtio_drivers::transport::{DeviceType, Transport};

use crate::{
    Attached, Interrupt, RequestError, SetupError,
    device::Device,
    message::{Direction, Message},
    state::Wanted,
};
use packet::{HEADER, RECEIVE, SIZE, TASK, TRANSMIT};
pub use packet::{Received, Room};

/// The bytes of a packet before what the MTU counts: addresses and type.
const ETHERNET: usize = 14;

/// The MTU of a device that tells none.
const USUAL_MTU: u16 = 1500;
/// The smallest MTU that a device may have (virtio 1.2, 5.1.4.1).
const SMALLEST_MTU: u16 = 68;

/// The memory for the packets of one direction, in bytes, and the fewest of them: with a large MTU
/// fewer are in flight.
const MEMORY: usize = 256 << 10;
const FEWEST: usize = 8;

/// Features (virtio 1.2, 5.1.3).
mod feature {
    pub(super) const MTU: u64 = 1 << 3;
    pub(super) const MAC: u64 = 1 << 5;
    pub(super) const STATUS: u64 = 1 << 16;
}

/// Offsets in the configuration (virtio 1.2, 5.1.4).
mod offset {
    pub(super) const MAC: usize = 0;
    pub(super) const STATUS: usize = 6;
    pub(super) const MTU: usize = 10;
}

/// The link's bit of the status.
const LINK_UP: u16 = 1;

/// A network (virtio-net), for one task: it sends and receives Ethernet packets. With the feature
/// `embassy-net-driver` it is a driver of `embassy-net`, whose runner is this task.
///
/// Up to 64 packets are in flight each way. A packet that is sent is copied, so nothing waits for
/// the device, until all buffers are in flight. The last packets before the driver is dropped, or
/// before the guest ends, may not be sent.
///
/// # Examples
///
/// ```no_run
/// use core::future::poll_fn;
/// use dormir_virtio::{Interrupt, RequestError, Transport, net::Net};
///
/// /// Sends every packet back to its sender.
/// async fn reflect<T: Transport, I: Interrupt>(net: &mut Net<T, I>) -> Result<(), RequestError> {
///     loop {
///         let received = poll_fn(|cx| net.poll_receive(cx).map_ok(|packet| packet.to_vec()));
///         let mut packet = received.await?;
///         if packet.len() < 14 {
///             continue;
///         }
///         let (to, from) = packet[..12].split_at_mut(6);
///         to.swap_with_slice(from);
///         let send = poll_fn(|cx| {
///             net.poll_transmit(cx).map_ok(|room| {
///                 room.send(packet.len(), |bytes| bytes.copy_from_slice(&packet));
///             })
///         });
///         send.await?;
///     }
/// }
/// ```
pub struct Net<T: Transport, I: Interrupt> {
    device: Device<T, I, SIZE>,
    mac: [u8; 6],
    mtu: u16,
    is_up: bool,
    /// What came and was not taken, with its length.
    received: VecDeque<(Box<[u8]>, usize)>,
    /// The buffers in which nothing is sent.
    free: Vec<Box<[u8]>>,
    /// The task waits for a packet.
    wants_packet: bool,
    /// The task waits for a free buffer.
    wants_room: bool,
    /// The device interrupts when it has sent a packet.
    sent_interrupts: bool,
    /// `embassy-net` was told that the link is up.
    #[cfg(feature = "embassy-net-driver")]
    told_up: bool,
    /// The packets that embassy-net has taken in its current poll.
    #[cfg(feature = "embassy-net-driver")]
    taken: usize,
}

impl<T: Transport, I: Interrupt> Net<T, I> {
    /// Sets the device up, and gives it buffers for what it receives.
    ///
    /// # Errors
    ///
    /// See [`SetupError`].
    pub fn new(device: Attached<T, I>) -> Result<Self, SetupError> {
        let wanted = Wanted {
            device_type: DeviceType::Network,
            features: feature::MTU | feature::MAC | feature::STATUS,
            queues: &[1, 1],
        };
        let device = Device::new(device, &wanted)?;
        if device.features & feature::MAC == 0 {
            return Err(SetupError::Features);
        }
        let mac = device.configuration(|transport| {
            let mut mac = [0; 6];
            for (index, byte) in mac.iter_mut().enumerate() {
                *byte = transport.read_config_space(offset::MAC + index)?;
            }
            Ok(mac)
        })?;
        // An address of many has the first bit.
        if mac == [0; 6] || mac[0] & 1 != 0 {
            return Err(SetupError::Configuration);
        }
        let mtu = match device.features & feature::MTU {
            0 => USUAL_MTU,
            _ => device.configuration(|transport| transport.read_config_space(offset::MTU))?,
        };
        if mtu < SMALLEST_MTU {
            return Err(SetupError::Configuration);
        }
        let length = HEADER + ETHERNET + usize::from(mtu);
        let count = (MEMORY / length).clamp(FEWEST, SIZE);
        let buffer = || vec![0; length].into_boxed_slice();
        let mut net = Self {
            device,
            mac,
            mtu,
            is_up: true,
            received: VecDeque::with_capacity(count),
            free: (0..count).map(|_| buffer()).collect(),
            wants_packet: false,
            wants_room: false,
            sent_interrupts: true,
            #[cfg(feature = "embassy-net-driver")]
            told_up: false,
            #[cfg(feature = "embassy-net-driver")]
            taken: 0,
        };
        net.device.state.get_mut().is_changed = true;
        net.read_link();
        let (transport, receive) = net.device.state.get_mut().queue(RECEIVE);
        for _ in 0..count {
            let message = Message::plain(buffer(), Direction::FromDevice);
            receive.send(transport, message, TASK, None);
        }
        net.set_sent_interrupts(false);
        Ok(net)
    }

    /// The device's address.
    #[must_use]
    pub fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// The most bytes of a packet, without the 14 of Ethernet: what the device tells, or 1500.
    #[must_use]
    pub fn mtu(&self) -> u16 {
        self.mtu
    }

    /// Takes the next packet that came. If there is none, the next one wakes the task.
    ///
    /// # Errors
    ///
    /// [`RequestError::Broken`], once what came before is taken.
    pub fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Received<'_, T, I>, RequestError>> {
        if !self.has_packet(cx) {
            return self.pending_or_broken();
        }
        let Some((buffer, length)) = self.received.pop_front() else {
            return Poll::Pending;
        };
        Poll::Ready(Ok(Received::new(&self.device, buffer, length)))
    }

    /// Takes room to send a packet. If all buffers are in flight, the task is woken when the device
    /// has sent one.
    ///
    /// # Errors
    ///
    /// [`RequestError::Broken`].
    pub fn poll_transmit(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Room<'_, T, I>, RequestError>> {
        if !self.has_room(cx) || !self.device.state.get_mut().works() {
            return self.pending_or_broken();
        }
        Poll::Ready(Ok(Room::new(&self.device, &mut self.free)))
    }

    /// Whether the network is connected. The task is woken when that changes. A device that broke
    /// the protocol is not connected.
    pub fn poll_link(&mut self, cx: &mut Context<'_>) -> bool {
        self.listen(cx);
        self.is_up
    }

    fn pending_or_broken<R>(&mut self) -> Poll<Result<R, RequestError>> {
        match self.device.state.get_mut().works() {
            true => Poll::Pending,
            false => Poll::Ready(Err(RequestError::Broken)),
        }
    }

    /// Whether a packet is there. If not, the next one wakes the task.
    fn has_packet(&mut self, cx: &mut Context<'_>) -> bool {
        self.wants_packet = false;
        if self.received.is_empty() {
            self.take_received();
        }
        if self.received.is_empty() {
            self.listen(cx);
        }
        self.wants_packet = self.received.is_empty();
        !self.wants_packet
    }

    /// Whether a buffer is free. If not, the next one wakes the task.
    fn has_room(&mut self, cx: &mut Context<'_>) -> bool {
        self.wants_room = false;
        if self.free.is_empty() {
            self.take_sent();
        }
        if self.free.is_empty() {
            // Otherwise what was sent does not interrupt.
            self.set_sent_interrupts(true);
            self.listen(cx);
        }
        self.wants_room = self.free.is_empty();
        if !self.wants_room {
            self.set_sent_interrupts(false);
        }
        !self.wants_room
    }

    fn set_sent_interrupts(&mut self, on: bool) {
        if on != self.sent_interrupts {
            self.sent_interrupts = on;
            let (_, transmit) = self.device.state.get_mut().queue(TRANSMIT);
            transmit.set_interrupts(on);
        }
    }

    /// Takes the interrupts so far, and then what the device has done. The next interrupt wakes the
    /// task. What another poll waits for wakes it at once, since this one took its interrupt.
    fn listen(&mut self, cx: &mut Context<'_>) {
        let is_too_fast = !self.device.listen(TASK, cx);
        let was_up = self.is_up;
        self.take_received();
        self.take_sent();
        self.read_link();
        let concerns_others = self.wants_packet && !self.received.is_empty()
            || self.wants_room && !self.free.is_empty()
            || self.is_up != was_up;
        if is_too_fast || concerns_others {
            // The polls that it wakes say anew what they wait for. One that has been given up, or
            // that another keeps from being reached, must not be woken again and again.
            (self.wants_packet, self.wants_room) = (false, false);
            cx.waker().wake_by_ref();
        }
    }

    /// Takes what came. A length that cannot be breaks the protocol.
    fn take_received(&mut self) {
        let state = self.device.state.get_mut();
        while state.works() {
            let (_, receive) = state.queue(RECEIVE);
            let slot = match receive.take_back() {
                Ok(None) => return,
                Ok(Some((slot, ..))) => slot,
                Err(_) => return state.fail(),
            };
            let Some(reply) = receive.reply(slot, &mut None) else {
                return;
            };
            match reply.result {
                Ok(written) if written as usize >= HEADER => {
                    self.received.push_back((reply.buffer, written as usize));
                }
                _ => return state.fail(),
            }
        }
    }

    /// Takes the buffers of what was sent.
    fn take_sent(&mut self) {
        let state = self.device.state.get_mut();
        while state.works() {
            let (_, transmit) = state.queue(TRANSMIT);
            let slot = match transmit.take_back() {
                Ok(None) => return,
                Ok(Some((slot, ..))) => slot,
                Err(_) => return state.fail(),
            };
            // The device can write nothing here, so the length that it tells does not matter.
            if let Some(reply) = transmit.reply(slot, &mut None) {
                self.free.push(reply.buffer);
            }
        }
    }

    /// Reads whether the network is connected, if that may have changed.
    fn read_link(&mut self) {
        let tells = self.device.features & feature::STATUS != 0;
        let state = self.device.state.get_mut();
        if !state.works() {
            self.is_up = false;
        } else if tells && core::mem::take(&mut state.is_changed) {
            let status = state.transport().read_config_space::<u16>(offset::STATUS);
            self.is_up = status.is_ok_and(|status| status & LINK_UP != 0);
        }
    }
}

impl<T: Transport, I: Interrupt> fmt::Debug for Net<T, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Net")
            .field("mac", &self.mac)
            .field("mtu", &self.mtu)
            .field("is_up", &self.is_up)
            .finish_non_exhaustive()
    }
}
