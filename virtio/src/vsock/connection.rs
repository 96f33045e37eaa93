//! One connection: what it has received, what it is to send, and how it ends.

mod calls;

use alloc::{boxed::Box, collections::VecDeque};
use core::task::Waker;

use super::{
    credit::Credit,
    deferred::Deferred,
    packet::{Header, Key, op, shutdown},
};

/// The most bytes of data in a packet.
const MOST_DATA: usize = 16 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// This side asks for it, and has no answer.
    Requested,
    Open,
    Ended(Ending),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Reset before it was open.
    Refused,
    /// The peer neither sends nor receives any more, or both sides have sent all.
    Closed,
    Reset,
    Stopped,
}

pub(super) struct Connection {
    pub(super) key: Key,
    phase: Phase,
    /// A stream has it, or it waits to be accepted.
    pub(super) is_held: bool,
    /// It waits to be accepted.
    pub(super) is_new: bool,
    /// It is in the queue of those that have something to send.
    pub(super) is_queued: bool,
    limit: usize,
    credit: Credit,
    received: VecDeque<u8>,
    outgoing: VecDeque<u8>,
    /// The packets that the device has and has not sent.
    in_flight: u32,
    /// Packets that are to be sent. There is one flag each, so any number of reasons takes no room.
    request: bool,
    response: bool,
    reset: bool,
    credit_update: bool,
    /// The peer was asked for credit, and nothing was sent since.
    has_asked: bool,
    /// How this side wants to end, and what the peer knows of that: flags of a shutdown.
    wanted_shutdown: u32,
    told_shutdown: u32,
    peer_shutdown: u32,
    reader: Option<Waker>,
    /// Waits to be connected, for room, or until all is sent.
    writer: Option<Waker>,
    /// It waits until all is sent.
    pub(super) is_flushing: bool,
}

impl Connection {
    fn new(key: Key, limit: u32, phase: Phase) -> Self {
        Self {
            key,
            phase,
            is_held: true,
            is_new: phase == Phase::Open,
            is_queued: false,
            limit: limit as usize,
            credit: Credit::new(limit),
            received: VecDeque::new(),
            outgoing: VecDeque::new(),
            in_flight: 0,
            request: phase == Phase::Requested,
            response: phase == Phase::Open,
            reset: false,
            credit_update: false,
            has_asked: false,
            wanted_shutdown: 0,
            told_shutdown: 0,
            peer_shutdown: 0,
            reader: None,
            writer: None,
            is_flushing: false,
        }
    }

    /// One that this side asks for.
    pub(super) fn request(key: Key, limit: u32) -> Self {
        Self::new(key, limit, Phase::Requested)
    }

    /// One that the peer asks for, by a packet with this header.
    pub(super) fn respond(key: Key, limit: u32, header: &Header) -> Self {
        let mut connection = Self::new(key, limit, Phase::Open);
        connection.credit.learn(header.buffer, header.forwarded);
        connection
    }

