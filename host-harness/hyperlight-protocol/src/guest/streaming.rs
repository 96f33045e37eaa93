//! Calls with streams: pieces of an output that come, and of an input that go.

use alloc::vec::Vec;
use core::{mem, task::Waker};

use super::{
    CallError, Calls, Progress,
    slot::{State, Woken},
    streams::{End, LEAST_PIECE, Streams},
};
use crate::{CHUNK_HEADER, CallId, Kind, RECORD_HEADER, RecordHeader, Status, chunk_header};

/// Where an output is, for the stream that reads it.
#[derive(Debug)]
pub enum OutputProgress {
    /// Its next piece, which is not empty.
    Piece(Vec<u8>),
    /// The call has ended. Its slot is free again, or will be when its input is
    /// [ended](Calls::end_input) or [abandoned](Calls::abandon_input).
    Ended(Result<(), CallError>),
    /// It goes on. Whether its waker wakes the same task as the one that was passed.
    Waits(bool),
}

/// Where a piece of an input is, for the future that sends it.
#[derive(Debug, PartialEq, Eq)]
pub enum InputProgress {
    /// All of it is queued for the host.
    Queued,
    /// The call has ended, with an error.
    Ended(CallError),
    /// The host's function has to take some first. Whether its waker wakes the same task as the one
    /// that was passed.
    Waits(bool),
}

impl Calls {
    /// Queues a call with an input and an output for the next batch.
    ///
    /// # Errors
    ///
    /// As those of [`call`](Self::call).
    pub fn streaming_call(&mut self, name: &str, argument: &[u8]) -> Result<CallId, CallError> {
        let id = self.queue(Kind::StreamRequest, name, argument)?;
        self.slots[id.slot()].streams = Some(Streams::new());
        Ok(id)
    }

    /// Looks for a piece of the output of the call `id`, and takes it. If there is none, this asks
    /// the host for more.
    pub fn poll_output(&mut self, id: CallId, waker: &Waker) -> OutputProgress {
        let slot = self.slots.get_mut(id.slot()).filter(|slot| slot.is(id));
        let Some(slot) = slot else {
            return OutputProgress::Ended(Err(CallError::Lost));
        };
        if let Some(streams) = &mut slot.streams {
            if !streams.piece.is_empty() {
                let piece = mem::take(&mut streams.piece);
                self.held -= piece.len();
                return OutputProgress::Piece(piece);
            }
            if let State::Ended { status, bytes, .. } = &slot.state
                && streams.end == End::Open
            {
                if mem::replace(&mut streams.is_read, true) {
                    return OutputProgress::Ended(Err(CallError::Lost));
                }
                // The slot stays until the sender is gone too, so that both learn the same.
                let end = CallError::of(*status, bytes.clone());
                return OutputProgress::Ended(end.map(drop));
            }
            let is_sent = matches!(slot.state, State::Sent { .. });
            if is_sent && !streams.is_asked && !streams.is_waiting {
                self.ask_for_output(id);
            }
        }
        match self.poll(id, waker) {
            Progress::Waits(same) => OutputProgress::Waits(same),
            Progress::Ended(result) => OutputProgress::Ended(result.map(drop)),
        }
    }

    /// Queues what it can of `piece`, the next one of the input of the call `id`, and takes it off
    /// the beginning.
    pub fn poll_input(&mut self, id: CallId, piece: &mut &[u8], waker: &Waker) -> InputProgress {
        let share = self.input_share();
        let slot = self.slots.get_mut(id.slot()).filter(|slot| slot.is(id));
        let Some(slot) = slot else {
            return InputProgress::Ended(CallError::Lost);
        };
        if let State::Ended { status, bytes, .. } = &slot.state {
            // A function that ends without an error did not want the rest.
            *piece = &[];
            let end = CallError::of(*status, bytes.clone());
            return end.map_or_else(InputProgress::Ended, |_| InputProgress::Queued);
        }
        let is_wanted = slot.becomes_wanted();
        let is_on_host = matches!(slot.state, State::OnHost { .. });
        let Some(streams) = slot.streams.as_mut().filter(|it| it.end == End::Open) else {
            return InputProgress::Ended(CallError::Lost);
        };
        if is_on_host {
            // It has ended, and its sender waits for how.
            if is_wanted {
                self.waiting.push_back(id);
            }
            let writer = streams.writer.as_ref();
            return InputProgress::Waits(writer.is_some_and(|own| own.will_wake(waker)));
        }
        let (now, later) = piece.split_at(piece.len().min(streams.room(share)));
        if !streams.queue(now) {
            return InputProgress::Ended(CallError::TooLarge);
        }
        *piece = later;
        if streams.has_input() && !mem::replace(&mut streams.is_queued, true) {
            self.inputs.push_back(id);
        }
        if piece.is_empty() {
            return InputProgress::Queued;
        }
        let writer = streams.writer.as_ref();
        InputProgress::Waits(writer.is_some_and(|own| own.will_wake(waker)))
    }

