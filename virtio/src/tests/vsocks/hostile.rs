//! Devices and peers that break the protocol.

use embedded_io_async::Write;

use super::machine::{CID, Machine, Packet, device, limits, now, op, read};
use crate::{
    RequestError, SetupError,
    tests::side::Side,
    vsock::{HOST, StreamError, Vsock},
};

/// After a device has broken the protocol, it is reset, and all has ended.
fn is_broken(mut machine: Machine) {
    let listener = machine.vsock.listen(5000).expect("nobody has it");
    machine.shared.raise(1);
    assert_eq!(machine.run(), Some(RequestError::Broken));
    assert!(machine.shared.is_reset());
    assert!(now(listener.accept()).is_err());
    assert!(now(machine.vsock.connect(HOST, 1)).is_err());
    assert_eq!(now(machine.runner.run()), RequestError::Broken);
}

/// A device that writes this, and tells this length.
fn writes(bytes: &[u8], length: u32) -> Machine {
    let mut machine = Machine::new();
    machine.run();
    machine.receive.serve(|chain| {
        chain.write(bytes.iter().copied());
        length
    });
    machine
}

#[test]
fn broken_devices() {
    for length in [0, 43, 44 + 4097, u32::MAX] {
        is_broken(writes(&[], length));
    }
    // The header tells of more data than there is.
    let long = Packet::new(7, 5000, op::DATA).data(&[1; 8]).bytes();
    is_broken(writes(&long, 51));
    let mut longest = long;
    longest[24..28].fill(0xff);
    is_broken(writes(&longest, 52));
    for token in [64, 0xffff, u32::MAX] {
        for queue in [0, 1, 2] {
            let machine = Machine::new();
            Side::new(&machine.shared, queue).give_back(token, 44);
            is_broken(machine);
        }
    }
    let mut ahead = Machine::new();
    ahead.transmit.run_ahead(100);
    is_broken(ahead);
    for length in [0, 3, 5] {
        let mut event = Machine::new();
        event.events.serve(|_| length);
        is_broken(event);
    }
    let mut moved = Machine::new();
    moved.shared.config.lock().unwrap()[0] = 0;
    moved.events.serve(|chain| chain.write([0; 4]));
    is_broken(moved);
    let asks = Machine::new();
    asks.shared.needs_reset();
    is_broken(asks);
}

/// Streams, and the data that they have, outlive the device.
#[test]
fn streams_outlive_a_broken_device() {
    let mut machine = Machine::new();
    let (mut stream, request) = machine.connect(1);
    machine.inject(request.data(b"held"));
    machine.receive.give_back(99, 0);
    machine.shared.raise(1);
    assert_eq!(machine.run(), Some(RequestError::Broken));
    assert_eq!(read(&mut stream), Ok(b"held".to_vec()));
    assert_eq!(read(&mut stream), Err(StreamError::Stopped));
    assert_eq!(now(stream.write(b"x")), Err(StreamError::Stopped));
    drop(stream);
    assert_eq!(machine.vsock.sizes(), [0; 3]);
}

#[test]
fn refused_devices() {
    for cid in [0, 1, 2, u64::from(u32::MAX), 3 | 1 << 32] {
        let device = device(cid);
        let refused = Vsock::new(device.attach()).err();
        assert_eq!(refused, Some(SetupError::Configuration), "{cid}");
        assert!(device.is_reset());
    }
    let short = device(3);
    short.config.lock().unwrap().truncate(7);
    let refused = Vsock::new(short.attach()).err();
    assert_eq!(refused, Some(SetupError::Configuration));
}

