//! The hub, with a guest and programs that the tests play.

mod bounds;
mod credit;
mod ends;
mod hostile;

use std::{
    io::{ErrorKind, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    time::Duration,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tempfile::TempDir;

use super::{connection::ROOM, header::*, hub::Hub, listener::VsockListener};

/// Longer than any test needs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A guest that has this much room, and its hub.
struct Guest {
    hub: Hub,
    folder: TempDir,
    room: u32,
}

impl Guest {
    fn new() -> Self {
        Self::with_patience(PATIENCE)
    }

    fn with_patience(patience: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = VsockListener::new(&folder.path().join("s")).unwrap();
        let hub = Hub::new(listener, patience).unwrap();
        let room = 1 << 20;
        Self { hub, folder, room }
    }

    fn header(&self, ports: Ports, operation: Operation) -> Header {
        Header {
            from_cid: GUEST_CID,
            to_cid: HOST_CID,
            from_port: ports.guest,
            to_port: ports.host,
            kind: STREAM,
            operation: operation as u16,
            room: self.room,
            ..Header::default()
        }
    }

    fn send(&mut self, ports: Ports, operation: Operation) {
        let header = self.header(ports, operation);
        self.hub.packet_came(&header, &[]);
    }

    fn shut(&mut self, ports: Ports, flags: u32) {
        let mut header = self.header(ports, Operation::Shutdown);
        header.flags = flags;
        self.hub.packet_came(&header, &[]);
    }

    fn send_data(&mut self, ports: Ports, data: &[u8]) {
        let mut header = self.header(ports, Operation::Data);
        header.length = data.len() as u32;
        self.hub.packet_came(&header, data);
    }

    /// Takes a packet, if there is one.
    fn take(&mut self) -> Option<(Header, Vec<u8>)> {
        self.hub.look();
        self.hub.check_bounds();
        self.hub.has_packet().then(|| {
            let (header, data) = self.hub.take_packet(4096).unwrap();
            (header, data.to_vec())
        })
    }

    /// Has the hub see all that has happened, of which nothing concerns the guest.
    fn settle(&mut self) {
        assert_eq!(self.take(), None);
        while self.has_news(Duration::ZERO) {
            assert_eq!(self.take(), None);
        }
    }

    /// Waits for a packet, as the device's thread does.
    fn wait(&mut self) -> (Header, Vec<u8>) {
        loop {
            if let Some(packet) = self.take() {
                return packet;
            }
            assert!(self.has_news(Duration::from_secs(20)), "no packet comes");
        }
    }

    /// Waits for a packet of this kind, without data; returns its header.
    fn expect(&mut self, operation: Operation) -> Header {
        let (header, data) = self.wait();
        assert_eq!((header.operation(), &data[..]), (Some(operation), &b""[..]));
        assert_eq!((header.to_cid, header.length), (GUEST_CID, 0));
        header
    }

    fn expect_data(&mut self, expected: &[u8]) {
        let mut came = Vec::new();
        while came.len() < expected.len() {
            let (header, data) = self.wait();
            assert_eq!(header.operation(), Some(Operation::Data));
            came.extend(data);
        }
        assert!(came == expected);
    }

    /// Whether the device would be called again.
    fn has_news(&mut self, limit: Duration) -> bool {
        if self.hub.take_news() {
            return true;
        }
        let source = self.hub.source();
        let limit = Timespec::try_from(limit).unwrap();
        poll(&mut [PollFd::new(&source, PollFlags::IN)], Some(&limit)).unwrap() > 0
    }

    /// A program that has connected, and said nothing.
    fn visitor(&self) -> UnixStream {
        let program = UnixStream::connect(self.folder.path().join("s")).unwrap();
        program
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        program
    }

    /// A program that has asked for this port, and the ports of its connection.
    fn asks(&mut self, port: u32) -> (UnixStream, Ports) {
        let mut program = self.visitor();
        writeln!(program, "CONNECT {port}").unwrap();
        let header = self.expect(Operation::Request);
        let ports = Ports {
            host: header.from_port,
            guest: header.to_port,
        };
        assert_eq!(ports.guest, port);
        (program, ports)
    }

    /// A connection of a program.
    fn connected(&mut self, port: u32) -> (UnixStream, Ports) {
        let (mut program, ports) = self.asks(port);
        self.send(ports, Operation::Response);
        assert_eq!(line(&mut program), format!("OK {}", ports.host));
        (program, ports)
    }

    fn serves(&self, port: u32) -> UnixListener {
        UnixListener::bind(self.folder.path().join(format!("s_{port}"))).unwrap()
    }
}

fn line(program: &mut UnixStream) -> String {
    let mut line = Vec::new();
    loop {
        let mut byte = [0];
        program.read_exact(&mut byte).unwrap();
        match byte {
            [b'\n'] => return String::from_utf8(line).unwrap(),
            [byte] => line.push(byte),
        }
    }
}

/// Waits for the end of what a program gets; returns what came before.
fn rest(mut program: &UnixStream) -> Vec<u8> {
    let mut rest = Vec::new();
    match program.read_to_end(&mut rest) {
        Ok(_) => {}
        // There was something that the guest has not taken.
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    rest
}

const OUT: Ports = Ports { host: 7, guest: 99 };

#[test]
fn a_header_is_that_of_the_standard() {
    let bytes: [u8; HEADER] = std::array::from_fn(|place| place as u8);
    let header = Header::from_bytes(&bytes);
    assert_eq!(header.from_cid, 0x0706_0504_0302_0100);
    assert_eq!(header.to_cid, 0x0f0e_0d0c_0b0a_0908);
    assert_eq!(
        (header.from_port, header.to_port),
        (0x1312_1110, 0x1716_1514)
    );
    assert_eq!((header.length, header.kind), (0x1b1a_1918, 0x1d1c));
    assert_eq!((header.operation, header.flags), (0x1f1e, 0x2322_2120));
    assert_eq!((header.room, header.taken), (0x2726_2524, 0x2b2a_2928));
    assert_eq!(header.to_bytes(), bytes);
}

#[test]
fn a_program_connects_to_the_guest() {
    let mut guest = Guest::new();
    let (mut program, ports) = guest.connected(5);
    program.write_all(b"to the guest").unwrap();
    guest.expect_data(b"to the guest");
    guest.send_data(ports, b"to the program\n");
    assert_eq!(line(&mut program), "to the program");
    // Several at once, also to the same port.
    let (mut second, other) = guest.connected(5);
    assert_ne!(ports, other);
    second.write_all(b"of the second").unwrap();
    guest.expect_data(b"of the second");
    guest.send_data(ports, b"still here\n");
    assert_eq!(line(&mut program), "still here");
    drop(program);
    assert_eq!(guest.expect(Operation::Shutdown).flags, NEITHER);
    guest.send(ports, Operation::Reset);
    guest.send_data(other, b"so is this\n");
    assert_eq!(line(&mut second), "so is this");
    assert_eq!(guest.take(), None);
}

#[test]
fn what_follows_the_line_at_once_is_not_lost() {
    let mut guest = Guest::new();
    let mut program = guest.visitor();
    program.write_all(b"CONNECT 4294967295\nhello").unwrap();
    let header = guest.expect(Operation::Request);
    assert_eq!(header.to_port, u32::MAX);
    // Nothing is sent to a guest that has not accepted.
    assert_eq!(guest.take(), None);
    let ports = Ports {
        host: header.from_port,
        guest: u32::MAX,
    };
    guest.send(ports, Operation::Response);
    guest.expect_data(b"hello");
}

#[test]
fn a_line_may_come_in_pieces() {
    let mut guest = Guest::new();
    let mut program = guest.visitor();
    for piece in ["CON", "NECT 1", "2", "\n"] {
        guest.settle();
        program.write_all(piece.as_bytes()).unwrap();
    }
    assert_eq!(guest.expect(Operation::Request).to_port, 12);
}

#[test]
fn a_line_that_names_no_port_ends_the_connection() {
    let mut guest = Guest::new();
    for wrong in [
        "\n",
        "CONNECT\n",
        "CONNECT \n",
        "connect 5\n",
        "CONNECT 4294967296\n",
        "CONNECT -1\n",
        "CONNECT +1\n",
        "CONNECT 5 \n",
        "CONNECT 5\r\n",
        "CONNECT 00000000000",
        "GET / HTTP/1.1\r\nHost: guest\r\n\r\n",
    ] {
        let mut program = guest.visitor();
        program.write_all(wrong.as_bytes()).unwrap();
        guest.settle();
        assert_eq!(rest(&program), b"", "{wrong}");
    }
    // It goes away in the middle of the line.
    let mut program = guest.visitor();
    program.write_all(b"CONNECT").unwrap();
    guest.settle();
    drop(program);
    guest.settle();
}

#[test]
fn the_guest_connects_to_a_program() {
    let mut guest = Guest::new();
    guest.send(OUT, Operation::Request);
    let header = guest.expect(Operation::Reset);
    assert_eq!((header.from_port, header.to_port), (7, 99));
    let listener = guest.serves(7);
    guest.send(OUT, Operation::Request);
    let header = guest.expect(Operation::Response);
    assert_eq!((header.from_port, header.to_port), (7, 99));
    assert_eq!(header.room, ROOM as u32);
    let (mut program, _) = listener.accept().unwrap();
    program.write_all(b"welcome").unwrap();
    guest.expect_data(b"welcome");
    guest.send_data(OUT, b"thanks\n");
    assert_eq!(line(&mut program), "thanks");
}

/// The kernel would let a connection wait; the device does not.
#[test]
fn a_program_that_does_not_accept_is_not_waited_for() {
    let mut guest = Guest::new();
    let listener = guest.serves(7);
    // No more than one waits.
    rustix::net::listen(&listener, 0).unwrap();
    let mut refused = 0;
    for port in 0..3 {
        let ports = Ports {
            host: 7,
            guest: port,
        };
        guest.send(ports, Operation::Request);
        refused += u32::from(guest.wait().0.operation() == Some(Operation::Reset));
    }
    assert!(refused > 0);
}
