//! What goes into replies: written once, and once more if it did not arrive.

use std::{collections::BTreeMap, mem};

use dormir_hyperlight_protocol::{
    CallId, FromHost, MAX_RECORDS, RESULT_HEADER, ResultHeader, SIGNAL_LEN, Status,
};

use super::{
    Entry, Finished, Table,
    room::{LEAST_ROOM, Room},
    streams::SentOfStreams,
};

/// What was in a reply that may not have arrived.
#[derive(Default)]
pub(super) struct Sent {
    pub(super) pieces: Vec<Piece>,
    pub(super) refusals: Vec<(CallId, Status)>,
    pub(super) signals: BTreeMap<u8, u32>,
    pub(super) streams: Vec<SentOfStreams>,
}

/// A result, or a piece of one, that was sent.
pub(super) struct Piece {
    pub(super) id: CallId,
    offset: usize,
    /// The whole, if this was its last piece: then there is no entry any more.
    pub(super) ended: Option<Finished>,
}

impl Table {
    /// What was sent has arrived: all of it, or all but the last reply.
    pub(crate) fn acknowledge(&mut self, is_all: bool) {
        self.forget(|table| &mut table.sent_before);
        if is_all {
            self.forget(|table| &mut table.sent);
        } else {
            self.sent_before = mem::take(&mut self.sent);
        }
    }

    fn forget(&mut self, sent: impl Fn(&mut Self) -> &mut Sent) {
        let sent = mem::take(sent(self));
        for ended in sent.pieces.into_iter().filter_map(|piece| piece.ended) {
            self.bytes -= ended.bytes.len();
        }
    }

    /// What was sent is to be sent again.
    pub(crate) fn send_again(&mut self) {
        let sent = mem::take(&mut self.sent);
        for piece in sent.pieces.into_iter().rev() {
            let Piece { id, offset, ended } = piece;
            if let Some(ended) = ended {
                if self.entries.contains_key(&id) {
                    // A guest that has used the number again, although it was not free.
                    self.bytes -= ended.bytes.len();
                    continue;
                }
                self.entries.insert(id, Entry::Finished(ended));
            }
            if let Some(Entry::Finished(finished)) = self.entries.get_mut(&id) {
                finished.next = offset;
                if !mem::replace(&mut finished.is_ready, true) {
                    self.ready.push_front(id);
                }
            }
        }
        self.send_streams_again(sent.streams);
        for refusal in sent.refusals.into_iter().rev() {
            self.refusals.push_front(refusal);
        }
        for (event, count) in sent.signals {
            self.signal(event, count);
        }
    }

    /// Whether there is something to send to a guest that has this much room.
    pub(crate) fn has_news(&self, room: usize) -> bool {
        let is_empty = self.ready.is_empty() && self.refusals.is_empty() && self.signals.is_empty();
        !is_empty && room >= LEAST_ROOM
    }

    /// Whether what is to be sent takes this much room.
    pub(crate) fn fills(&self, room: usize) -> bool {
        let mut length = 0;
        self.ready.iter().any(|id| {
            length += match self.entries.get(id) {
                Some(Entry::Finished(finished)) => {
                    RESULT_HEADER + finished.bytes.len() - finished.next
                }
                Some(Entry::Running { streams, .. }) => {
                    streams.as_ref().map_or(0, |streams| streams.length())
                }
                None => 0,
            };
            length >= room
        })
    }

    /// Writes what there is to send, into `room` bytes at most. It is kept until it is
    /// [acknowledged](Self::acknowledge).
    pub(crate) fn write(&mut self, room: usize, out: &mut Vec<u8>) {
        if room < LEAST_ROOM {
            return;
        }
        let mut room = Room {
            end: out.len() + room,
            records: MAX_RECORDS,
        };
        while let Some((event, count)) = self.signals.pop_first() {
            if !room.takes(out, SIGNAL_LEN) {
                self.signals.insert(event, count);
                break;
            }
            out.extend_from_slice(&FromHost::signal(event, count));
            let sent = self.sent.signals.entry(event).or_default();
            *sent = sent.saturating_add(count);
        }
        while let Some(&(id, status)) = self.refusals.front() {
            if !room.takes(out, RESULT_HEADER) {
                break;
            }
            self.refusals.pop_front();
            let result = ResultHeader {
                id,
                status,
                total: 0,
                offset: 0,
            };
            out.extend_from_slice(&result.to_bytes(0));
            self.sent.refusals.push((id, status));
        }
        while let Some(&id) = self.ready.front() {
            let Some(Entry::Finished(finished)) = self.entries.get_mut(&id) else {
                if !self.write_streams(id, &mut room, out) {
                    break;
                }
                self.ready.pop_front();
                continue;
            };
            let offset = finished.next;
            let left = finished.bytes.len() - offset;
            // A piece has some bytes, unless the result has none.
            if !room.takes(out, RESULT_HEADER + left.min(LEAST_ROOM - RESULT_HEADER)) {
                break;
            }
            let length = left.min(room.left(out) - RESULT_HEADER);
            let result = ResultHeader {
                id,
                status: finished.status,
                total: finished.bytes.len() as u32,
                offset: offset as u32,
            };
            out.extend_from_slice(&result.to_bytes(length as u32));
            out.extend_from_slice(&finished.bytes[offset..offset + length]);
            self.ready.pop_front();
            finished.next += length;
            finished.is_ready = false;
            let ended = if length == left {
                match self.entries.remove(&id) {
                    Some(Entry::Finished(finished)) => Some(finished),
                    _ => None,
                }
            } else {
                None
            };
            self.sent.pieces.push(Piece { id, offset, ended });
        }
    }
}
