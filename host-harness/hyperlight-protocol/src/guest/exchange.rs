//! Batches that go, and replies that come.

use alloc::{vec, vec::Vec};
use core::mem;

use super::{
    Batched, Calls,
    digest::digest,
    outbox::{self, ADDED, MAX_BATCH, PAGE},
    slot::{HostCopy, Incoming, OutOfPlace, Slot, State, Woken},
};
use crate::{
    Batch, BatchHeader, CHUNK_HEADER, CallId, Flags, FromHost, Kind, MAX_MESSAGE, MAX_RECORDS,
    RECORD_HEADER, RecordHeader, Reply, ReplyHeader, ReplyStatus, ResultHeader, Status,
};

/// The longest batch that needs no page, with what Hyperlight adds to it.
const SHORT: usize = 64;

/// The least room for results, beside any batch.
const LEAST_ROOM: usize = 4096;

const _: () = assert!(MAX_MESSAGE - ReplyHeader::LEN - (MAX_BATCH + ADDED) >= LEAST_ROOM);

impl Calls {
    /// Writes the next batch, which waits for `wait` nanoseconds, or not at all if something stays
    /// queued, or a call has ended meanwhile. If the last one had no answer, this says the same
    /// again, but for calls.
    #[must_use]
    pub fn batch(&mut self, wait: u64, is_first: bool, awaits_events: bool) -> Vec<u8> {
        self.write_batch(
            wait,
            Flags {
                is_first,
                expects: awaits_events,
                ..Flags::default()
            },
        )
    }

    /// As [`batch`](Self::batch), with these flags.
    pub(super) fn write_batch(&mut self, wait: u64, flags: Flags) -> Vec<u8> {
        let number = self.number.wrapping_add(1);
        self.no_answer();
        let is_repeated = self.attempts > 0;
        let (mut calls, mut inputs) = (None, 0);
        let mut is_woken = false;
        if !is_repeated {
            is_woken = self.fetch();
            self.keep();
            // Calls go if the other records leave space: cancellations make room for them.
            let cancels = self.cancels.len().min(MAX_RECORDS);
            let wants = self.wants.len().min(MAX_RECORDS - cancels);
            self.batched = Batched { cancels, wants };
            let length = cancels * RECORD_HEADER + wants * (RECORD_HEADER + 4);
            if !mem::take(&mut self.is_input_due) {
                calls = self.outboxes.pop(cancels + wants, length);
            }
        }
        let Batched { cancels, wants } = self.batched;
        let mut bytes = calls.unwrap_or_else(|| vec![0; BatchHeader::LEN]);
        for id in outbox::calls_in(&bytes) {
            self.slots[id.slot()].state = State::Sent {
                number,
                incoming: Incoming::default(),
            };
            self.sent += 1;
        }
        let mut record = |kind, id: CallId, payload: &[u8]| {
            let header = RecordHeader {
                kind,
                cid: id.0,
                payload_len: payload.len() as u32,
            };
            bytes.extend_from_slice(&header.to_bytes());
            bytes.extend_from_slice(payload);
        };
        for id in self.cancels.iter().take(cancels) {
            record(Kind::Cancel, *id, &[]);
        }
        for (id, offset) in self.wants.iter().take(wants) {
            record(Kind::More, *id, &offset.to_le_bytes());
        }
        if !is_repeated {
            let records = MAX_RECORDS - outbox::headers_in(&bytes).count();
            let before = bytes.len();
            let longest = MAX_BATCH.min(before + CHUNK_HEADER + self.input_share());
            is_woken |= self.write_inputs(number, &mut bytes, longest, records);
            inputs = bytes.len() - before;
            self.digest = digest(&bytes[BatchHeader::LEN..]);
        }
        let is_all = self.outboxes.len() == 0
            && self.inputs.is_empty()
            && (cancels, wants) == (self.cancels.len(), self.wants.len());
        let header = BatchHeader {
            flags: Flags {
                is_repeated,
                expects: flags.expects || self.expects(),
                ..flags
            },
            generation: self.generation,
            number,
            wait: if is_all && !is_woken { wait } else { 0 },
            room: self.room(bytes.len(), inputs) as u32,
            digest: self.digest,
        };
        bytes[..BatchHeader::LEN].copy_from_slice(&header.to_bytes());
        debug_assert!(Batch::parse(&bytes).is_some());
        self.attempts = self.attempts.saturating_add(1);
        bytes
    }

    /// How many bytes of results may come in the reply to a batch of `length` bytes, `inputs` of
    /// them of inputs. The reply needs memory beside the results, so a guest with a small budget
    /// gets small replies.
    fn room(&self, length: usize, inputs: usize) -> usize {
        let used = if length <= SHORT {
            0
        } else {
            (length + ADDED).next_multiple_of(PAGE)
        };
        let left = (MAX_MESSAGE - ReplyHeader::LEN).saturating_sub(used);
        left.min(self.share().saturating_sub(inputs).max(LEAST_ROOM))
    }