    /// Sets the waker of the task that sends the input of the call `id`. Returns the one before, or
    /// this one if the call has ended: it is to be dropped outside of any critical section.
    pub fn set_writer(&mut self, id: CallId, waker: Waker) -> Option<Waker> {
        let slot = self.slots.get_mut(id.slot()).filter(|slot| slot.is(id));
        match slot.and_then(|slot| slot.streams.as_mut()) {
            Some(streams) => streams.writer.replace(waker),
            None => Some(waker),
        }
    }

    /// Ends the input of the call `id`, behind what was queued of it.
    pub fn end_input(&mut self, id: CallId) {
        self.close_input(id, true);
    }

    /// Ends the call `id`, whose input is not complete and gets no more: as lost, for its reader.
    /// Afterwards, wake [what was woken](Self::next_woken).
    pub fn abandon_input(&mut self, id: CallId) {
        self.close_input(id, false);
    }

    fn close_input(&mut self, id: CallId, is_complete: bool) {
        let Some(slot) = self.slots.get_mut(id.slot()).filter(|slot| slot.is(id)) else {
            return;
        };
        let streams = slot.streams.as_mut();
        let Some(streams) = streams.filter(|it| it.end == End::Open) else {
            return;
        };
        streams.end = End::Closed;
        match slot.state {
            State::Queued(_) | State::Sent { .. } if is_complete => {
                streams.end = End::IsToBeSent;
                if !mem::replace(&mut streams.is_queued, true) {
                    self.inputs.push_back(id);
                }
            }
            State::Queued(place) => {
                self.outboxes.remove(place);
                slot.state = State::without_result(Status::Lost);
                self.woken.push_back((id, Woken::Both));
            }
            State::Sent { .. } => self.refuse(id, Status::Lost),
            _ if streams.is_read => {
                let unused = self.cancel(id);
                self.writers.extend(unused);
            }
            _ => {}
        }
    }

    /// Puts what it can of inputs into the batch `number`, which becomes no longer than `longest`,
    /// with no more than `records` of them. Returns whether a task is to be woken, since there is
    /// space for its input.
    pub(super) fn write_inputs(
        &mut self,
        number: u64,
        batch: &mut Vec<u8>,
        longest: usize,
        mut records: usize,
    ) -> bool {
        let before = batch.len();
        let mut is_woken = false;
        // The first for which there was no space. It is the first of the next batch.
        let mut first_left = None;
        for _ in 0..self.inputs.len() {
            let Some(id) = self.inputs.pop_front() else {
                break;
            };
            let Some(slot) = self.slots.get_mut(id.slot()).filter(|slot| slot.is(id)) else {
                continue;
            };
            let is_sent = match slot.state {
                State::Sent { .. } => true,
                State::Queued(_) => false,
                _ => continue,
            };
            let Some(streams) = &mut slot.streams else {
                continue;
            };
            let room = longest.saturating_sub(batch.len());
            let most = room.saturating_sub(CHUNK_HEADER);
            let length = streams.unsent.len().min(most);
            let is_enough = length == streams.unsent.len() || length >= LEAST_PIECE;
            if is_sent && length > 0 && is_enough && records > 0 {
                batch.extend_from_slice(&chunk_header(id, streams.sent, length as u32));
                batch.extend(streams.unsent.drain(..length));
                streams.sent = streams.sent.wrapping_add(length as u32);
                streams.last_sent = number;
                records -= 1;
                if streams.writer.is_some() {
                    self.woken.push_back((id, Woken::Writer));
                    is_woken = true;
                }
            }
            let has_room = longest.saturating_sub(batch.len()) >= RECORD_HEADER && records > 0;
            if is_sent && has_room && streams.unsent.is_empty() && streams.end == End::IsToBeSent {
                let header = RecordHeader {
                    kind: Kind::StreamEnd,
                    cid: id.0,
                    payload_len: 0,
                };
                batch.extend_from_slice(&header.to_bytes());
                streams.end = End::Closed;
                streams.last_sent = number;
                records -= 1;
            }
            if is_sent && streams.last_sent != number {
                first_left = first_left.or(Some(id));
            }
            streams.is_queued = streams.has_input();
            if streams.is_queued {
                self.inputs.push_back(id);
            } else {
                streams.unsent = Vec::new();
            }
        }
        if let Some(id) = first_left {
            // With nothing of any of them, calls have left no space.
            self.is_input_due = batch.len() == before;
            let place = self.inputs.iter().position(|queued| *queued == id);
            self.inputs.rotate_left(place.unwrap_or(0));
        }
        is_woken
    }

