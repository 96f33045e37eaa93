//! One connection between the guest and a program of this host. Nothing here waits.
//!
//! What the guest sends is held until the program reads it, and the guest is told how much it may
//! send (credit). What the program sends stays in its socket until the guest has room.

use std::{
    collections::VecDeque,
    net::Shutdown,
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use rustix::{
    event::epoll::EventFlags,
    io::Errno,
    net::{RecvFlags, SendFlags, recv, send},
};

use super::header::{Header, NEITHER, NO_RECEIVE, NO_SEND, Operation, Ports};

/// How many bytes of the guest are held for a program, which has not read them yet.
pub(super) const ROOM: usize = 64 << 10;

/// The guest is told of new room when it has this much more.
const WORTH_TELLING: u32 = ROOM as u32 / 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A program asks; the guest does not know it yet.
    New,
    /// The guest was asked.
    Asked,
    /// The guest asks, and the program is there; the guest does not know it yet.
    Accepted,
    Open,
}

/// What a packet of the guest does to its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    GoesOn,
    /// The guest has ended it, and expects a reset as the answer if it is not one itself.
    Over,
    /// It breaks the rules.
    Broken,
}

/// A packet to the guest.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) header: Header,
    /// How many bytes of data were put into the buffer.
    pub(super) length: usize,
}

pub(super) struct Connection {
    pub(super) ports: Ports,
    state: State,
    outgoing: Outgoing,
    /// Whether the socket may have more.
    is_readable: bool,
    /// Whether nothing can be sent on the socket any more, either way.
    has_hung_up: bool,
    /// Whether the program was told that nothing more comes.
    is_shut: bool,
    /// What each side does not do any more, as flags of a shutdown.
    host_flags: u32,
    guest_flags: u32,
    told_flags: u32,
    /// What the guest lets be sent to it, in its own words, and how much was sent.
    guest_room: u32,
    guest_taken: u32,
    sent: u32,
    has_asked_for_room: bool,
    /// How much has gone on to the program, and what the guest knows of it.
    taken: u32,
    told_taken: u32,
    is_asked_for_room: bool,
    /// When it ends if the guest has not answered.
    pub(super) deadline: Option<Instant>,
    /// Whether it is in the list of those that may have a packet.
    pub(super) is_listed: bool,
}

impl Connection {
    /// Of a program, which wants to be connected until the deadline.
    pub(super) fn of_program(socket: UnixStream, ports: Ports, deadline: Instant) -> Self {
        let mut connection = Self::new(socket, ports, State::New);
        connection.deadline = Some(deadline);
        connection
    }

    /// Of the guest, which has sent this request, to a program that is there.
    pub(super) fn of_guest(socket: UnixStream, request: &Header) -> Self {
        let mut connection = Self::new(socket, request.ports(), State::Accepted);
        connection.take_credit(request);
        connection
    }

    fn new(socket: UnixStream, ports: Ports, state: State) -> Self {
        Self {
            ports,
            state,
            outgoing: Outgoing::new(socket),
            is_readable: true,
            has_hung_up: false,
            is_shut: false,
            host_flags: 0,
            guest_flags: 0,
            told_flags: 0,
            guest_room: 0,
            guest_taken: 0,
            sent: 0,
            has_asked_for_room: false,
            taken: 0,
            told_taken: 0,
            is_asked_for_room: false,
            deadline: None,
            is_listed: false,
        }
    }

    /// Whether the guest knows of it.
    pub(super) fn is_known(&self) -> bool {
        self.state != State::New
    }

    /// Gives a connection that the guest must now answer a deadline.
    pub(super) fn limit_wait(&mut self, patience: Duration) {
        let waits = self.state == State::Asked || self.told_flags == NEITHER;
        if waits && self.deadline.is_none() {
            self.deadline = Some(Instant::now() + patience);
        }
    }

    pub(super) fn outgoing(&self) -> &Outgoing {
        &self.outgoing
    }

