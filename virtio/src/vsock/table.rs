//! All connections and listeners, and what is to be sent.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, VecDeque},
    vec::Vec,
};
use core::task::{Poll, Waker};

use super::{
    connection::{Connection, Ending},
    deferred::Deferred,
    error::{ConnectError, ListenError, Stopped, StreamError},
    limits::Limits,
    listening::Listening,
    packet::{Header, Key, STREAM, op},
};

/// The ports that connections of this side have: those above are for servers.
const FIRST_PORT: u32 = 49152;
/// It stands for any port.
const ANY_PORT: u32 = u32::MAX;

/// The most resets that wait to be sent to peers without a connection. With as many, nothing is
/// received.
const MOST_RESETS: usize = 64;

/// What the runner is to do before it sleeps.
pub(super) struct Rest {
    /// There are packets to send.
    pub(super) has_packets: bool,
    /// A task waits until the device has sent what it has.
    pub(super) waits: bool,
}

pub(super) struct Table {
    pub(super) cid: u32,
    limits: Limits,
    connections: BTreeMap<u64, Connection>,
    by_key: BTreeMap<Key, u64>,
    listeners: BTreeMap<u32, Listening>,
    /// The connections that have something to send, each once.
    ready: VecDeque<u64>,
    /// Resets of what is no connection, by the type of socket.
    resets: VecDeque<(Key, u16)>,
    /// The runner sleeps.
    runner: Option<Waker>,
    /// The packets that the device has and has not sent.
    in_flight: usize,
    /// A task waits until they are.
    waits: bool,
    last_id: u64,
    next_port: u32,
    is_stopped: bool,
    pub(super) deferred: Deferred,
}

impl Table {
    pub(super) fn new(cid: u32, limits: Limits) -> Self {
        Self {
            cid,
            limits: Limits {
                buffer: limits.buffer.max(1),
                ..limits
            },
            connections: BTreeMap::new(),
            by_key: BTreeMap::new(),
            listeners: BTreeMap::new(),
            ready: VecDeque::new(),
            resets: VecDeque::new(),
            runner: None,
            in_flight: 0,
            waits: false,
            last_id: 0,
            next_port: FIRST_PORT,
            is_stopped: false,
            deferred: Deferred::default(),
        }
    }

    pub(super) fn new_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Asks for a connection, and returns its id.
    pub(super) fn connect(&mut self, peer_cid: u32, peer_port: u32) -> Result<u64, ConnectError> {
        if self.is_stopped {
            return Err(ConnectError::Stopped);
        }
        if !self.has_place() {
            return Err(ConnectError::TooManyConnections);
        }
        let key = loop {
            let local_port = self.next_port;
            self.next_port = match local_port + 1 {
                ANY_PORT => FIRST_PORT,
                next => next,
            };
            let key = Key {
                local_port,
                peer_cid,
                peer_port,
            };
            // There are more ports than connections and listeners.
            if !self.listeners.contains_key(&local_port) && !self.by_key.contains_key(&key) {
                break key;
            }
        };
        Ok(self.add(Connection::request(key, self.limits.buffer)))
    }

    fn add(&mut self, connection: Connection) -> u64 {
        let id = self.new_id();
        self.by_key.insert(connection.key, id);
        self.connections.insert(id, connection);
        self.settle(id);
        id
    }

    /// Whether there may be one more connection. For its place, one may be reset that was dropped:
    /// one without data to send, if there is any.
    fn has_place(&mut self) -> bool {
        if self.connections.len() < self.limits.connections {
            return true;
        }
        let dropped = self.connections.iter().filter(|(_, other)| !other.is_held);
        let Some((&id, dropped)) = dropped.min_by_key(|(_, other)| other.will_send_data()) else {
            return false;
        };
        if dropped.owes_reset() {
            if !self.may_receive() {
                return false;
            }
            self.resets.push_back((dropped.key, STREAM));
            self.wake_runner();
        }
        self.remove(id);
        true
    }