    /// A piece of an output has come. What there is no memory for is asked for again.
    pub(super) fn chunk_arrived(&mut self, id: CallId, offset: u32, bytes: &[u8]) {
        let slot = self.slots.get_mut(id.slot()).filter(|slot| slot.is(id));
        let Some(slot) = slot.filter(|slot| matches!(slot.state, State::Sent { .. })) else {
            // It was cancelled.
            return;
        };
        let is_awaited = slot.waker.is_some();
        let streams = slot.streams.as_mut();
        let streams = streams.filter(|it| it.is_asked && it.arrived == offset);
        let Some(streams) = streams.filter(|it| it.piece.is_empty()) else {
            return self.refuse(id, Status::Lost);
        };
        streams.is_asked = false;
        if bytes.is_empty() {
            // A host that sends nothing again and again is not asked again and again.
            return;
        }
        // None that waits for memory is overtaken.
        let has_turn = mem::take(&mut streams.has_turn) || self.waiting.is_empty();
        let mut length = 0;
        if has_turn {
            let most = bytes.len().min(self.budget);
            if is_awaited {
                self.free(most);
            }
            length = most.min(self.budget.saturating_sub(self.held));
        }
        let Some(streams) = &mut self.slots[id.slot()].streams else {
            return;
        };
        if self.budget == 0 || streams.piece.try_reserve_exact(length).is_err() {
            return self.refuse(id, Status::TooLarge);
        }
        if length > 0 {
            streams.piece.extend_from_slice(&bytes[..length]);
            streams.arrived = streams.arrived.wrapping_add(length as u32);
            self.held += length;
            self.woken.push_back((id, Woken::Reader));
        } else if is_awaited {
            streams.is_waiting = true;
            self.waiting.push_back(id);
        }
    }

    /// Asks for the next piece of an output.
    pub(super) fn ask_for_output(&mut self, id: CallId) {
        if let Some(streams) = &mut self.slots[id.slot()].streams {
            streams.is_asked = true;
            streams.has_turn = mem::take(&mut streams.is_waiting);
            let arrived = streams.arrived;
            self.want(id, arrived);
        }
    }

    /// The host's function has taken more of its input.
    pub(super) fn input_was_taken(&mut self, id: CallId, offset: u32) {
        let slot = self.slots.get_mut(id.slot()).filter(|slot| slot.is(id));
        let Some(streams) = slot.and_then(|slot| slot.streams.as_mut()) else {
            return;
        };
        // A host that lies gets no more than the window.
        if offset.wrapping_sub(streams.taken) <= streams.sent.wrapping_sub(streams.taken) {
            streams.taken = offset;
            self.woken.push_back((id, Woken::Writer));
        }
    }

    /// Ends a call that the host has.
    pub(super) fn refuse(&mut self, id: CallId, status: Status) {
        self.cancels.push_back(id);
        self.ended(id, status, Vec::new());
    }

    /// Forgets the streams of the call `id`, which nothing awaits any more.
    pub(super) fn end_streams(&mut self, id: CallId) {
        let Some(streams) = self.slots[id.slot()].streams.take() else {
            return;
        };
        if streams.is_queued {
            self.inputs.retain(|queued| *queued != id);
        }
        self.waiting.retain(|waiting| *waiting != id);
        // It learns that the call has ended.
        self.writers.extend(streams.writer);
        self.held -= streams.piece.len();
    }
}

#[cfg(test)]
mod tests;