    /// What is left for the program when the guest has ended the connection.
    pub(super) fn into_outgoing(self) -> Option<Outgoing> {
        let has_more = self.host_flags & NO_RECEIVE == 0 && !self.outgoing.held.is_empty();
        if has_more {
            // Nobody reads what the program sends. As in `guest_shuts`.
            let _ = self.outgoing.socket.shutdown(Shutdown::Read);
        }
        has_more.then_some(self.outgoing)
    }

    /// Notes what the socket tells.
    pub(super) fn socket_changed(&mut self, events: EventFlags) {
        // An end and an error are read, too.
        self.is_readable |= !events.difference(EventFlags::OUT).is_empty();
        if events.contains(EventFlags::HUP) {
            self.has_hung_up = true;
            // What it has sent before is still read.
            if self.host_flags & NO_SEND != 0 || self.guest_flags & NO_RECEIVE != 0 {
                self.host_flags = NEITHER;
            }
        }
        self.flush();
    }

    /// Takes a packet of the guest. The data is not all that the header says only if that is more
    /// than [`ROOM`].
    pub(super) fn packet_came(&mut self, header: &Header, data: &[u8]) -> After {
        let Some(operation) = header.operation() else {
            return After::Broken;
        };
        if operation != Operation::Data && header.length != 0 {
            return After::Broken;
        }
        self.take_credit(header);
        match (operation, self.state) {
            (Operation::Reset, _) => After::Over,
            (Operation::Response, State::Asked) => self.answered(),
            (Operation::Shutdown, State::Accepted | State::Open) => self.guest_shuts(header.flags),
            (Operation::Data, State::Open) => self.data_came(header.length, data),
            (Operation::CreditUpdate, State::Accepted | State::Open) => After::GoesOn,
            (Operation::CreditRequest, State::Accepted | State::Open) => {
                self.is_asked_for_room = true;
                After::GoesOn
            }
            _ => After::Broken,
        }
    }

    fn take_credit(&mut self, header: &Header) {
        (self.guest_room, self.guest_taken) = (header.room, header.taken);
        self.has_asked_for_room &= self.credit() == 0;
    }

    /// How many bytes the guest has room for.
    fn credit(&self) -> usize {
        let under_way = self.sent.wrapping_sub(self.guest_taken);
        // What a guest says may make no sense.
        self.guest_room.saturating_sub(under_way) as usize
    }

    fn answered(&mut self) -> After {
        self.state = State::Open;
        self.deadline = None;
        let line = format!("OK {}\n", self.ports.host);
        self.outgoing.push(line.as_bytes());
        // Nothing was sent before, so there is room, if the program has not gone.
        match self.outgoing.flush().is_ok() && self.outgoing.held.is_empty() {
            true => After::GoesOn,
            false => After::Broken,
        }
    }

    fn guest_shuts(&mut self, flags: u32) -> After {
        self.guest_flags |= flags & NEITHER;
        if self.guest_flags == NEITHER {
            return After::Over;
        }
        if self.guest_flags & NO_RECEIVE != 0 {
            // It fails only if the program has gone.
            let _ = self.outgoing.socket.shutdown(Shutdown::Read);
            self.is_readable = false;
        }
        self.flush();
        After::GoesOn
    }

    fn data_came(&mut self, length: u32, data: &[u8]) -> After {
        let free = ROOM - self.outgoing.held.len();
        if self.guest_flags & NO_SEND != 0 || length as usize > free {
            return After::Broken;
        }
        self.outgoing.push(data);
        self.flush();
        After::GoesOn
    }

    /// Gives the program as much as it takes.
    fn flush(&mut self) {
        let before = self.outgoing.held.len();
        if self.outgoing.flush().is_err() {
            self.host_flags |= NO_RECEIVE;
        }
        if self.host_flags & NO_RECEIVE != 0 {
            self.outgoing.held.clear();
        }
        // At most `ROOM`.
        let gone = before - self.outgoing.held.len();
        self.taken = self.taken.wrapping_add(gone as u32);
        let is_over = self.guest_flags & NO_SEND != 0 && self.outgoing.held.is_empty();
        // Each call is a change of the socket, so there is one.
        if is_over && !self.is_shut {
            self.is_shut = true;
            // As above.
            let _ = self.outgoing.socket.shutdown(Shutdown::Write);
        }
    }

