//! What a network lets out whose guest only answers. `passt` opens a connection for each bare SYN,
//! and sends each datagram on; it has no option that keeps a guest from either.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, IpProtocol, Ipv4Packet, TcpPacket, UdpPacket,
};

use super::passt::GATEWAY;
use crate::vmm::device::PortForward;

/// The ports of DHCP.
const CLIENT: u16 = 68;
const SERVER: u16 = 67;

/// The shortest header of IPv4.
const SHORTEST_HEADER: u8 = 20;

/// Lets out ARP, DHCP, and what belongs to connections that were forwarded to the guest.
pub(super) struct Filter {
    /// The ports of the guest that have such connections.
    ports: Vec<u16>,
    /// How many packets of IPv4 were held back. (Others reach nothing without the filter, either.)
    held_back: Arc<AtomicU64>,
}

impl Filter {
    pub(super) fn new(forwards: &[PortForward], held_back: Arc<AtomicU64>) -> Self {
        Self {
            ports: forwards.iter().map(|forward| forward.guest).collect(),
            held_back,
        }
    }

    /// Returns whether the frame may leave.
    pub(super) fn lets_out(&self, frame: &[u8]) -> bool {
        let Ok(frame) = EthernetFrame::new_checked(frame) else {
            return false;
        };
        match frame.ethertype() {
            // `passt` answers it by itself.
            EthernetProtocol::Arp => true,
            EthernetProtocol::Ipv4 => {
                let is_answer = self.is_answer(frame.payload()).unwrap_or(false);
                self.held_back
                    .fetch_add(u64::from(!is_answer), Ordering::Relaxed);
                is_answer
            }
            _ => false,
        }
    }

