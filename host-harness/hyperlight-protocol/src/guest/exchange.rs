//! Batches that go, and replies that come.

use alloc::vec::Vec;
use core::mem;

use super::{
    Batched, Calls, LEAST_ROOM, PAGE,
    slot::{Incoming, OutOfPlace, State},
};
use crate::{
    Batch, BatchHeader, CallId, Flags, FromHost, Kind, MAX_MESSAGE, MAX_RECORDS, RECORD_HEADER,
    RecordHeader, Reply, ReplyHeader, ReplyStatus, ResultHeader, Status,
};

impl Calls {
    /// Writes the next batch, which waits for `wait` nanoseconds. If the last one had no answer,
    /// this says the same again.
    #[must_use]
    pub fn batch(&mut self, wait: u64, is_first: bool, awaits_events: bool) -> Vec<u8> {
        if self.attempts == 0 {
            self.batched = self.fitting();
        }
        let batched = self.batched;
        let mut bytes = Vec::with_capacity(BatchHeader::LEN + self.batched_len());
        bytes.extend_from_slice(&[0; BatchHeader::LEN]);
        let mut record = |kind, id: CallId, payload: &[u8]| {
            let header = RecordHeader {
                kind,
                cid: id.0,
                payload_len: payload.len() as u32,
            };
            bytes.extend_from_slice(&header.to_bytes());
            bytes.extend_from_slice(payload);
        };
        for id in self.cancels.iter().take(batched.cancels) {
            record(Kind::Cancel, *id, &[]);
        }
        for (id, offset) in self.wants.iter().take(batched.wants) {
            record(Kind::More, *id, &offset.to_le_bytes());
        }
        for id in self.queue.iter().take(batched.calls) {
            if let State::Queued { payload } = &self.slots[id.slot()].state {
                record(Kind::Request, *id, payload);
            }
        }
        let used = bytes.len().next_multiple_of(PAGE) - PAGE;
        let header = BatchHeader {
            flags: Flags {
                is_first,
                is_repeated: self.attempts > 0,
                expects: awaits_events || self.expects(),
            },
            generation: self.generation,
            number: self.number.wrapping_add(1),
            wait,
            room: (MAX_MESSAGE - ReplyHeader::LEN).saturating_sub(used) as u32,
        };
        bytes[..BatchHeader::LEN].copy_from_slice(&header.to_bytes());
        debug_assert!(Batch::parse(&bytes).is_some());
        self.attempts = self.attempts.saturating_add(1);
        bytes
    }

    /// How many elements of each queue fit into the next batch.
    fn fitting(&self) -> Batched {
        let mut bytes = MAX_MESSAGE - BatchHeader::LEN - LEAST_ROOM;
        let mut records = MAX_RECORDS;
        let mut fits = |length: usize| {
            let length = RECORD_HEADER + length;
            let fits = length <= bytes && records > 0;
            if fits {
                bytes -= length;
                records -= 1;
            }
            fits
        };
        let cancels = self.cancels.iter().take_while(|_| fits(0)).count();
        let wants = self.wants.iter().take_while(|_| fits(4)).count();
        let calls = self.queue.iter();
        let calls = calls
            .take_while(|id| fits(self.slots[id.slot()].payload_len()))
            .count();
        Batched {
            calls,
            cancels,
            wants,
        }
    }

    fn batched_len(&self) -> usize {
        let calls = self.queue.iter().take(self.batched.calls);
        let calls: usize = calls
            .map(|id| RECORD_HEADER + self.slots[id.slot()].payload_len())
            .sum();
        calls + self.batched.cancels * RECORD_HEADER + self.batched.wants * (RECORD_HEADER + 4)
    }

