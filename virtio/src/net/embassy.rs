//! [`Net`] as a driver of `embassy-net`.

use core::task::{Context, Poll};

use embassy_net_driver::{Capabilities, Driver, HardwareAddress, LinkState, RxToken, TxToken};
use virtio_drivers::transport::Transport;

use super::{ETHERNET, Net, Received, Room};
use crate::Interrupt;

/// The most packets that a poll takes: `embassy-net` takes packets as long as there are some, and
/// lets no other task run. Then it asks for the link.
const PACKETS: usize = 64;

/// A device that broke the protocol has no link any more.
///
/// Nothing is sent until `link_state` has told that the link is up. `embassy-net` would ask for its
/// address (DHCP) before, and once more then, in one go; `passt` answers only the first question,
/// which `embassy-net` no longer knows.
impl<T: Transport, I: Interrupt> Driver for Net<T, I> {
    type RxToken<'a>
        = Received<'a, T, I>
    where
        Self: 'a;
    type TxToken<'a>
        = Room<'a, T, I>
    where
        Self: 'a;

    fn receive(&mut self, cx: &mut Context<'_>) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        if self.taken == PACKETS {
            cx.waker().wake_by_ref();
            return None;
        }
        // What comes waits until there is room for an answer.
        if !self.has_room(cx) || !self.has_packet(cx) {
            return None;
        }
        let (buffer, length) = self.received.pop_front()?;
        self.taken += 1;
        let received = Received::new(&self.device, buffer, length);
        Some((received, Room::new(&self.device, &mut self.free)))
    }

    fn transmit(&mut self, cx: &mut Context<'_>) -> Option<Self::TxToken<'_>> {
        if !self.told_up {
            return None;
        }
        match self.poll_transmit(cx) {
            Poll::Ready(room) => room.ok(),
            Poll::Pending => None,
        }
    }

    fn link_state(&mut self, cx: &mut Context<'_>) -> LinkState {
        self.taken = 0;
        let is_up = self.poll_link(cx);
        if is_up && !self.told_up {
            // For what was to be sent before.
            cx.waker().wake_by_ref();
        }
        self.told_up = is_up;
        match is_up {
            true => LinkState::Up,
            false => LinkState::Down,
        }
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.max_transmission_unit = ETHERNET + usize::from(self.mtu);
        capabilities
    }

    fn hardware_address(&self) -> HardwareAddress {
        HardwareAddress::Ethernet(self.mac)
    }
}

impl<T: Transport, I: Interrupt> RxToken for Received<'_, T, I> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(mut self, f: F) -> R {
        f(&mut self)
    }
}

impl<T: Transport, I: Interrupt> TxToken for Room<'_, T, I> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        self.send(length, f)
    }
}