    pub(super) fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended(_))
    }

    /// Whether it has ended, and what came is not to be read.
    pub(super) fn is_reset(&self) -> bool {
        self.has_ended() && self.phase != Phase::Ended(Ending::Closed)
    }

    /// Whether the peer does not know that it has ended.
    pub(super) fn owes_reset(&self) -> bool {
        self.phase == Phase::Open || self.reset
    }

    pub(super) fn end(&mut self, ending: Ending, deferred: &mut Deferred) {
        // A flush may wait until the device has sent the last packets, which nobody will learn.
        let may_flush = self.phase == Phase::Ended(Ending::Closed) && self.in_flight > 0;
        if self.has_ended() && !(ending == Ending::Stopped && may_flush) {
            return;
        }
        self.phase = Phase::Ended(match (self.phase, ending) {
            (Phase::Requested, Ending::Reset) => Ending::Refused,
            _ => ending,
        });
        (self.request, self.response, self.credit_update) = (false, false, false);
        deferred.wake(&mut self.reader);
        deferred.wake(&mut self.writer);
    }

    /// Resets it, and tells the peer so, if that knows of it.
    pub(super) fn fail(&mut self, deferred: &mut Deferred) {
        self.reset |= !self.has_ended() && !self.request;
        self.end(Ending::Reset, deferred);
    }

    /// There is nobody to tell.
    pub(super) fn forget_reset(&mut self) {
        self.reset = false;
    }

    /// Takes a packet of the peer. It has not ended.
    pub(super) fn receive(&mut self, header: &Header, data: &[u8], deferred: &mut Deferred) {
        self.credit.learn(header.buffer, header.forwarded);
        match (self.phase, header.op) {
            (_, op::RESET) => {
                let ended = self.told_shutdown & self.peer_shutdown & shutdown::SEND != 0;
                let ending = if ended { Ending::Closed } else { Ending::Reset };
                self.end(ending, deferred);
            }
            (Phase::Requested, op::RESPONSE) if !self.request => {
                self.phase = Phase::Open;
                deferred.wake(&mut self.writer);
            }
            (Phase::Open, op::DATA) => self.receive_data(data, deferred),
            (Phase::Open, op::SHUTDOWN) => self.receive_shutdown(header.flags, deferred),
            (Phase::Open, op::CREDIT_UPDATE) => {}
            // Some devices write a packet before they know that they have nothing to tell.
            (_, op::INVALID) => {}
            (Phase::Open, op::CREDIT_REQUEST) => self.credit_update = true,
            _ => self.fail(deferred),
        }
    }

    fn receive_data(&mut self, data: &[u8], deferred: &mut Deferred) {
        let ended = self.peer_shutdown & shutdown::SEND != 0;
        if ended || data.len() > self.limit - self.received.len() {
            return self.fail(deferred);
        }
        if self.is_held {
            append(&mut self.received, data, self.limit);
            if !data.is_empty() {
                deferred.wake(&mut self.reader);
            }
        } else if self.told_shutdown != shutdown::BOTH {
            // Nobody reads it. The peer may go on, until it is told that.
            self.forward(data.len());
        }
    }

    fn receive_shutdown(&mut self, flags: u32, deferred: &mut Deferred) {
        self.peer_shutdown |= flags & shutdown::BOTH;
        if self.peer_shutdown == shutdown::BOTH {
            // This is what the peer waits for.
            self.reset = true;
            self.end(Ending::Closed, deferred);
        } else if self.peer_shutdown == shutdown::SEND {
            deferred.wake(&mut self.reader);
        } else {
            deferred.wake(&mut self.writer);
        }
    }

    /// The program has taken so many bytes.
    fn forward(&mut self, bytes: usize) {
        self.credit.forward(bytes);
        if self.phase == Phase::Open && self.credit.is_update_due() {
            self.credit_update = true;
        }
    }

    /// Whether there is data that the peer still wants.
    fn has_data(&self) -> bool {
        !self.outgoing.is_empty() && self.peer_shutdown & shutdown::RECEIVE == 0
    }

    /// Whether there is such data, and the connection has not ended.
    pub(super) fn will_send_data(&self) -> bool {
        self.phase == Phase::Open && self.has_data()
    }

    /// What is to be sent next.
    fn next_op(&self) -> Option<u16> {
        if self.reset {
            return Some(op::RESET);
        }
        if self.request {
            return Some(op::REQUEST);
        }
        if self.phase != Phase::Open {
            return None;
        }
        if self.response {
            return Some(op::RESPONSE);
        }
        if self.credit_update {
            return Some(op::CREDIT_UPDATE);
        }
        if self.has_data() {
            return match self.credit.available() {
                0 if self.has_asked => None,
                0 => Some(op::CREDIT_REQUEST),
                _ => Some(op::DATA),
            };
        }
        (self.told_shutdown != self.wanted_shutdown).then_some(op::SHUTDOWN)
    }

    pub(super) fn has_packet(&self) -> bool {
        self.next_op().is_some()
    }

    /// Takes the packet that is to be sent next.
    pub(super) fn next_packet(&mut self, cid: u32, deferred: &mut Deferred) -> Option<Box<[u8]>> {
        let op = self.next_op()?;
        let mut header = Header::new(cid, self.key, op);
        (header.buffer, header.forwarded) = self.credit.tell();
        self.in_flight += 1;
        let mut length = 0;
        match op {
            op::RESET => self.reset = false,
            op::REQUEST => self.request = false,
            op::RESPONSE => self.response = false,
            op::CREDIT_UPDATE => self.credit_update = false,
            op::CREDIT_REQUEST => self.has_asked = true,
            op::SHUTDOWN => {
                header.flags = self.wanted_shutdown;
                self.told_shutdown = self.wanted_shutdown;
            }
            _ => {
                let most = self.credit.available().min(MOST_DATA);
                length = self.outgoing.len().min(most);
                self.credit.send(length);
                self.has_asked = false;
            }
        }
        let (first, second) = self.outgoing.as_slices();
        let from_first = first.len().min(length);
        let packet = header.packet((&first[..from_first], &second[..length - from_first]));
        self.outgoing.drain(..length);
        if length > 0 && !self.is_flushing && self.outgoing.len() <= self.limit / 2 {
            deferred.wake(&mut self.writer);
        }
        Some(packet)
    }

    /// The device has sent a packet.
    pub(super) fn sent(&mut self, deferred: &mut Deferred) {
        self.in_flight -= 1;
        if self.is_flushed() {
            deferred.wake(&mut self.writer);
        }
    }

    /// The bytes of memory for what came, and for what is to be sent.
    #[cfg(test)]
    pub(super) fn capacities(&self) -> [usize; 2] {
        [self.received.capacity(), self.outgoing.capacity()]
    }

    fn is_flushed(&self) -> bool {
        self.outgoing.is_empty()
            && self.in_flight == 0
            && (self.has_ended() || self.told_shutdown == self.wanted_shutdown)
    }
}

/// Appends bytes to a queue, for which it has room. It takes no more memory than this limit.
fn append(queue: &mut VecDeque<u8>, bytes: &[u8], limit: usize) {
    let needed = queue.len() + bytes.len();
    if needed > queue.capacity() {
        let capacity = (2 * queue.capacity()).clamp(needed, limit);
        queue.reserve_exact(capacity - queue.len());
    }
    queue.extend(bytes);
}
