//! Guests that break the rules.

use super::*;

#[test]
fn headers_that_make_no_sense_are_refused() {
    let mut guest = Guest::new();
    let _listener = guest.serves(7);
    let sound = guest.header(OUT, Operation::Request);
    // Not from this guest.
    for from_cid in [0, HOST_CID, 4, u64::MAX, 1 << 32 | GUEST_CID] {
        guest.hub.packet_came(&Header { from_cid, ..sound }, &[]);
        assert_eq!(guest.take(), None);
    }
    // Not to this host.
    for to_cid in [0, 1, GUEST_CID, u64::MAX, 1 << 32 | HOST_CID] {
        guest.hub.packet_came(&Header { to_cid, ..sound }, &[]);
        assert_eq!(guest.expect(Operation::Reset).from_cid, to_cid);
    }
    for kind in [0, 2, u16::MAX] {
        guest.hub.packet_came(&Header { kind, ..sound }, &[]);
        assert_eq!(guest.expect(Operation::Reset).kind, kind);
    }
    let length = 1;
    guest.hub.packet_came(&Header { length, ..sound }, b"x");
    guest.expect(Operation::Reset);
    // What belongs to no connection.
    for operation in [0, 2, 4, 5, 6, 7, 8, u16::MAX] {
        guest.hub.packet_came(&Header { operation, ..sound }, &[]);
        guest.expect(Operation::Reset);
    }
    guest.send(OUT, Operation::Reset);
    assert_eq!(guest.take(), None);
}

#[test]
fn a_connection_that_is_broken_is_reset() {
    type Break = fn(&mut Guest, Ports);
    let breaks: [Break; 7] = [
        |guest, ports| guest.send(ports, Operation::Request),
        |guest, ports| guest.send(ports, Operation::Response),
        |guest, ports| {
            let mut header = guest.header(ports, Operation::Data);
            header.operation = 8;
            guest.hub.packet_came(&header, &[]);
        },
        |guest, ports| {
            let mut header = guest.header(ports, Operation::CreditUpdate);
            header.length = 1;
            guest.hub.packet_came(&header, b"x");
        },
        |guest, ports| {
            guest.shut(ports, NO_SEND);
            guest.send_data(ports, b"x");
        },
        |guest, ports| {
            let mut header = guest.header(ports, Operation::Data);
            header.length = ROOM as u32 + 1;
            guest.hub.packet_came(&header, &[0; ROOM]);
        },
        |guest, ports| {
            let mut header = guest.header(ports, Operation::Data);
            header.length = u32::MAX;
            guest.hub.packet_came(&header, &[0; ROOM]);
        },
    ];
    for (number, act) in breaks.into_iter().enumerate() {
        let mut guest = Guest::new();
        let (program, ports) = guest.connected(5);
        act(&mut guest, ports);
        let header = guest.expect(Operation::Reset);
        assert_eq!(
            (header.from_port, header.to_port),
            (ports.host, 5),
            "{number}"
        );
        assert_eq!(rest(&program), b"", "{number}");
        assert_eq!(guest.take(), None, "{number}");
        // The next one works.
        guest.connected(5);
    }
    // Data before the answer.
    let mut guest = Guest::new();
    let (program, ports) = guest.asks(5);
    guest.send_data(ports, b"early");
    guest.expect(Operation::Reset);
    assert_eq!(rest(&program), b"");
}
