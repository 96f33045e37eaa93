//! The input and the output of calls, between the guest's batches and the functions. Each holds
//! [`STREAM_WINDOW`] bytes at most, which are counted as long as the function's future is there.

use std::{mem, task::Waker};

use dormir_hyperlight_protocol::{
    CHUNK_HEADER, CallId, FromHost, MORE_LEN, STREAM_WINDOW, chunk_header,
};

use super::{
    Aborts, Entry, Table,
    room::{LEAST_ROOM, Room},
};
pub(crate) use polls::Polled;

mod polls;

/// What a call's streams count for, besides its argument.
pub(crate) const STREAMS: usize = 2 * STREAM_WINDOW;

/// The streams of a call whose function runs. Offsets count modulo 2^32.
pub(super) struct Streams {
    output: Outgoing,
    input: Incoming,
    /// Whether the call is in the table's queue of those with something to send.
    pub(super) is_ready: bool,
}

struct Outgoing {
    /// What the function has sent and the guest has not acknowledged.
    bytes: Vec<u8>,
    /// The offset of the first of them.
    base: u32,
    /// How many of them were put into replies.
    next: usize,
    /// Whether the guest takes the next piece.
    is_asked: bool,
    /// Whether nothing is sent any more.
    is_closed: bool,
    /// Wakes the task that sends, which may be another than the function's own.
    sender: Option<Waker>,
    /// Wakes the function's task, which waits until the guest has taken all.
    flusher: Option<Waker>,
}

impl Outgoing {
    /// How many bytes may be sent, since the guest takes them.
    fn left(&self) -> usize {
        if self.is_asked {
            self.bytes.len() - self.next
        } else {
            0
        }
    }
}

struct Incoming {
    /// What the guest has sent and the function has not taken.
    bytes: Vec<u8>,
    /// How much the guest has sent.
    received: u32,
    /// How much the guest was told that the function has taken.
    granted: u32,
    is_over: bool,
    /// Whether no function takes it.
    is_discarded: bool,
    /// Whether something was dropped since no function takes it.
    was_dropped: bool,
    reader: Option<Waker>,
}

impl Incoming {
    fn taken(&self) -> u32 {
        self.received.wrapping_sub(self.bytes.len() as u32)
    }

    /// No function takes it.
    fn discard(&mut self) {
        self.is_discarded = true;
        self.was_dropped |= !mem::take(&mut self.bytes).is_empty();
    }

    /// Whether the guest sends what no function takes.
    fn is_sent_in_vain(&self) -> bool {
        self.was_dropped && !self.is_over
    }

    /// Whether the guest should be told how much was taken: it may wait for room.
    fn is_grant_due(&self) -> bool {
        let more = self.taken().wrapping_sub(self.granted) as usize;
        !self.is_over && more >= STREAM_WINDOW / 2
    }
}

impl Streams {
    pub(super) fn new() -> Box<Self> {
        Box::new(Self {
            output: Outgoing {
                bytes: Vec::new(),
                base: 0,
                next: 0,
                is_asked: true,
                is_closed: false,
                sender: None,
                flusher: None,
            },
            input: Incoming {
                bytes: Vec::new(),
                received: 0,
                granted: 0,
                is_over: false,
                is_discarded: false,
                was_dropped: false,
                reader: None,
            },
            is_ready: false,
        })
    }

    /// How much the reply's records take, at most.
    pub(super) fn length(&self) -> usize {
        MORE_LEN + CHUNK_HEADER + self.output.left()
    }

    /// Whether the function, or what it has moved them to, waits for the guest to read or to send.
    pub(super) fn wait_for_the_guest(&self) -> bool {
        let Self { output, input, .. } = self;
        let wakers = [&output.sender, &output.flusher, &input.reader];
        wakers.into_iter().any(Option::is_some)
    }

    /// Makes it ready if there is something to send. Returns whether it was not, and is now.
    fn becomes_ready(&mut self) -> bool {
        let is_due = self.output.left() > 0 || self.input.is_grant_due();
        is_due && !mem::replace(&mut self.is_ready, true)
    }

    /// Wakes the function when nothing is locked, so that it sees the end.
    pub(super) fn end(self, aborts: &mut Aborts) {
        aborts.wakers.extend(self.output.sender);
        aborts.wakers.extend(self.output.flusher);
        aborts.wakers.extend(self.input.reader);
    }
}

/// What was in the last reply of the streams of a call: how much the guest was told before that its
/// function has taken, and the offset of a piece of its output.
pub(super) struct SentOfStreams {
    id: CallId,
    granted: u32,
    chunk: Option<u32>,
}