    /// How many bytes of results and inputs go in one exchange at most, so that a small guest has
    /// memory for them.
    fn share(&self) -> usize {
        (self.budget / 4).max(LEAST_ROOM)
    }

    /// How many of them are of inputs. By default that is a little less than 8 KiB: a heap that
    /// allocates powers of two has no larger blocks for the batch and for what Hyperlight makes of
    /// it.
    pub(super) fn input_share(&self) -> usize {
        self.share() / 4 * 3
    }

    /// To be called when the last batch had no answer: its calls have ended as lost, since they may
    /// have arrived or not. Afterwards, wake [what was woken](Self::next_woken).
    pub fn no_answer(&mut self) {
        if self.attempts != 1 {
            return;
        }
        let unanswered = self.number.wrapping_add(1);
        let is_lost = |slot: &Slot, number| {
            let streams = slot.streams.as_ref();
            number == unanswered || streams.is_some_and(|it| it.last_sent == unanswered)
        };
        self.lose(is_lost, true);
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
        self.take_records(reply);
        true
    }

    /// Takes what a reply has of results and streams.
    pub(super) fn take_records(&mut self, reply: &Reply<'_>) {
        for record in reply.records() {
            match record {
                FromHost::Result(result, piece) => self.arrived(result, piece),
                FromHost::Chunk { id, offset, bytes } => self.chunk_arrived(id, offset, bytes),
                FromHost::More { id, offset } => self.input_was_taken(id, offset),
                FromHost::Signal { .. } => {}
            }
        }
    }

    /// The batch that was sent last has arrived. In another generation than before, the host knows
    /// nothing of earlier batches.
    pub(super) fn acknowledged(&mut self, generation: u64) {
        let batched = mem::take(&mut self.batched);
        let is_new = self.generation != generation;
        self.generation = generation;
        self.number = self.number.wrapping_add(1);
        self.attempts = 0;
        if is_new {
            let last = self.number;
            self.cancels.clear();
            self.wants.clear();
            self.lose_copies();
            self.lose(|_, number| number != last, false);
        } else {
            self.cancels.drain(..batched.cancels);
            self.wants.drain(..batched.wants);
        }
    }

    /// Ends the calls that were sent in certain batches, and cancels them if the host may have
    /// them.
    pub(super) fn lose(&mut self, is_lost: impl Fn(&Slot, u64) -> bool, cancels: bool) {
        for slot in 0..self.slots.len() {
            if let State::Sent { number, .. } = self.slots[slot].state
                && is_lost(&self.slots[slot], number)
            {
                let id = self.slots[slot].id(slot);
                self.ended(id, Status::Lost, Vec::new());
                if cancels {
                    self.cancels.push_back(id);
                }
            }
        }
    }

    /// A result has come, or a piece of one.
    fn arrived(&mut self, result: ResultHeader, piece: &[u8]) {
        let id = result.id;
        let is_last = result.offset as usize + piece.len() == result.total as usize;
        let slot = self.slots.get_mut(id.slot()).filter(|slot| slot.is(id));
        let Some(slot) = slot else {
            // It was cancelled.
            return;
        };
        let is_first = match &slot.state {
            State::Sent { incoming, .. } => incoming.is_new(),
            State::OnHost { .. } => {
                if is_last {
                    self.arrived.push(id);
                }
                return;
            }
            _ => return,
        };
        let has_streams = slot.streams.is_some();
        if slot.end_output() {
            self.waiting.retain(|waiting| *waiting != id);
        }
        if has_streams && is_first {
            // It was for the output.
            self.forget_want(id);
        }
        if has_streams && result.status == Status::Done && result.total > 0 {
            // Its output is what the function returns.
            return self.refuse(id, Status::Lost);
        }
        if is_first && !self.admit(&result, is_last && result.offset == 0) {
            return;
        }
        let State::Sent { incoming, .. } = &mut self.slots[id.slot()].state else {
            return;
        };
        match incoming.append(&result, piece) {
            // A host that sends nothing again and again is not asked again and again.
            Ok(false) if piece.is_empty() && !is_first => {}
            Ok(false) => {
                let arrived = incoming.len() as u32;
                self.want(id, arrived);
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
    pub(super) fn ended(&mut self, id: CallId, status: Status, bytes: Vec<u8>) {
        self.forget_want(id);
        let slot = &mut self.slots[id.slot()];
        let State::Sent { incoming, .. } = &slot.state else {
            return;
        };
        self.sent -= 1;
        self.held = self.held - incoming.reserved() + bytes.len();
        let copy = if bytes.is_empty() {
            HostCopy::No
        } else {
            self.arrived.push(id);
            HostCopy::UntilNextBatch
        };
        slot.state = State::Ended {
            status,
            bytes,
            copy,
        };
        self.woken.push_back((id, Woken::Both));
    }

    /// Asks for what follows the first `offset` bytes of a result, and not for what it asked
    /// before.
    pub(super) fn want(&mut self, id: CallId, offset: u32) {
        self.forget_want(id);
        self.wants.push_back((id, offset));
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