    /// `None`: it is damaged.
    fn is_answer(&self, packet: &[u8]) -> Option<bool> {
        let packet = Ipv4Packet::new_checked(packet).ok()?;
        // A fragment may have anything in place of a header.
        let is_fragment = packet.more_frags() || packet.frag_offset() != 0;
        if is_fragment || packet.header_len() < SHORTEST_HEADER {
            return Some(false);
        }
        let to = packet.dst_addr();
        let to_gateway = to == Ipv4Addr::from(GATEWAY);
        match packet.next_header() {
            IpProtocol::Tcp => {
                let segment = TcpPacket::new_checked(packet.payload()).ok()?;
                // The peers of connections that are forwarded are on this host's loopback, for
                // which the gateway stands. A SYN without ACK opens a connection.
                let opens_none = segment.ack() || segment.rst() && !segment.syn();
                Some(to_gateway && opens_none && self.ports.contains(&segment.src_port()))
            }
            IpProtocol::Udp => {
                let datagram = UdpPacket::new_checked(packet.payload()).ok()?;
                let is_dhcp = (datagram.src_port(), datagram.dst_port()) == (CLIENT, SERVER);
                Some(is_dhcp && (to_gateway || to.is_broadcast()))
            }
            _ => Some(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUEST: [u8; 4] = [10, 0, 2, 15];
    const OTHER: [u8; 4] = [192, 0, 2, 1];
    const SYN: u8 = 2;
    const RST: u8 = 4;
    const ACK: u8 = 16;

    /// A frame of a type, with these bytes.
    fn frame(kind: u16, payload: &[u8]) -> Vec<u8> {
        [&[2; 12][..], &kind.to_be_bytes(), payload].concat()
    }

    /// A packet of IPv4: its header's words, its protocol, where it goes, and its content.
    fn packet(words: u8, protocol: u8, to: [u8; 4], content: &[u8]) -> Vec<u8> {
        let options = vec![1; (usize::from(words) * 4).saturating_sub(20)];
        let length = (20 + options.len() + content.len()) as u16;
        let mut packet = vec![0x40 | words, 0];
        packet.extend(length.to_be_bytes());
        packet.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
        packet.extend([GUEST, to].concat());
        packet.extend(options);
        packet.extend(content);
        packet
    }

    fn ports(from: u16, to: u16) -> Vec<u8> {
        [from.to_be_bytes(), to.to_be_bytes()].concat()
    }

    fn tcp(from: u16, to: [u8; 4], flags: u8) -> Vec<u8> {
        let rest = [0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 16, 0, 0, 0, 0, 0, b'x'];
        packet(5, 6, to, &[&ports(from, 5000)[..], &rest].concat())
    }

    fn udp(from: u16, to: [u8; 4], port: u16) -> Vec<u8> {
        let content = [&ports(from, port)[..], &[0, 12, 0, 0, 1, 2, 3, 4]].concat();
        packet(5, 17, to, &content)
    }

    fn check(cases: &[(&[u8], bool)]) {
        let held_back = Arc::default();
        let forward = PortForward { host: 1, guest: 80 };
        let filter = Filter::new(&[forward], Arc::clone(&held_back));
        let mut expected = 0;
        for (number, (packet, leaves)) in cases.iter().enumerate() {
            expected += u64::from(!leaves);
            let frame = frame(0x0800, packet);
            assert_eq!(filter.lets_out(&frame), *leaves, "{number}");
            assert_eq!(held_back.load(Ordering::Relaxed), expected);
            // Neither as another protocol, nor behind the tag of a VLAN.
            for kind in [0x86dd, 0x8100, 0x88a8, 0x9100, 0, 0xffff] {
                let frame = [&frame[..12], &u16::to_be_bytes(kind), &frame[12..]].concat();
                assert!(!filter.lets_out(&frame), "{number}: {kind:#x}");
            }
            // Nor cut off.
            for length in 0..frame.len() {
                let cut = filter.lets_out(&frame[..length]);
                assert!(!cut, "{number}: {length} bytes");
            }
            held_back.store(expected, Ordering::Relaxed);
        }
    }

    #[test]
    fn only_answers_leave() {
        check(&[
            (&tcp(80, GATEWAY, ACK), true),
            (&tcp(80, GATEWAY, SYN | ACK), true),
            (&tcp(80, GATEWAY, RST), true),
            (&tcp(80, GATEWAY, RST | ACK), true),
            // What opens a connection, or belongs to none.
            (&tcp(80, GATEWAY, SYN), false),
            (&tcp(80, GATEWAY, SYN | RST), false),
            (&tcp(80, GATEWAY, SYN | 1), false),
            (&tcp(80, GATEWAY, 0), false),
            (&tcp(81, GATEWAY, ACK), false),
            (&tcp(80, OTHER, ACK), false),
        ]);
    }

    #[test]
    fn of_datagrams_only_dhcp_leaves() {
        check(&[
            (&udp(CLIENT, [255; 4], SERVER), true),
            (&udp(CLIENT, GATEWAY, SERVER), true),
            (&udp(CLIENT, OTHER, SERVER), false),
            (&udp(80, [255; 4], SERVER), false),
            (&udp(CLIENT, GATEWAY, 53), false),
            (&packet(5, 1, GATEWAY, &[8, 0, 0, 0, 0, 1, 0, 1]), false),
            // ICMP, IPv6 in IPv4, SCTP.
            (&packet(5, 41, GATEWAY, &[0; 40]), false),
            (&packet(5, 132, GATEWAY, &ports(80, 80)), false),
        ]);
    }

    /// A header that the filter takes for another one than `passt` does would be a hole.
    #[test]
    fn odd_headers_do_not_mislead() {
        let segment = |flags| tcp(80, GATEWAY, flags).split_off(20);
        let longer = |flags| packet(15, 6, GATEWAY, &segment(flags));
        let mut early = tcp(80, GATEWAY, ACK);
        // Its content would begin in its own header.
        early[0] = 0x44;
        let mut fragments = Vec::new();
        for bits in [0x2000_u16, 1, 0x1fff] {
            let mut fragment = tcp(80, GATEWAY, ACK);
            fragment[6..8].copy_from_slice(&bits.to_be_bytes());
            fragments.push(fragment);
        }
        check(&[
            (&longer(ACK), true),
            (&longer(SYN), false),
            (&early, false),
            (&fragments[0], false),
            (&fragments[1], false),
            (&fragments[2], false),
        ]);
    }

    #[test]
    fn arp_leaves() {
        let filter = Filter::new(&[], Arc::default());
        assert!(filter.lets_out(&frame(0x0806, &[0; 28])));
        // Without forwarded ports, nothing of TCP does.
        assert!(!filter.lets_out(&frame(0x0800, &tcp(80, GATEWAY, ACK))));
    }
}