/// What is of no connection is reset, and nothing else happens. What is not for this guest, or from
/// nobody who could be answered, is left.
#[test]
fn packets_of_no_connection() {
    let mut machine = Machine::new();
    let _listener = machine.vsock.listen(5000).expect("nobody has it");
    for op in [0, op::RESPONSE, op::SHUTDOWN, op::DATA, 6, 7, 8, 0xffff] {
        let packet = Packet::new(7, 5000, op);
        machine.inject(packet.clone());
        assert_eq!(machine.sent(), [packet.reply(op::RESET)], "{op}");
    }
    machine.inject(Packet::new(7, 5000, op::RESET));
    // Another type of socket.
    for kind in [0, 2, 0xffff] {
        let packet = Packet {
            kind,
            ..Packet::new(7, 5000, op::REQUEST)
        };
        machine.inject(packet.clone());
        assert_eq!(machine.sent(), [packet.reply(op::RESET)]);
        machine.inject(Packet {
            op: op::RESET,
            ..packet
        });
    }
    let request = Packet::new(7, 5000, op::REQUEST);
    machine.inject(Packet {
        local_cid: u64::from(CID) | 1 << 32,
        ..request.clone()
    });
    machine.inject(Packet {
        local_cid: 4,
        ..request.clone()
    });
    machine.inject(Packet {
        peer_cid: 2 | 1 << 32,
        ..request
    });
    assert_eq!(machine.sent(), []);
    assert_eq!(machine.vsock.sizes(), [0; 3]);
}

/// As `vhost-device-vsock` does: a packet without an operation, and a buffer that comes back as it
/// was given. The connection goes on.
#[test]
fn packets_that_tell_nothing() {
    let mut machine = Machine::new();
    let (mut stream, request) = machine.connect(1);
    for number in 0..200_u8 {
        machine.inject(request.answer(0));
        machine.inject(request.data(&[number; 8]));
        assert!(machine.receive.serve(|_| 44));
        machine.shared.raise(1);
        machine.run();
        assert_eq!(read(&mut stream), Ok(vec![number; 8]));
    }
    let ops: Vec<_> = machine.sent().iter().map(|packet| packet.op).collect();
    assert!(ops.iter().all(|op| *op == op::CREDIT_UPDATE), "{ops:?}");
}

/// What a connection does not allow resets it, for both sides.
#[test]
fn packets_that_a_connection_does_not_allow() {
    for op in [op::REQUEST, op::RESPONSE, 8, 0xffff] {
        is_reset(&[|request| request.clone()], op);
    }
    // More than there is room for, at once and in pieces.
    is_reset(&[|request| request.data(&[1; 65])], op::DATA);
    is_reset(
        &[
            |request| request.data(&[1; 64]),
            |request| request.data(&[]),
            |request| request.data(&[1]),
        ],
        op::DATA,
    );
    // After its end.
    is_reset(
        &[|request| request.shutdown(2), |request| request.data(&[1])],
        op::DATA,
    );
}

/// These packets on a connection, of which the last has this operation, reset it.
fn is_reset(packets: &[fn(&Packet) -> Packet], last: u16) {
    let mut machine = Machine::new();
    let (mut stream, request) = machine.connect(1);
    for (packet, left) in packets.iter().zip((0..packets.len()).rev()) {
        let mut packet = packet(&request);
        assert_eq!(machine.sent(), []);
        if left == 0 {
            packet.op = last;
        }
        machine.inject(packet);
    }
    let sent = machine.sent();
    assert_eq!(sent.len(), 1, "{last}");
    assert_eq!((sent[0].op, sent[0].peer_port), (op::RESET, 1));
    assert_eq!(now(stream.write(b"x")), Err(StreamError::Reset));
    drop(stream);
    assert_eq!(machine.sent(), []);
    assert_eq!(machine.vsock.sizes(), [0; 3]);
}

/// An answer before the request was sent, and a wrong one.
#[test]
fn wrong_answers_to_a_request() {
    for op in [op::DATA, op::SHUTDOWN, op::CREDIT_UPDATE, op::REQUEST, 99] {
        let mut machine = Machine::new();
        let connecting = machine.start_connect(1);
        let request = machine.sent_one();
        machine.inject(request.answer(op));
        assert!(now(connecting).is_err());
        assert_eq!(machine.sent_one().op, op::RESET);
        assert_eq!(machine.vsock.sizes(), [0; 3]);
    }
}

