//! What is sent and received: a header, and data behind it (virtio 1.2, 5.10.6).

use alloc::{boxed::Box, vec::Vec};

/// The bytes of a header.
pub(super) const HEADER: usize = 44;

/// The type of stream sockets.
pub(super) const STREAM: u16 = 1;

/// What a packet is for.
pub(super) mod op {
    pub(in crate::vsock) const INVALID: u16 = 0;
    pub(in crate::vsock) const REQUEST: u16 = 1;
    pub(in crate::vsock) const RESPONSE: u16 = 2;
    pub(in crate::vsock) const RESET: u16 = 3;
    pub(in crate::vsock) const SHUTDOWN: u16 = 4;
    pub(in crate::vsock) const DATA: u16 = 5;
    pub(in crate::vsock) const CREDIT_UPDATE: u16 = 6;
    pub(in crate::vsock) const CREDIT_REQUEST: u16 = 7;
}

/// The flags of a shutdown, by its sender.
pub(super) mod shutdown {
    /// It receives no more data.
    pub(in crate::vsock) const RECEIVE: u32 = 1;
    /// It sends no more data.
    pub(in crate::vsock) const SEND: u32 = 2;
    pub(in crate::vsock) const BOTH: u32 = RECEIVE | SEND;
}

/// Which connection a packet is of, as this side names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) local_port: u32,
    pub(super) peer_cid: u32,
    pub(super) peer_port: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) source_cid: u64,
    pub(super) destination_cid: u64,
    pub(super) source_port: u32,
    pub(super) destination_port: u32,
    /// The bytes of data behind it.
    pub(super) length: u32,
    pub(super) kind: u16,
    pub(super) op: u16,
    pub(super) flags: u32,
    /// The bytes that the sender has room for.
    pub(super) buffer: u32,
    /// The bytes that the sender's program has taken.
    pub(super) forwarded: u32,
}

impl Header {
    /// A packet to the peer of a connection.
    pub(super) fn new(cid: u32, key: Key, op: u16) -> Self {
        Self {
            source_cid: cid.into(),
            destination_cid: key.peer_cid.into(),
            source_port: key.local_port,
            destination_port: key.peer_port,
            length: 0,
            kind: STREAM,
            op,
            flags: 0,
            buffer: 0,
            forwarded: 0,
        }
    }

    pub(super) fn parse(bytes: &[u8; HEADER]) -> Self {
        let mut rest = bytes.as_slice();
        Self {
            source_cid: u64::from_le_bytes(take(&mut rest)),
            destination_cid: u64::from_le_bytes(take(&mut rest)),
            source_port: u32::from_le_bytes(take(&mut rest)),
            destination_port: u32::from_le_bytes(take(&mut rest)),
            length: u32::from_le_bytes(take(&mut rest)),
            kind: u16::from_le_bytes(take(&mut rest)),
            op: u16::from_le_bytes(take(&mut rest)),
            flags: u32::from_le_bytes(take(&mut rest)),
            buffer: u32::from_le_bytes(take(&mut rest)),
            forwarded: u32::from_le_bytes(take(&mut rest)),
        }
    }

    /// The packet, with the data of these two slices.
    pub(super) fn packet(mut self, data: (&[u8], &[u8])) -> Box<[u8]> {
        let length = data.0.len() + data.1.len();
        self.length = length as u32;
        let mut bytes = Vec::with_capacity(HEADER + length);
        bytes.extend(self.source_cid.to_le_bytes());
        bytes.extend(self.destination_cid.to_le_bytes());
        bytes.extend(self.source_port.to_le_bytes());
        bytes.extend(self.destination_port.to_le_bytes());
        bytes.extend(self.length.to_le_bytes());
        bytes.extend(self.kind.to_le_bytes());
        bytes.extend(self.op.to_le_bytes());
        bytes.extend(self.flags.to_le_bytes());
        bytes.extend(self.buffer.to_le_bytes());
        bytes.extend(self.forwarded.to_le_bytes());
        bytes.extend_from_slice(data.0);
        bytes.extend_from_slice(data.1);
        bytes.into()
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> [u8; N] {
    let (first, rest) = bytes.split_first_chunk().expect("a header has all fields");
    *bytes = rest;
    *first
}
