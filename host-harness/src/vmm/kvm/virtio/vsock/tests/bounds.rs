//! What is held is bounded, and the files on this host are as they should be.

use std::{
    fs,
    os::{fd::RawFd, unix::fs::PermissionsExt},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::*;
use crate::vmm::kvm::virtio::vsock::{
    hub::{MAX_CONNECTIONS, MAX_REFUSALS},
    visitors::MAX_VISITORS,
};

/// A guest that floods, and takes no packets, is held up; it goes on once it takes them.
#[test]
fn a_flood_of_packets_is_held_up() {
    let mut guest = Guest::new();
    let mut answered = 0;
    while guest.hub.takes_packets() {
        guest.send(OUT, Operation::CreditRequest);
        answered += 1;
        assert!(answered <= MAX_REFUSALS);
    }
    guest.hub.look();
    assert!(!guest.has_news(Duration::ZERO));
    guest.expect(Operation::Reset);
    assert!(guest.has_news(Duration::ZERO) && guest.hub.takes_packets());
    // Connections that come and go leave nothing either.
    let _listener = guest.serves(7);
    for _ in 0..3 * MAX_CONNECTIONS {
        guest.send(OUT, Operation::Request);
        guest.send(OUT, Operation::Reset);
        guest.hub.check_bounds();
    }
}

#[test]
fn visitors_are_bounded() {
    let mut guest = Guest::new();
    let visitors: Vec<_> = (0..MAX_VISITORS + 5).map(|_| guest.visitor()).collect();
    // They are accepted in turns.
    guest.settle();
    for visitor in &visitors[MAX_VISITORS..] {
        assert_eq!(rest(visitor), b"");
    }
    // There is room again.
    drop(visitors);
    guest.connected(5);
}

/// One that has named its port is none any more, however many have come before the guest looks.
#[test]
fn programs_that_have_named_a_port_are_all_served() {
    let mut guest = Guest::new();
    let silent = guest.visitor();
    let mut programs = Vec::new();
    for _ in 0..MAX_VISITORS + 36 {
        let mut program = guest.visitor();
        program.write_all(b"CONNECT 5\n").unwrap();
        programs.push(program);
    }
    for _ in &programs {
        let request = guest.expect(Operation::Request);
        let ports = Ports {
            host: request.from_port,
            guest: request.to_port,
        };
        guest.send(ports, Operation::Response);
    }
    for program in &mut programs {
        assert!(line(program).starts_with("OK "));
    }
    drop(silent);
    guest.settle();
}

/// Lets this process, and with it all tests, open more files. Returns how many.
fn raise_file_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let enough = 4 * MAX_CONNECTIONS as u64;
    let more = Rlimit {
        current: limit
            .maximum
            .map_or(Some(enough), |most| Some(most.min(enough))),
        ..limit
    };
    if limit.current.is_some_and(|current| current < enough) {
        setrlimit(Resource::Nofile, more).unwrap();
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// The last files that this process may open are not for the guest.
#[test]
fn some_files_are_left_to_others() {
    let first: RawFd = (raise_file_limit() - 256).try_into().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let listener = VsockListener::new(&folder.path().join("s")).unwrap();
    assert!(listener.leaves_enough_files(&(first - 1)));
    assert!(!listener.leaves_enough_files(&first));
}

#[test]
fn connections_are_bounded() {
    // Both ends are files of this process.
    raise_file_limit();
    let mut guest = Guest::new();
    let listener = guest.serves(7);
    let mut programs = Vec::new();
    let ports = |number: usize| Ports {
        host: 7,
        guest: number as u32,
    };
    for number in 0..MAX_CONNECTIONS {
        guest.send(ports(number), Operation::Request);
        guest.expect(Operation::Response);
        programs.push(listener.accept().unwrap());
    }
    guest.send(ports(MAX_CONNECTIONS), Operation::Request);
    guest.expect(Operation::Reset);
    let mut program = guest.visitor();
    program.write_all(b"CONNECT 5\n").unwrap();
    guest.settle();
    assert_eq!(rest(&program), b"");
    // One place is free again.
    guest.send(ports(3), Operation::Reset);
    guest.send(ports(MAX_CONNECTIONS), Operation::Request);
    guest.expect(Operation::Response);
}

#[test]
fn the_socket_is_for_this_user_and_goes_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let listener = VsockListener::new(&path).unwrap();
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let error = VsockListener::new(&path).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert!(path.exists());
    drop(listener);
    assert!(!path.exists());
    // A file that another program has put there stays.
    let listener = VsockListener::new(&path).unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, "text").unwrap();
    drop(listener);
    assert_eq!(fs::read(&path).unwrap(), b"text");
    let missing = VsockListener::new(&folder.path().join("none/s")).map(drop);
    assert_eq!(missing.unwrap_err().kind(), ErrorKind::NotFound);
}
