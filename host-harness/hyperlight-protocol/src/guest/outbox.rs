//! The calls that wait for the next batch, in the form in which they are sent.

use alloc::{collections::VecDeque, vec::Vec};

use super::exchange::MAX_OUTBOX;
use crate::{BatchHeader, CallId, Kind, MAX_NAME, MAX_RECORDS, RECORD_HEADER, RecordHeader};

/// The records of a batch that calls leave to others.
const RESERVED_RECORDS: usize = 64;

/// One or more batches in the making. A second one is begun when the first is full.
#[derive(Clone, Debug)]
pub(super) struct Outboxes {
    boxes: VecDeque<Outbox>,
    /// The number of the first.
    first: u64,
}

#[derive(Clone, Debug)]
struct Outbox {
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
            first: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.boxes.len()
    }

    /// Whether a call fits into a batch at all.
    pub(super) fn fits(name: &str, argument: &[u8]) -> bool {
        let most = MAX_OUTBOX - BatchHeader::LEN - RECORD_HEADER - 1;
        let length = name.len().checked_add(argument.len());
        name.len() <= MAX_NAME && length.is_some_and(|length| length <= most)
    }

    /// Adds a call that fits.
    pub(super) fn push(&mut self, id: CallId, name: &str, argument: &[u8]) -> Place {
        let payload_len = 1 + name.len() + argument.len();
        let length = RECORD_HEADER + payload_len;
        let has_room = |last: &Outbox| {
            last.bytes.len() + length <= MAX_OUTBOX && last.records < MAX_RECORDS - RESERVED_RECORDS
        };
        if !self.boxes.back().is_some_and(has_room) {
            self.boxes.push_back(Outbox {
                bytes: Vec::new(),
                records: 0,
                calls: 0,
            });
        }
        let number = self.first.wrapping_add(self.boxes.len() as u64 - 1);
        let last = self.boxes.len() - 1;
        let last = &mut self.boxes[last];
        if last.bytes.is_empty() {
            last.bytes.reserve(BatchHeader::LEN + length);
            last.bytes.extend_from_slice(&[0; BatchHeader::LEN]);
        }
        let offset = last.bytes.len();
        let header = RecordHeader {
            kind: Kind::Request,
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
        Place { number, offset }
    }

    /// Takes a call back. Its bytes may stay, as a void record.
    pub(super) fn remove(&mut self, place: Place) {
        let index = place.number.wrapping_sub(self.first) as usize;
        let Some(outbox) = self.boxes.get_mut(index) else {
            return;
        };
        outbox.calls -= 1;
        let mut record = &outbox.bytes[place.offset..];
        let header = RecordHeader::take(&mut record);
        if header.is_some_and(|header| header.payload_len as usize == record.len()) {
            outbox.bytes.truncate(place.offset);
            outbox.records -= 1;
        } else {
            outbox.bytes[place.offset] = Kind::Void as u8;
        }
        // From the front, so that the numbers of the others stay right.
        while self.boxes.front().is_some_and(|outbox| outbox.calls == 0) {
            self.boxes.pop_front();
            self.first = self.first.wrapping_add(1);
        }
    }

    /// Takes the first batch in the making: its bytes, with space for the header, and the number of
    /// its records.
    pub(super) fn pop(&mut self) -> Option<(Vec<u8>, usize)> {
        let Outbox { bytes, records, .. } = self.boxes.pop_front()?;
        self.first = self.first.wrapping_add(1);
        Some((bytes, records))
    }
}

/// The calls in a batch that [`Outboxes::pop`] has returned.
pub(super) fn calls_in(batch: &[u8]) -> impl Iterator<Item = CallId> {
    let mut rest = &batch[BatchHeader::LEN..];
    core::iter::from_fn(move || {
        let header = RecordHeader::take(&mut rest)?;
        rest = rest.get(header.payload_len as usize..)?;
        Some(header)
    })
    .filter(|header| header.kind == Kind::Request)
    .map(|header| CallId(header.cid))
}