    /// Whether it may have a packet for the guest.
    pub(super) fn has_news(&self) -> bool {
        match self.state {
            State::New | State::Accepted => true,
            State::Asked => false,
            State::Open => {
                self.host_flags != self.told_flags
                    || self.should_tell_room()
                    || self.may_read() && (self.credit() > 0 || !self.has_asked_for_room)
            }
        }
    }

    fn may_read(&self) -> bool {
        self.is_readable && self.host_flags & NO_SEND == 0 && self.guest_flags & NO_RECEIVE == 0
    }

    fn should_tell_room(&self) -> bool {
        self.is_asked_for_room || self.taken.wrapping_sub(self.told_taken) >= WORTH_TELLING
    }

    /// Returns the next packet for the guest, whose data it puts into the buffer.
    pub(super) fn next_packet(&mut self, buffer: &mut [u8]) -> Option<Packet> {
        let (mut flags, mut length) = (0, 0);
        let operation = match self.state {
            State::New => {
                self.state = State::Asked;
                // The guest's own time begins.
                self.deadline = None;
                Operation::Request
            }
            State::Accepted => {
                self.state = State::Open;
                Operation::Response
            }
            State::Asked => return None,
            State::Open => {
                length = self.read(buffer);
                if length > 0 {
                    Operation::Data
                } else if self.host_flags != self.told_flags {
                    self.told_flags = self.host_flags;
                    flags = self.host_flags;
                    Operation::Shutdown
                } else if self.may_read() && !self.has_asked_for_room {
                    self.has_asked_for_room = true;
                    Operation::CreditRequest
                } else if self.should_tell_room() {
                    Operation::CreditUpdate
                } else {
                    return None;
                }
            }
        };
        let mut header = Header::to_guest(self.ports, operation);
        header.flags = flags;
        Some(Packet { header, length })
    }

    /// Reads what the guest has room for.
    fn read(&mut self, buffer: &mut [u8]) -> usize {
        let credit = self.credit().min(buffer.len());
        // Without room for data, their end can be seen nevertheless.
        let (most, how) = match credit {
            0 => (1, RecvFlags::PEEK),
            credit => (credit, RecvFlags::empty()),
        };
        while self.may_read() {
            match recv(&self.outgoing.socket, &mut buffer[..most], how) {
                Ok((_, 0)) => {
                    let which = if self.has_hung_up { NEITHER } else { NO_SEND };
                    self.host_flags |= which;
                }
                Ok((_, length)) => return length.min(credit),
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) => self.is_readable = false,
                Err(_) => self.host_flags = NEITHER,
            }
        }
        0
    }

    /// Completes the header of a packet, which the guest is given now, with this much data.
    pub(super) fn complete(&mut self, header: &mut Header, length: usize) {
        // At most what was read at once.
        header.length = length as u32;
        self.sent = self.sent.wrapping_add(header.length);
        (header.room, header.taken) = (ROOM as u32, self.taken);
        self.told_taken = self.taken;
        self.is_asked_for_room = false;
    }
}

/// What is held for a program, and its socket.
pub(super) struct Outgoing {
    pub(super) socket: UnixStream,
    held: VecDeque<u8>,
}

impl Outgoing {
    fn new(socket: UnixStream) -> Self {
        let held = VecDeque::new();
        Self { socket, held }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.held.extend(bytes);
    }

    /// Sends what the socket takes.
    ///
    /// # Errors
    ///
    /// The program does not receive any more.
    fn flush(&mut self) -> Result<(), Errno> {
        while !self.held.is_empty() {
            match send(&self.socket, self.held.as_slices().0, SendFlags::NOSIGNAL) {
                Ok(sent) => drop(self.held.drain(..sent)),
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) => return Ok(()),
                Err(errno) => return Err(errno),
            }
        }
        // Most connections hold nothing for most of their time.
        self.held = VecDeque::new();
        Ok(())
    }

    /// How many bytes are held.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// Sends what is left; returns whether more is left.
    pub(super) fn goes_on(&mut self) -> bool {
        self.flush().is_ok() && !self.held.is_empty()
    }
}
