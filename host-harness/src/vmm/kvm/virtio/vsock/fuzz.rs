//! Properties of the hub that must hold for any guest and any programs.

use std::{
    collections::HashMap,
    io::{Read, Write},
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    time::Duration,
};

use super::{
    connection::ROOM,
    header::{GUEST_CID, HEADER, HOST_CID, Header, Operation, Ports, STREAM},
    hub::Hub,
    listener::VsockListener,
};

/// The port of this host that a program serves.
const SERVED: u32 = 7;

/// Values of fields that matter; others are those of bytes.
const CIDS: [u64; 4] = [GUEST_CID, HOST_CID, 0, u64::MAX];
const PORTS: [u32; 4] = [SERVED, 1, 1 << 30, (1 << 30) + 1];
const NUMBERS: [u32; 4] = [0, 100, ROOM as u32, u32::MAX];

/// Reads any bytes as what a guest and programs of the host do, one step for each eight bytes.
///
/// # Panics
///
/// Panics if a property does not hold: what is held is bounded, and each packet for the guest has a
/// sound header, the length that fits, and no more data than the guest has allowed.
pub(in crate::vmm::kvm::virtio) fn fuzz(bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("s");
    let served = UnixListener::bind(folder.path().join(format!("s_{SERVED}")));
    let served = served.expect("a socket");
    served.set_nonblocking(true).expect("it is a socket");
    let listener = VsockListener::new(&path).expect("a socket");
    let mut world = World {
        hub: Hub::new(listener, Duration::from_millis(2)).expect("it can watch"),
        connect: &|| UnixStream::connect(&path).ok(),
        served,
        programs: Vec::new(),
        allowed: HashMap::new(),
        naps: 3,
    };
    for step in bytes.as_chunks().0 {
        world.step(*step);
        world.hub.check_bounds();
    }
}

struct World<'a> {
    connect: &'a dyn Fn() -> Option<UnixStream>,
    served: UnixListener,
    programs: Vec<UnixStream>,
    /// Dropped after the programs, for which it would wait.
    hub: Hub,
    /// How much the guest has got of each connection, and may get in all.
    allowed: HashMap<Ports, (u64, u64)>,
    /// How often time may still pass.
    naps: u8,
}

impl World<'_> {
    fn step(&mut self, [kind, one, two, three, rest @ ..]: [u8; 8]) {
        let which = usize::from(one) % self.programs.len().max(1);
        match kind % 8 {
            0 | 1 => self.guest_sends(kind, one, two, three, rest),
            2 => self.guest_takes(1 + usize::from(one) * 300),
            3 => {
                let program = (self.connect)().into_iter();
                self.programs.extend(program.filter_map(without_waiting));
            }
            4 => {
                let accepted = self.served.accept().ok();
                let program = accepted.and_then(|(program, _)| without_waiting(program));
                self.programs.extend(program);
            }
            5 if two & 1 == 0 => self.program_sends(which, format!("CONNECT {three}\n").as_bytes()),
            5 => self.program_sends(which, &rest.repeat(usize::from(three) * 64)),
            6 => {
                if let Some(program) = self.programs.get_mut(which) {
                    let _ = program.read(&mut vec![0; usize::from(two) * 300]);
                }
            }
            _ if two == 255 => {
                self.hub.clear();
                self.hub.flush_leavers();
                self.allowed.clear();
            }
            _ if two & 3 == 0 => self.time_passes(),
            _ => self.program_ends(which, two),
        }
        self.hub.look();
    }

    /// What waits is given up.
    fn time_passes(&mut self) {
        if let Some(left) = self.naps.checked_sub(1) {
            self.naps = left;
            std::thread::sleep(Duration::from_millis(3));
        }
    }

    fn program_sends(&mut self, which: usize, bytes: &[u8]) {
        if let Some(program) = self.programs.get_mut(which) {
            // An error is that of a socket that is full, or closed.
            let _ = program.write(bytes);
        }
    }

    fn program_ends(&mut self, which: usize, how: u8) {
        match self.programs.get(which) {
            None => {}
            Some(_) if how & 3 == 1 => drop(self.programs.swap_remove(which)),
            Some(program) => {
                let how = if how & 3 == 2 {
                    Shutdown::Write
                } else {
                    Shutdown::Read
                };
                let _ = program.shutdown(how);
            }
        }
    }

    fn guest_sends(&mut self, kind: u8, ports: u8, credit: u8, operation: u8, rest: [u8; 4]) {
        let field = |fields: [u32; 4], byte: u8| fields[usize::from(byte & 3)];
        // Most packets have the right addresses.
        let cid = |shift: u8, right| match kind >> 4 & shift {
            0 => right,
            _ => CIDS[usize::from(rest[1] & 3)],
        };
        let header = Header {
            from_cid: cid(1, GUEST_CID),
            to_cid: cid(2, HOST_CID),
            from_port: field(PORTS, ports >> 2),
            to_port: field(PORTS, ports),
            length: u32::from(rest[0]) * 300 * u32::from(operation & 7 == 5),
            kind: STREAM + u16::from(kind >> 4 & 4),
            operation: u16::from(operation & 7) | u16::from(kind >> 7) << 8,
            flags: u32::from(rest[2]),
            room: field(NUMBERS, credit),
            taken: field(NUMBERS, credit >> 2).wrapping_add(u32::from(rest[3]) / 255),
        };
        if !self.hub.takes_packets() {
            return;
        }
        let data = vec![rest[1]; (header.length as usize).min(ROOM)];
        self.hub.packet_came(&header, &data);
        if (header.from_cid, header.to_cid, header.kind) != (GUEST_CID, HOST_CID, STREAM) {
            // It belongs to no connection.
            return;
        }
        let (got, most) = self.allowed.entry(header.ports()).or_default();
        let of_connection = [Operation::Request, Operation::Reset].map(Some);
        if of_connection.contains(&header.operation()) {
            // It begins anew, or ends.
            (*got, *most) = (0, 0);
        }
        let under_way = (*got as u32).wrapping_sub(header.taken);
        let credit = header.room.saturating_sub(under_way);
        *most = (*most).max(*got + u64::from(credit));
    }

    fn guest_takes(&mut self, room: usize) {
        if !self.hub.has_packet() {
            return;
        }
        let (header, data) = self.hub.take_packet(room).expect("there is one");
        assert_eq!(header.to_bytes().len(), HEADER);
        assert!(data.len() <= room && data.len() == header.length as usize);
        assert_eq!(header.to_cid, GUEST_CID);
        let operation = header.operation().expect("it is known");
        let is_data = operation == Operation::Data;
        assert_eq!(is_data, !data.is_empty());
        assert!(header.taken == 0 || header.room == ROOM as u32);
        if (header.from_cid, header.kind) != (HOST_CID, STREAM) {
            // It refuses what belongs to no connection.
            return assert_eq!(operation, Operation::Reset);
        }
        let ports = Ports {
            host: header.from_port,
            guest: header.to_port,
        };
        let (got, most) = self.allowed.entry(ports).or_default();
        match operation {
            Operation::Reset | Operation::Request => (*got, *most) = (0, 0),
            Operation::Response => *got = 0,
            _ => *got += data.len() as u64,
        }
        assert!(got <= most || !is_data, "{got} of {most}");
    }
}

fn without_waiting(program: UnixStream) -> Option<UnixStream> {
    program.set_nonblocking(true).ok()?;
    Some(program)
}