impl Table {
    fn streams(&mut self, id: CallId) -> Option<&mut Streams> {
        match self.entries.get_mut(&id) {
            Some(Entry::Running { streams, .. }) => streams.as_deref_mut(),
            _ => None,
        }
    }

    /// The guest has sent a piece of an input. One that does not follow the last, or that is more
    /// than it may send, ends its call.
    pub(crate) fn chunk(&mut self, id: CallId, offset: u32, bytes: &[u8], aborts: &mut Aborts) {
        let Some(streams) = self.streams(id) else {
            // The call has ended.
            return;
        };
        let input = &mut streams.input;
        let is_right = !input.is_over
            && offset == input.received
            && bytes.len() <= STREAM_WINDOW - input.bytes.len();
        if !is_right {
            return self.lose(id, aborts);
        }
        input.received = input.received.wrapping_add(bytes.len() as u32);
        if input.is_discarded {
            input.was_dropped = true;
            // If the function has failed, the guest learns it now.
            aborts.wakers.extend(streams.output.flusher.take());
        } else {
            append(&mut input.bytes, bytes);
            aborts.wakers.extend(input.reader.take());
        }
        if streams.becomes_ready() {
            self.ready.push_back(id);
        }
    }

    /// The guest has ended an input.
    pub(crate) fn end_input(&mut self, id: CallId, aborts: &mut Aborts) {
        if let Some(streams) = self.streams(id) {
            streams.input.is_over = true;
            aborts.wakers.extend(streams.input.reader.take());
        }
    }

    /// The guest has taken the first `offset` bytes of an output, and waits for more.
    pub(super) fn more_output(&mut self, id: CallId, offset: u32, aborts: &mut Aborts) {
        let Some(streams) = self.streams(id) else {
            return;
        };
        let output = &mut streams.output;
        let taken = offset.wrapping_sub(output.base) as usize;
        if output.is_asked || taken > output.next {
            return;
        }
        output.bytes.drain(..taken);
        output.base = offset;
        output.next = 0;
        output.is_asked = true;
        aborts.wakers.extend(output.sender.take());
        aborts.wakers.extend(output.flusher.take());
        if streams.becomes_ready() {
            self.ready.push_back(id);
        }
    }

    /// Writes what the streams of a call have to send. Returns `false` if there was no room for all
    /// of it.
    pub(super) fn write_streams(&mut self, id: CallId, room: &mut Room, out: &mut Vec<u8>) -> bool {
        let Some(streams) = self.streams(id) else {
            return true;
        };
        let Streams { output, input, .. } = streams;
        let mut sent = SentOfStreams {
            id,
            granted: input.granted,
            chunk: None,
        };
        let mut has_room = true;
        if input.is_grant_due() {
            has_room = room.takes(out, MORE_LEN);
            if has_room {
                input.granted = input.taken();
                out.extend_from_slice(&FromHost::more(id, input.granted));
            }
        }
        let left = output.left();
        if has_room && left > 0 {
            has_room = room.takes(out, CHUNK_HEADER + left.min(LEAST_ROOM - CHUNK_HEADER));
            if has_room {
                let length = left.min(room.left(out) - CHUNK_HEADER);
                let offset = output.base.wrapping_add(output.next as u32);
                out.extend_from_slice(&chunk_header(id, offset, length as u32));
                out.extend_from_slice(&output.bytes[output.next..output.next + length]);
                output.next += length;
                output.is_asked = false;
                sent.chunk = Some(offset);
            }
        }
        streams.is_ready = !has_room;
        if sent.chunk.is_some() || sent.granted != streams.input.granted {
            self.sent.streams.push(sent);
        }
        has_room
    }

    /// What was sent of streams is to be sent again.
    pub(super) fn send_streams_again(&mut self, all: Vec<SentOfStreams>) {
        for sent in all.into_iter().rev() {
            let Some(streams) = self.streams(sent.id) else {
                continue;
            };
            streams.input.granted = sent.granted;
            if let Some(offset) = sent.chunk {
                streams.output.next = offset.wrapping_sub(streams.output.base) as usize;
                streams.output.is_asked = true;
            }
            if streams.becomes_ready() {
                self.ready.push_front(sent.id);
            }
        }
    }
}

/// Adds bytes for which there is room in the window. The buffer doubles, as others do, but does not
/// grow beyond the window, which is what it counts for.
fn append(buffer: &mut Vec<u8>, bytes: &[u8]) {
    let length = buffer.len() + bytes.len();
    if length > buffer.capacity() {
        let capacity = (2 * buffer.capacity()).min(STREAM_WINDOW).max(length);
        buffer.reserve_exact(capacity - buffer.len());
    }
    buffer.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests;