/// A peer that asks for an answer without end, while the device sends nothing.
#[test]
fn floods_take_no_memory() {
    const PACKETS: u32 = if cfg!(miri) { 200 } else { 5000 };

    // As many packets as the device takes.
    let flood = |machine: &mut Machine, packet: &dyn Fn(u32) -> Packet| {
        let taken = (0..PACKETS).take_while(|number| {
            machine.receive.has_request() && {
                machine.inject(packet(*number));
                true
            }
        });
        taken.count() as u32
    };
    // Nothing listens: 64 resets are in the queue, 64 wait, and 64 packets have not been taken.
    let mut machine = Machine::new();
    let taken = flood(&mut machine, &|number| Packet::new(number, 9, op::REQUEST));
    assert_eq!(taken, 3 * 64);
    assert_eq!(machine.vsock.sizes(), [0, 0, 64]);
    // When the device sends again, each is answered.
    let sent = machine.sent();
    let answered = (0..taken).map(|number| Packet::new(number, 9, op::REQUEST).reply(op::RESET));
    assert!(sent.iter().eq(&answered.collect::<Vec<_>>()));
    // A connection that is made and given up again and again.
    let mut machine = Machine::with_limits(limits(8, 64, 4));
    let _listener = machine.vsock.listen(5000).expect("nobody has it");
    let taken = flood(&mut machine, &|number| {
        let op = [op::REQUEST, op::RESET][number as usize % 2];
        Packet::new(number / 2, 5000, op)
    });
    assert_eq!(taken, PACKETS);
    assert!(machine.vsock.sizes().iter().all(|size| *size <= 8));
    // Requests for credit, of one connection.
    let mut machine = Machine::new();
    let (_stream, request) = machine.connect(1);
    let taken = flood(&mut machine, &|_| request.answer(op::CREDIT_REQUEST));
    assert_eq!(taken, PACKETS);
    assert_eq!(machine.vsock.sizes(), [1, 1, 0]);
    assert_eq!(machine.sent().len(), 64 + 1);
}

/// While the device sends nothing, what is to be sent is kept; then nothing is missing.
#[test]
fn a_full_queue_loses_nothing() {
    let mut machine = Machine::new();
    let (mut busy, request) = machine.connect(1);
    let (mut ending, _) = machine.connect(2);
    let (closed, _) = machine.connect(3);
    // Each answer to a request for credit takes a place.
    for _ in 0..70 {
        machine.inject(request.answer(op::CREDIT_REQUEST));
    }
    assert_eq!(machine.vsock.sizes(), [3, 1, 0]);
    assert_eq!(now(busy.write(&[1; 20])), Ok(20));
    assert_eq!(now(ending.write(&[2; 20])), Ok(20));
    ending.shutdown();
    drop(closed);
    let connecting = machine.start_connect(4);
    let _listener = machine.vsock.listen(5000).expect("nobody has it");
    machine.inject(Packet::new(5, 5000, op::REQUEST));
    machine.inject(Packet::new(6, 6000, op::REQUEST));
    let sent: Vec<_> = machine
        .sent()
        .iter()
        .skip(64)
        .map(|packet| (packet.peer_port, packet.op, packet.data.len()))
        .collect();
    let expected = [
        (6, op::RESET, 0),
        (1, op::CREDIT_UPDATE, 0),
        (2, op::DATA, 20),
        (3, op::SHUTDOWN, 0),
        (4, op::REQUEST, 0),
        (5, op::RESPONSE, 0),
        (1, op::DATA, 20),
        (2, op::SHUTDOWN, 0),
    ];
    assert_eq!(sent, expected);
    drop(connecting);
}