    pub(super) fn listen(&mut self, port: u32) -> Result<(), ListenError> {
        if self.is_stopped {
            return Err(ListenError::Stopped);
        }
        if port == ANY_PORT {
            return Err(ListenError::NoPort);
        }
        if self.listeners.contains_key(&port) {
            return Err(ListenError::InUse);
        }
        self.listeners.insert(port, Listening::default());
        Ok(())
    }

    pub(super) fn stop_listening(&mut self, port: u32) {
        let Some(mut listening) = self.listeners.remove(&port) else {
            return;
        };
        // Futures that were forgotten have left their wakers.
        listening.wake_all(&mut self.deferred);
        for id in listening.into_backlog() {
            self.change(id, |connection, deferred| {
                connection.fail(deferred);
                connection.release(deferred);
            });
        }
    }

    /// Takes a connection to this port, for the task `me`.
    pub(super) fn accept(
        &mut self,
        port: u32,
        me: u64,
        waker: &mut Option<Waker>,
    ) -> Poll<Result<u64, Stopped>> {
        if self.is_stopped {
            return Poll::Ready(Err(Stopped));
        }
        let listening = self.listeners.get_mut(&port).expect("it has a listener");
        match listening.accept(me, waker, &mut self.deferred) {
            Some(id) => {
                self.change(id, |connection, _| connection.is_new = false);
                Poll::Ready(Ok(id))
            }
            None => Poll::Pending,
        }
    }

    pub(super) fn stop_accepting(&mut self, port: u32, me: u64) {
        if let Some(listening) = self.listeners.get_mut(&port) {
            listening.stop_waiting(me, &mut self.deferred);
        }
    }

    /// Changes a connection, which there is.
    pub(super) fn change<R>(
        &mut self,
        id: u64,
        change: impl FnOnce(&mut Connection, &mut Deferred) -> R,
    ) -> R {
        let connection = self
            .connections
            .get_mut(&id)
            .expect("it has not been removed");
        let result = change(connection, &mut self.deferred);
        self.settle(id);
        result
    }

    /// As [`Connection::flushed`]. The device is to tell when it has sent what it has.
    pub(super) fn flushed(
        &mut self,
        id: u64,
        waker: &mut Option<Waker>,
    ) -> Poll<Result<(), StreamError>> {
        let poll = self.change(id, |connection, _| connection.flushed(waker));
        if poll.is_pending() && !self.waits && self.in_flight > 0 {
            self.waits = true;
            self.wake_runner();
        }
        poll
    }

