//! The packets: one that came, and room for one that is to be sent.

use alloc::{boxed::Box, vec::Vec};
use core::{
    fmt,
    mem::take,
    ops::{Deref, DerefMut},
};

use virtio_drivers::transport::Transport;

use crate::{
    Interrupt,
    device::Device,
    message::{Direction, Message},
};

/// Descriptors of each queue: as many packets are in flight each way.
pub(super) const SIZE: usize = 64;

pub(super) const RECEIVE: usize = 0;
pub(super) const TRANSMIT: usize = 1;

/// The bytes before each packet: flags of offloads, which are not negotiated (virtio 1.2, 5.1.6).
pub(super) const HEADER: usize = 12;

/// The one task that sends and receives.
pub(super) const TASK: u64 = 1;

/// Gives the device a buffer, unless it broke the protocol. The buffer is returned then.
fn send<T: Transport, I: Interrupt>(
    device: &Device<T, I, SIZE>,
    queue: usize,
    message: Message,
) -> Option<Box<[u8]>> {
    let mut state = device.state.lock();
    if !state.works() {
        return Some(message.data);
    }
    let (transport, ring) = state.queue(queue);
    // There are no more buffers than descriptors, so there is room.
    ring.send(transport, message, TASK, None);
    None
}

/// A packet that came: its bytes, from the Ethernet header on. When it is dropped, the device gets
/// its buffer for another one.
pub struct Received<'a, T: Transport, I: Interrupt> {
    device: &'a Device<T, I, SIZE>,
    buffer: Box<[u8]>,
    /// How many bytes of the buffer the device has written.
    length: usize,
}

impl<'a, T: Transport, I: Interrupt> Received<'a, T, I> {
    pub(super) fn new(device: &'a Device<T, I, SIZE>, buffer: Box<[u8]>, length: usize) -> Self {
        Self {
            device,
            buffer,
            length,
        }
    }
}

impl<T: Transport, I: Interrupt> Deref for Received<'_, T, I> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.buffer[HEADER..self.length]
    }
}

impl<T: Transport, I: Interrupt> DerefMut for Received<'_, T, I> {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[HEADER..self.length]
    }
}

impl<T: Transport, I: Interrupt> Drop for Received<'_, T, I> {
    fn drop(&mut self) {
        let message = Message::plain(take(&mut self.buffer), Direction::FromDevice);
        drop(send(self.device, RECEIVE, message));
    }
}

impl<T: Transport, I: Interrupt> fmt::Debug for Received<'_, T, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Received").field(&&**self).finish()
    }
}

/// Room to send one packet.
pub struct Room<'a, T: Transport, I: Interrupt> {
    device: &'a Device<T, I, SIZE>,
    /// Not empty.
    free: &'a mut Vec<Box<[u8]>>,
}

impl<'a, T: Transport, I: Interrupt> Room<'a, T, I> {
    pub(super) fn new(device: &'a Device<T, I, SIZE>, free: &'a mut Vec<Box<[u8]>>) -> Self {
        Self { device, free }
    }

    /// Sends a packet of `length` bytes, which `write` writes, from the Ethernet header on. Before,
    /// they are any bytes.
    ///
    /// # Panics
    ///
    /// Panics if `length` is more than the MTU and 14.
    pub fn send<R>(self, length: usize, write: impl FnOnce(&mut [u8]) -> R) -> R {
        let mut buffer = self.free.pop().expect("a buffer is free");
        // The header was never written, and is zero: no offloads.
        let result = write(&mut buffer[HEADER..HEADER + length]);
        let message = Message::start_of(HEADER + length, buffer, Direction::ToDevice);
        self.free.extend(send(self.device, TRANSMIT, message));
        result
    }
}

impl<T: Transport, I: Interrupt> fmt::Debug for Room<'_, T, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room").finish_non_exhaustive()
    }
}