    /// Takes the reply to the last [`batch`](Self::batch), but for signals of events. Returns
    /// `false` if it is no reply to that batch. Afterwards, wake [what was
    /// woken](Self::next_woken).
    #[must_use]
    pub fn take_reply(&mut self, reply: &Reply<'_>) -> bool {
        let header = reply.header;
        let is_next = header.number == self.number.wrapping_add(1);
        if !is_next || self.attempts == 0 || header.status == ReplyStatus::BadBatch {
            return false;
        }
        self.acknowledged(header.generation);
        for record in reply.records() {
            if let FromHost::Result(result, piece) = record {
                self.arrived(result, piece);
            }
        }
        true
    }

    /// The batch that was sent last has arrived. In another generation than before, the host knows
    /// nothing of earlier batches.
    fn acknowledged(&mut self, generation: u64) {
        let batched = mem::take(&mut self.batched);
        let was_repeated = mem::take(&mut self.attempts) > 1;
        let is_new = self.generation != generation;
        self.generation = generation;
        self.number = self.number.wrapping_add(1);
        if is_new {
            self.lose_all();
            self.cancels.clear();
            self.wants.clear();
        } else {
            self.cancels.drain(..batched.cancels);
            self.wants.drain(..batched.wants);
        }
        for _ in 0..batched.calls {
            let Some(id) = self.queue.pop_front() else {
                break;
            };
            let slot = &mut self.slots[id.slot()];
            self.queued = self.queued.saturating_sub(slot.payload_len());
            slot.state = State::Sent {
                incoming: Incoming::default(),
            };
            self.sent += 1;
            if is_new && was_repeated {
                // It may have arrived in the earlier generation: the host has not taken it again.
                self.ended(id, Status::Lost, Vec::new());
            }
        }
    }

    /// Ends all calls that were sent.
    fn lose_all(&mut self) {
        for slot in 0..self.slots.len() {
            if let State::Sent { .. } = self.slots[slot].state {
                let id = self.slots[slot].id(slot);
                self.ended(id, Status::Lost, Vec::new());
            }
        }
    }

    /// A result has come, or a piece of one.
    fn arrived(&mut self, result: ResultHeader, piece: &[u8]) {
        let id = result.id;
        let slot = self.slots.get_mut(id.slot()).filter(|slot| slot.is(id));
        let Some(State::Sent { incoming }) = slot.map(|slot| &mut slot.state) else {
            // It was cancelled.
            return;
        };
        let total = result.total as usize;
        let is_first = incoming.is_new();
        if is_first {
            let fits = self
                .held
                .checked_add(total)
                .is_some_and(|all| all <= self.budget);
            if !(fits && incoming.reserve(result.status, total)) {
                if piece.len() < total {
                    self.cancels.push_back(id);
                }
                return self.ended(id, Status::TooLarge, Vec::new());
            }
            self.held += total;
        }
        match incoming.append(&result, piece) {
            // A host that sends nothing again and again is not asked again and again.
            Ok(false) if piece.is_empty() && !is_first => {}
            Ok(false) => {
                let arrived = incoming.len() as u32;
                self.wants.push_back((id, arrived));
            }
            Ok(true) => {
                let bytes = incoming.take();
                self.ended(id, result.status, bytes);
            }
            Err(OutOfPlace) => {
                self.cancels.push_back(id);
                self.ended(id, Status::Lost, Vec::new());
            }
        }
    }

    /// A call that was sent has ended.
    fn ended(&mut self, id: CallId, status: Status, bytes: Vec<u8>) {
        self.forget_want(id);
        let slot = &mut self.slots[id.slot()];
        let State::Sent { incoming } = &slot.state else {
            return;
        };
        self.sent -= 1;
        self.held = self.held.saturating_sub(incoming.reserved()) + bytes.len();
        slot.state = State::Ended { status, bytes };
        self.woken.push_back(id);
    }

    /// Takes back a request for more of a result, unless it is in a batch.
    pub(super) fn forget_want(&mut self, id: CallId) {
        let unsent = self.wants.iter().skip(self.batched.wants);
        let place = unsent.into_iter().position(|(want, _)| *want == id);
        if let Some(place) = place {
            self.wants.remove(self.batched.wants + place);
        }
    }
}
