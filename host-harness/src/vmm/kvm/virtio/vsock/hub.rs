//! All connections of a guest: whose they are, and which has a packet for the guest. Nothing here
//! waits, and what is held is bounded.
//!
//! A program that connects is a visitor, until it has said which port it wants. Then there is a
//! connection, until one side has ended it. After that the program may still have something to
//! read: it is a leaver.

use std::{
    collections::{HashMap, VecDeque},
    io, mem,
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

use rustix::event::epoll::EventFlags;

use super::{
    connection::{After, Connection, Outgoing, ROOM},
    header::{GUEST_CID, HOST_CID, Header, Operation, Ports, STREAM},
    leavers::Leavers,
    listener::VsockListener,
    visitors::{MAX_VISITORS, Named, Visitor, Visitors},
    watch::{LISTENER, TIME, Watch},
};
use crate::vmm::send::LIMIT;

/// The most connections, those of leavers included.
pub(super) const MAX_CONNECTIONS: usize = 1024;

/// How many resets wait for the guest before no more of its packets are taken.
pub(super) const MAX_REFUSALS: usize = 256;

/// The first port of this host that a connection of a program gets.
const FIRST_PORT: u32 = 1 << 30;

pub(super) struct Hub {
    watch: Watch,
    /// How long the guest may take to answer.
    patience: Duration,
    visitors: Visitors,
    connections: HashMap<u64, Connection>,
    by_ports: HashMap<Ports, u64>,
    leavers: Leavers,
    next_port: u32,
    /// The connections that may have a packet for the guest, in the order of their turns.
    list: VecDeque<u64>,
    refusals: VecDeque<Header>,
    prepared: Option<Prepared>,
    /// The data of the packet that is prepared.
    buffer: Box<[u8]>,
    /// Whether the guest's buffers, or its packets, were left until there is something to do.
    receive_rests: bool,
    transmit_rests: bool,
    wake: bool,
}

/// A packet for the guest, whose data may be given to it in pieces.
struct Prepared {
    header: Header,
    /// `None` for a reset of what is no connection.
    name: Option<u64>,
    /// What is left of the data.
    start: usize,
    end: usize,
}

impl Hub {
    pub(super) fn new(listener: VsockListener, patience: Duration) -> io::Result<Self> {
        Ok(Self {
            watch: Watch::new(listener.as_fd())?,
            patience,
            visitors: Visitors::new(listener, patience),
            connections: HashMap::new(),
            by_ports: HashMap::new(),
            leavers: Leavers::default(),
            next_port: FIRST_PORT,
            list: VecDeque::new(),
            refusals: VecDeque::new(),
            prepared: None,
            buffer: vec![0; ROOM].into(),
            receive_rests: false,
            transmit_rests: false,
            wake: false,
        })
    }

    /// Panics if more is held than may be.
    pub(super) fn check_bounds(&self) {
        assert!(self.visitors.len() <= MAX_VISITORS);
        assert!(self.connections.len() + self.leavers.len() <= MAX_CONNECTIONS);
        assert!(self.by_ports.len() == self.connections.len());
        assert!(self.list.len() <= self.connections.len());
        assert!(self.refusals.len() <= MAX_REFUSALS + MAX_CONNECTIONS);
        let connections = self.connections.values().map(Connection::outgoing);
        let mut held = connections.chain(self.leavers.all()).map(Outgoing::held);
        assert!(held.all(|held| held <= ROOM));
    }

    /// What has news for [`look`](Self::look).
    pub(super) fn source(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }

    /// Ends all connections. What the guest has sent can still be read.
    pub(super) fn clear(&mut self) {
        self.visitors.clear();
        for (name, connection) in self.connections.drain() {
            if let Some(outgoing) = connection.into_outgoing() {
                self.leavers.insert(name, outgoing);
            }
        }
        self.by_ports.clear();
        self.list.clear();
        self.refusals.clear();
        self.prepared = None;
    }

    /// Gives programs what is left for them. All else waits for [`look`](Self::look).
    pub(super) fn flush_leavers(&mut self) {
        self.leavers.flush();
    }

    /// Takes note of what has happened on this host.
    pub(super) fn look(&mut self) {
        let (happened, is_more) = self.watch.take();
        for (name, events) in happened {
            match name {
                LISTENER => self.visitors.more_may_wait = true,
                TIME => self.time_passed(),
                name => match self.visitors.hear(name, events) {
                    Some(visitor) => self.visitor_speaks(name, visitor),
                    None => self.socket_changed(name, events),
                },
            }
        }
        // Last, when those that have named a port meanwhile are no visitors any more.
        for (name, visitor) in self.visitors.accept(&mut self.watch) {
            self.visitor_speaks(name, visitor);
        }
        self.wake |= is_more || self.visitors.more_may_wait;
    }

    /// Whether there is something for a queue that rests, since the last call.
    pub(super) fn take_news(&mut self) -> bool {
        mem::take(&mut self.wake)
    }

    fn visitor_speaks(&mut self, name: u64, (visitor, guest): Named) {
        if self.has_room() {
            let ports = self.free_ports(guest);
            let Visitor { socket, deadline } = visitor;
            self.insert(name, Connection::of_program(socket, ports, deadline));
        }
    }

    fn has_room(&self) -> bool {
        self.connections.len() + self.leavers.len() < MAX_CONNECTIONS
    }

    fn free_ports(&mut self, guest: u32) -> Ports {
        loop {
            let host = self.next_port;
            self.next_port = host.checked_add(1).unwrap_or(FIRST_PORT);
            let ports = Ports { host, guest };
            if !self.by_ports.contains_key(&ports) {
                return ports;
            }
        }
    }

    fn insert(&mut self, name: u64, connection: Connection) {
        self.by_ports.insert(connection.ports, name);
        self.connections.insert(name, connection);
        self.list_if_news(name);
    }

    fn socket_changed(&mut self, name: u64, events: EventFlags) {
        if let Some(connection) = self.connections.get_mut(&name) {
            connection.socket_changed(events);
            self.list_if_news(name);
        } else {
            self.leavers.socket_changed(name);
        }
    }

    fn list_if_news(&mut self, name: u64) {
        let Some(connection) = self.connections.get_mut(&name) else {
            return;
        };
        if !connection.is_listed && connection.has_news() {
            connection.is_listed = true;
            self.list.push_back(name);
            self.wake_receive();
        }
    }

    /// There is something for the guest.
    fn wake_receive(&mut self) {
        self.wake |= mem::take(&mut self.receive_rests);
    }

    fn time_passed(&mut self) {
        self.watch.timer_has_rung();
        let now = Instant::now();
        let of = |connection: &Connection| connection.deadline;
        let late = self.connections.iter();
        let late = late.filter(|(_, connection)| of(connection).is_some_and(|end| end <= now));
        let late: Vec<_> = late.map(|(name, _)| *name).collect();
        for name in late {
            self.reset(name);
        }
        // They may have had the files that others need.
        self.visitors.more_may_wait = true;
        let visitors = self.visitors.time_passed(now);
        let next = self
            .connections
            .values()
            .filter_map(of)
            .chain(visitors)
            .min();
        if let Some(next) = next {
            self.watch.set_timer(next.saturating_duration_since(now));
        }
    }

    /// Ends a connection that the guest has broken, or has not answered.
    fn reset(&mut self, name: u64) {
        if let Some(connection) = self.remove(name)
            && connection.is_known()
        {
            self.refuse(Header::to_guest(connection.ports, Operation::Reset));
        }
    }

    fn refuse(&mut self, reset: Header) {
        self.refusals.push_back(reset);
        self.wake_receive();
    }

    fn remove(&mut self, name: u64) -> Option<Connection> {
        let connection = self.connections.remove(&name)?;
        self.by_ports.remove(&connection.ports);
        if connection.is_listed {
            self.list.retain(|listed| *listed != name);
        }
        self.prepared
            .take_if(|prepared| prepared.name == Some(name));
        Some(connection)
    }

    /// Returns whether a packet of the guest can be taken now. If not,
    /// [`take_news`](Self::take_news) tells when that changes.
    pub(super) fn takes_packets(&mut self) -> bool {
        self.transmit_rests = self.refusals.len() >= MAX_REFUSALS;
        !self.transmit_rests
    }

    /// Takes a packet of the guest.
    pub(super) fn packet_came(&mut self, header: &Header, data: &[u8]) {
        // There is nobody to answer.
        if header.from_cid != GUEST_CID {
            return;
        }
        let ports = header.ports();
        let name = self.by_ports.get(&ports).copied();
        let connection = name.and_then(|name| Some((name, self.connections.get_mut(&name)?)));
        let operation = header.operation();
        match connection {
            _ if header.to_cid != HOST_CID || header.kind != STREAM => self.answer_reset(header),
            Some((name, connection)) => match connection.packet_came(header, data) {
                After::GoesOn => self.list_if_news(name),
                After::Broken => self.reset(name),
                After::Over => {
                    self.answer_reset(header);
                    self.leave(name);
                }
            },
            None if operation == Some(Operation::Request) => self.guest_asks(header),
            None => self.answer_reset(header),
        }
    }

    /// Answers what belongs to no connection any more; a reset has no answer.
    fn answer_reset(&mut self, header: &Header) {
        if header.operation() != Some(Operation::Reset) {
            self.refuse(header.refusal());
        }
    }

    fn guest_asks(&mut self, request: &Header) {
        let is_possible = self.has_room() && request.length == 0;
        let connect = || self.visitors.listener().connect(request.to_port).ok();
        let socket = is_possible.then(connect).flatten();
        let watched = socket.and_then(|socket| Some((self.watch.add(&socket).ok()?, socket)));
        match watched {
            Some((name, socket)) => self.insert(name, Connection::of_guest(socket, request)),
            None => self.refuse(request.refusal()),
        }
    }

    /// The guest has ended a connection: the program may still read what was sent to it.
    fn leave(&mut self, name: u64) {
        let outgoing = self.remove(name).and_then(Connection::into_outgoing);
        if let Some(outgoing) = outgoing {
            self.leavers.insert(name, outgoing);
        }
    }

    /// Returns whether there is a packet for the guest. If not, [`take_news`](Self::take_news)
    /// tells when that changes.
    pub(super) fn has_packet(&mut self) -> bool {
        while self.prepared.is_none() {
            if let Some(header) = self.refusals.pop_front() {
                let (name, start, end) = (None, 0, 0);
                self.prepared = Some(Prepared {
                    header,
                    name,
                    start,
                    end,
                });
                self.wake |= mem::take(&mut self.transmit_rests);
                break;
            }
            let Some(name) = self.list.pop_front() else {
                self.receive_rests = true;
                return false;
            };
            self.prepare(name);
        }
        true
    }

    /// Prepares a connection's next packet, if it has one. Then it waits for another turn.
    fn prepare(&mut self, name: u64) {
        let Some(connection) = self.connections.get_mut(&name) else {
            return;
        };
        connection.is_listed = false;
        let Some(packet) = connection.next_packet(&mut self.buffer) else {
            return;
        };
        connection.limit_wait(self.patience);
        if connection.deadline.is_some() {
            self.watch.set_timer(self.patience);
        }
        self.prepared = Some(Prepared {
            header: packet.header,
            name: Some(name),
            start: 0,
            end: packet.length,
        });
        self.list_if_news(name);
    }

    /// Returns the packet for the guest that there is, with at most this much data.
    pub(super) fn take_packet(&mut self, most: usize) -> Option<(Header, &[u8])> {
        let prepared = self.prepared.as_mut()?;
        let mut header = prepared.header;
        let start = prepared.start;
        let end = prepared.end.min(start + most);
        prepared.start = end;
        let (name, is_done) = (prepared.name, end == prepared.end);
        if is_done {
            self.prepared = None;
        }
        if let Some(connection) = name.and_then(|name| self.connections.get_mut(&name)) {
            connection.complete(&mut header, end - start);
        }
        Some((header, &self.buffer[start..end]))
    }
}

impl Drop for Hub {
    /// Sends what the guest was told to be sent, if the programs take it within a second.
    fn drop(&mut self) {
        self.clear();
        self.leavers.finish(LIMIT);
    }
}
