//! The calls that wait for the next batch, in the form in which they are sent.

use alloc::{collections::VecDeque, vec::Vec};

use crate::{BatchHeader, CallId, Kind, MAX_NAME, MAX_RECORDS, RECORD_HEADER, RecordHeader};

/// What Hyperlight's queue has for one host call is shared by both directions, in pages of this
/// size.
pub(super) const PAGE: usize = 4096;

/// How much Hyperlight adds to a batch.
pub(super) const ADDED: usize = 256;

/// The longest batch.
pub(super) const MAX_BATCH: usize = 9 * PAGE - ADDED;

/// The bytes of a batch that calls leave to other records.
const RESERVED: usize = 512;

/// The longest batch that calls fill.
const MAX_OUTBOX: usize = MAX_BATCH - RESERVED;

/// The records of a batch that calls leave to others.
const RESERVED_RECORDS: usize = 64;

/// One or more batches in the making, each with at least one call. A second one is begun when the
/// first is full.
#[derive(Clone, Debug)]
pub(super) struct Outboxes {
    boxes: VecDeque<Outbox>,
    /// The number of the next.
    next: u64,
}

#[derive(Clone, Debug)]
struct Outbox {
    /// Greater than those of the outboxes before it.
    number: u64,
    /// Begins with space for the batch's header.
    bytes: Vec<u8>,
    records: usize,
    /// The records that are not void.
    calls: usize,
}

/// Where a call's record is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    number: u64,
    offset: usize,
}

impl Outboxes {
    pub(super) const fn new() -> Self {
        Self {
            boxes: VecDeque::new(),
            next: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.boxes.len()
    }

    /// Forgets all calls.
    pub(super) fn clear(&mut self) {
        self.boxes.clear();
    }

    /// Whether a call fits into a batch at all.
    pub(super) fn fits(name: &str, argument: &[u8]) -> bool {
        let most = MAX_OUTBOX - BatchHeader::LEN - RECORD_HEADER - 1;
        let length = name.len().checked_add(argument.len());
        name.len() <= MAX_NAME && length.is_some_and(|length| length <= most)
    }

    /// Adds a call that fits.
    pub(super) fn push(&mut self, kind: Kind, id: CallId, name: &str, argument: &[u8]) -> Place {
        let payload_len = 1 + name.len() + argument.len();
        let length = RECORD_HEADER + payload_len;
        let has_room = |last: &Outbox| {
            last.bytes.len() + length <= MAX_OUTBOX && last.records < MAX_RECORDS - RESERVED_RECORDS
        };
        if !self.boxes.back().is_some_and(has_room) {
            self.boxes.push_back(Outbox {
                number: self.next,
                bytes: Vec::new(),
                records: 0,
                calls: 0,
            });
            self.next += 1;
        }
        let last = self.boxes.len() - 1;
        let last = &mut self.boxes[last];
        if last.bytes.is_empty() {
            last.bytes.reserve(BatchHeader::LEN + length);
            last.bytes.extend_from_slice(&[0; BatchHeader::LEN]);
        }
        let offset = last.bytes.len();
        let header = RecordHeader {
            kind,
            cid: id.0,
            payload_len: payload_len as u32,
        };
        last.bytes.reserve(length);
        last.bytes.extend_from_slice(&header.to_bytes());
        last.bytes.push(name.len() as u8);
        last.bytes.extend_from_slice(name.as_bytes());
        last.bytes.extend_from_slice(argument);
        last.records += 1;
        last.calls += 1;
        Place {
            number: last.number,
            offset,
        }
    }

    /// Takes a call back. Its bytes may stay, as a void record.
    pub(super) fn remove(&mut self, place: Place) {
        let found = self
            .boxes
            .binary_search_by_key(&place.number, |outbox| outbox.number);
        let Ok(index) = found else {
            return;
        };
        let outbox = &mut self.boxes[index];
        outbox.calls -= 1;
        if outbox.calls == 0 {
            self.boxes.remove(index);
            return;
        }
        let mut record = &outbox.bytes[place.offset..];
        let header = RecordHeader::take(&mut record);
        if header.is_some_and(|header| header.payload_len as usize == record.len()) {
            outbox.bytes.truncate(place.offset);
            outbox.records -= 1;
        } else {
            outbox.bytes[place.offset] = Kind::Void as u8;
        }
    }

    /// Takes the first batch in the making, if `records` more, which are `length` bytes, fit into
    /// it. It has space for the header.
    pub(super) fn pop(&mut self, records: usize, length: usize) -> Option<Vec<u8>> {
        let first = self.boxes.pop_front_if(|first| {
            first.records + records <= MAX_RECORDS && first.bytes.len() + length <= MAX_BATCH
        });
        first.map(|first| first.bytes)
    }
}

/// The calls in a batch that [`Outboxes::pop`] has returned.
pub(super) fn calls_in(batch: &[u8]) -> impl Iterator<Item = CallId> {
    headers_in(batch)
        .filter(|header| matches!(header.kind, Kind::Request | Kind::StreamRequest))
        .map(|header| CallId(header.cid))
}

/// The headers of a batch's records.
pub(super) fn headers_in(batch: &[u8]) -> impl Iterator<Item = RecordHeader> {
    let mut rest = &batch[BatchHeader::LEN..];
    core::iter::from_fn(move || {
        let header = RecordHeader::take(&mut rest)?;
        rest = rest.get(header.payload_len as usize..)?;
        Some(header)
    })
}