    /// Does what follows from a change of a connection.
    fn settle(&mut self, id: u64) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let has_packet = connection.has_packet();
        let becomes_ready = has_packet && !connection.is_queued;
        connection.is_queued |= has_packet;
        if connection.is_new && connection.is_reset() {
            // Nobody needs to accept it.
            connection.release(&mut self.deferred);
            if let Some(listening) = self.listeners.get_mut(&connection.key.local_port) {
                listening.remove(id);
            }
        }
        let has_ended = connection.has_ended();
        let is_over = has_ended && !connection.is_held && !has_packet;
        if has_ended && self.by_key.get(&connection.key) == Some(&id) {
            self.by_key.remove(&connection.key);
        }
        if becomes_ready {
            self.ready.push_back(id);
            self.wake_runner();
        }
        if is_over {
            self.remove(id);
        }
    }

    fn remove(&mut self, id: u64) {
        let Some(connection) = self.connections.remove(&id) else {
            return;
        };
        if self.by_key.get(&connection.key) == Some(&id) {
            self.by_key.remove(&connection.key);
        }
        if connection.is_queued {
            self.ready.retain(|other| *other != id);
        }
    }

    fn wake_runner(&mut self) {
        self.deferred.wake(&mut self.runner);
    }

    #[cfg(test)]
    pub(super) fn sizes(&self) -> [usize; 3] {
        assert!(self.by_key.len() <= self.connections.len());
        [self.connections.len(), self.ready.len(), self.resets.len()]
    }

    /// Whether there is room for the answer to one more packet.
    pub(super) fn may_receive(&self) -> bool {
        self.resets.len() < MOST_RESETS
    }

    /// Takes a packet that came. There [is room](Self::may_receive) for the answer.
    pub(super) fn receive(&mut self, header: &Header, data: &[u8]) {
        let Ok(peer_cid) = u32::try_from(header.source_cid) else {
            return;
        };
        if header.destination_cid != u64::from(self.cid) {
            return;
        }
        let key = Key {
            local_port: header.destination_port,
            peer_cid,
            peer_port: header.source_port,
        };
        let is_stream = header.kind == STREAM;
        if is_stream && let Some(&id) = self.by_key.get(&key) {
            return self.change(id, |connection, deferred| {
                connection.receive(header, data, deferred);
            });
        }
        if is_stream && header.op == op::REQUEST && self.has_listener(key.local_port) {
            let connection = Connection::respond(key, self.limits.buffer, header);
            let id = self.add(connection);
            if let Some(listening) = self.listeners.get_mut(&key.local_port) {
                listening.add(id, &mut self.deferred);
            }
        } else if header.op != op::RESET {
            self.resets.push_back((key, header.kind));
            self.wake_runner();
        }
    }

    /// Whether a connection to this port has a place.
    fn has_listener(&mut self, port: u32) -> bool {
        let listening = self.listeners.get(&port);
        listening.is_some_and(|listening| listening.has_place(self.limits.backlog))
            && self.has_place()
    }

    /// Takes the packet that is to be sent next, and the connection that it is of.
    pub(super) fn next_packet(&mut self) -> Option<(u64, Box<[u8]>)> {
        let (id, packet) = if let Some((key, kind)) = self.resets.pop_front() {
            let mut header = Header::new(self.cid, key, op::RESET);
            header.kind = kind;
            (0, header.packet((&[], &[])))
        } else {
            loop {
                let id = self.ready.pop_front()?;
                let cid = self.cid;
                let (packet, waits) = self.change(id, |connection, deferred| {
                    connection.is_queued = false;
                    (
                        connection.next_packet(cid, deferred),
                        connection.is_flushing,
                    )
                });
                self.waits |= waits;
                if let Some(packet) = packet {
                    break (id, packet);
                }
            }
        };
        self.in_flight += 1;
        Some((id, packet))
    }

    /// The device has sent a packet of a connection.
    pub(super) fn sent(&mut self, id: u64) {
        self.in_flight -= 1;
        if self.in_flight == 0 {
            self.waits = false;
        }
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.sent(&mut self.deferred);
        }
    }

    /// The runner is about to sleep: what is to be done from now on wakes it. Without a waker, it
    /// does not sleep.
    pub(super) fn rest(&mut self, waker: Option<Waker>) -> Rest {
        self.deferred.drop(&mut self.runner);
        self.runner = waker;
        Rest {
            has_packets: !self.ready.is_empty() || !self.resets.is_empty(),
            waits: self.waits,
        }
    }

    /// The virtual machine was moved, and has this CID now: all connections have ended.
    pub(super) fn move_to(&mut self, cid: u32) {
        self.cid = cid;
        self.end_all(Ending::Reset);
    }

    /// No packets are sent or received any more.
    pub(super) fn stop(&mut self) {
        self.is_stopped = true;
        self.end_all(Ending::Stopped);
        self.deferred.drop(&mut self.runner);
        for listening in self.listeners.values_mut() {
            listening.wake_all(&mut self.deferred);
        }
    }

    fn end_all(&mut self, ending: Ending) {
        self.resets.clear();
        let ids: Vec<u64> = self.connections.keys().copied().collect();
        for id in ids {
            self.change(id, |connection, deferred| {
                connection.end(ending, deferred);
                connection.forget_reset();
            });
        }
    }
}
