//! What a guest with a network reaches.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};

use dormir_harness::vmm::{Vmm, Warning, free_port};
use libtest_mimic::Failed;

use super::{Beside, HTTP, check, connection::Connection, quit, run_beside};
use crate::guest::{LIMIT, config};

/// A port of this host, of both protocols.
struct Targets {
    tcp: TcpListener,
    udp: UdpSocket,
    /// Where the guest finds it: on the loopback, and at an address of this host.
    addresses: [SocketAddrV4; 2],
}

impl Targets {
    fn new() -> Result<Self, Failed> {
        let port = free_port()?;
        let tcp = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
        let udp = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))?;
        // Nothing is sent: this only looks at the routes.
        let route = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        route.connect((Ipv4Addr::new(192, 0, 2, 1), 1))?;
        let IpAddr::V4(own) = route.local_addr()?.ip() else {
            return Err("an address of another kind".into());
        };
        let addresses = [Ipv4Addr::new(10, 0, 2, 2), own];
        Ok(Self {
            tcp,
            udp,
            addresses: addresses.map(|address| SocketAddrV4::new(address, port)),
        })
    }

    /// Runs the guest, which tries to reach them, each for so many seconds of its clock, and
    /// serves. Returns how it ended, and for which of the targets it says that they are reached.
    fn run(&self, vmm: Vmm, restrict: bool, seconds: u64) -> Result<(Beside, [bool; 2]), Failed> {
        let [loopback, own] = self.addresses;
        let arguments = format!("reach={loopback},{own} reach-seconds={seconds}");
        let config = config(vmm, arguments);
        let ended = run_beside(config, restrict, HTTP, |port, _| {
            Connection::new(port)?.page()?;
            quit(port)
        })?;
        let is_in = |line: String| ended.before.lines().any(|it| it == line);
        let reached = self.addresses.map(|to| is_in(format!("reaches {to}")));
        let all = self.addresses.iter().zip(reached);
        let are_told = all
            .filter(|(to, reached)| *reached != is_in(format!("does not reach {to}")))
            .count();
        check(are_told == 2, &ended.before)?;
        Ok((ended, reached))
    }
}

/// A guest that only answers reaches nothing of this host, and serves.
pub(super) fn restricted(vmm: Vmm) -> Result<(), Failed> {
    let targets = Targets::new()?;
    let (ended, reached) = targets.run(vmm, true, 2)?;
    check(reached == [false; 2], &ended.before)?;
    targets.tcp.set_nonblocking(true)?;
    targets.udp.set_nonblocking(true)?;
    check(targets.tcp.accept().is_err(), "a connection came")?;
    check(targets.udp.recv(&mut [0; 64]).is_err(), "a datagram came")?;
    let outcome = &ended.report.outcome;
    check(outcome.is_success(), &format!("{outcome}"))?;
    let warnings = &ended.report.warnings;
    let expected = match vmm {
        // Two datagrams, and the beginnings of two connections.
        Vmm::Kvm => matches!(warnings[..], [Warning::HeldBack(4..)]),
        Vmm::Qemu(..) => warnings.is_empty(),
    };
    check(expected, &format!("{warnings:?}"))
}

/// Without the restriction it does.
pub(super) fn open(vmm: Vmm) -> Result<(), Failed> {
    let targets = Targets::new()?;
    targets.udp.set_read_timeout(Some(LIMIT))?;
    // The guest goes on as soon as it is connected.
    let (ended, reached) = targets.run(vmm, false, 25)?;
    check(reached == [true; 2], &ended.before)?;
    for _ in targets.addresses {
        // The guest has seen each opened.
        targets.tcp.accept()?;
        targets.udp.recv(&mut [0; 64])?;
    }
    ended.is_quiet_success()
}
