//! Records: what a batch and a reply consist of, behind their headers.

use crate::{MAX_RECORDS, join, take, take_u32};

/// The length of [`RecordHeader`], in bytes.
pub const RECORD_HEADER: usize = 12;

/// The kind of a record. Those below 0x80 are Hyperlight's `MsgKind`, of which this protocol leaves
/// out what concerns Hyperlight alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A call, from the guest.
    Request = 0x01,
    /// A result, or a piece of one, from the host.
    Response = 0x02,
    /// A piece of a call's input, from the guest; or of its output, from the host.
    StreamChunk = 0x03,
    /// The end of a call's input, from the guest. A call's output ends with its response.
    StreamEnd = 0x04,
    /// The guest does not want the result of a call any more.
    Cancel = 0x05,
    /// The host keeps a result, and the guest has room for its next piece. Or there is room for
    /// more of a stream: of an output, from the guest; of an input, from the host.
    More = 0x80,
    /// Signals of an event, from the host. The `cid` is the event's number.
    Signal = 0x81,
    /// A call that the guest has ended before it was sent.
    Void = 0x82,
    /// A call with an input and an output, from the guest.
    StreamRequest = 0x83,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0x01 => Self::Request,
            0x02 => Self::Response,
            0x03 => Self::StreamChunk,
            0x04 => Self::StreamEnd,
            0x05 => Self::Cancel,
            0x80 => Self::More,
            0x81 => Self::Signal,
            0x82 => Self::Void,
            0x83 => Self::StreamRequest,
            _ => return None,
        })
    }
}

/// The number of a call: a slot of the guest's table, and the slot's age. A slot that is used again
/// has another age, so what comes late for an earlier call names no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(pub u32);

impl CallId {
    const SLOT_BITS: u32 = 10;

    /// The number of slots.
    pub const SLOTS: usize = 1 << Self::SLOT_BITS;

    /// The greatest age. The least is 1, so that no number is 0.
    pub const MAX_AGE: u32 = u32::MAX >> Self::SLOT_BITS;

    /// The number for a slot and its age; both are taken modulo their ranges.
    #[must_use]
    pub const fn new(slot: usize, age: u32) -> Self {
        Self(age << Self::SLOT_BITS | (slot % Self::SLOTS) as u32)
    }

    /// The slot, less than [`SLOTS`](Self::SLOTS).
    #[must_use]
    pub const fn slot(self) -> usize {
        self.0 as usize % Self::SLOTS
    }

    /// The slot's age.
    #[must_use]
    pub const fn age(self) -> u32 {
        self.0 >> Self::SLOT_BITS
    }
}

/// The header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// What the payload is.
    pub kind: Kind,
    /// Which call it belongs to.
    pub cid: u32,
    /// The payload's length, in bytes.
    pub payload_len: u32,
}

impl RecordHeader {
    /// Writes the header.
    #[must_use]
    pub fn to_bytes(self) -> [u8; RECORD_HEADER] {
        join(&[
            &[self.kind as u8, 0, 0, 0],
            &self.cid.to_le_bytes(),
            &self.payload_len.to_le_bytes(),
        ])
    }

    pub(crate) fn take(bytes: &mut &[u8]) -> Option<Self> {
        let [kind, 0, 0, 0] = *take(bytes)? else {
            return None;
        };
        Some(Self {
            kind: Kind::from_byte(kind)?,
            cid: take_u32(bytes)?,
            payload_len: take_u32(bytes)?,
        })
    }
}

/// The length of a chunk's record without its bytes.
pub const CHUNK_HEADER: usize = RECORD_HEADER + 4;

/// Writes the header of a chunk's record: of the `length` bytes of a stream, which follow it,
/// behind the first `offset`. Offsets of streams count modulo 2^32.
#[must_use]
pub fn chunk_header(id: CallId, offset: u32, length: u32) -> [u8; CHUNK_HEADER] {
    let header = RecordHeader {
        kind: Kind::StreamChunk,
        cid: id.0,
        payload_len: length.saturating_add(4),
    };
    join(&[&header.to_bytes(), &offset.to_le_bytes()])
}

/// The records in `bytes`, as `parse` reads them from header and payload. The first that cannot be
/// read ends them with `None`.
pub(crate) fn records<'a, T>(
    mut bytes: &'a [u8],
    parse: impl Fn(RecordHeader, &'a [u8]) -> Option<T>,
) -> impl Iterator<Item = Option<T>> {
    core::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let record = RecordHeader::take(&mut bytes).and_then(|header| {
            let (payload, rest) = bytes.split_at_checked(header.payload_len as usize)?;
            bytes = rest;
            parse(header, payload)
        });
        if record.is_none() {
            bytes = &[];
        }
        Some(record)
    })
}

/// Whether all `records` can be read, and are not too many.
pub(crate) fn are_sound<T>(records: impl Iterator<Item = Option<T>>) -> bool {
    let mut count = 0;
    for record in records {
        count += 1;
        if record.is_none() || count > MAX_RECORDS {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn headers_have_the_bytes_of_hyperlights_messages() {
        let header = RecordHeader {
            kind: Kind::Cancel,
            cid: 0x0403_0201,
            payload_len: 7,
        };
        let bytes = [5, 0, 0, 0, 1, 2, 3, 4, 7, 0, 0, 0];
        assert_eq!(header.to_bytes(), bytes);
        assert_eq!(RecordHeader::take(&mut &bytes[..]), Some(header));
        // Another kind, reserved bytes that are not zero, too short.
        for (index, wrong) in [(0, 6), (0, 0x84), (1, 1), (3, 0x80)] {
            let mut bytes = bytes;
            bytes[index] = wrong;
            assert_eq!(RecordHeader::take(&mut &bytes[..]), None);
        }
        assert_eq!(RecordHeader::take(&mut &bytes[..11]), None);
    }

    proptest! {
        #[test]
        fn an_id_keeps_slot_and_age(slot in 0..CallId::SLOTS, age in 1..=CallId::MAX_AGE) {
            let id = CallId::new(slot, age);
            prop_assert_eq!((id.slot(), id.age()), (slot, age));
            prop_assert_ne!(id.0, 0);
        }
    }
}
