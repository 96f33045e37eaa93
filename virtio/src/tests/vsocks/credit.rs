//! How much is sent, and what the peer is told.

use std::{pin::pin, task::Poll};

use embedded_io_async::Write;

use super::machine::{Machine, Packet, limits, now, op, read};
use crate::tests::{Flag, poll};

/// The bytes of data in what the driver sends.
fn data_in(packets: &[Packet]) -> usize {
    packets.iter().map(|packet| packet.data.len()).sum()
}

#[test]
fn no_more_is_sent_than_the_peer_has_room_for() {
    let mut machine = Machine::new();
    let (mut stream, request) = machine.connect(1);
    let credit = |buffer, forwarded| Packet {
        buffer,
        forwarded,
        ..request.answer(op::CREDIT_UPDATE)
    };
    assert_eq!(now(stream.write(&[1; 64])), Ok(64));
    let sent = machine.sent();
    assert_eq!(data_in(&sent), 32);
    assert_eq!(sent.last().map(|last| last.op), Some(op::CREDIT_REQUEST));
    // Asked once, and not again until something was sent.
    machine.inject(credit(32, 0));
    assert_eq!(machine.sent(), []);
    // There is less room than before, and than is in flight.
    machine.inject(credit(0, 0));
    machine.inject(credit(3, 31));
    assert_eq!(data_in(&machine.sent()), 2);
    // More than was sent cannot be taken, so this tells nothing but the room.
    machine.inject(credit(40, 1000));
    assert_eq!(data_in(&machine.sent()), 30);
    assert_eq!(machine.sent(), []);
    // Something was sent, so it asks again.
    assert_eq!(now(stream.write(&[1; 64])), Ok(64));
    let sent = machine.sent();
    assert_eq!(data_in(&sent), 40 - (64 - 31));
    assert_eq!(sent.last().map(|last| last.op), Some(op::CREDIT_REQUEST));
}

#[test]
fn a_full_buffer_waits_for_room() {
    let mut machine = Machine::new();
    let (mut stream, request) = machine.connect(1);
    let flag = Flag::new();
    assert_eq!(now(stream.write(&[1; 100])), Ok(64));
    let mut write = pin!(stream.write(&[2; 100]));
    assert!(poll(write.as_mut(), &flag).is_pending());
    flag.take();
    // Half of it is sent.
    assert_eq!(data_in(&machine.sent()), 32);
    assert!(flag.take());
    assert_eq!(poll(write.as_mut(), &flag), Poll::Ready(Ok(32)));
    let update = Packet {
        buffer: 1 << 20,
        ..request.answer(op::CREDIT_UPDATE)
    };
    machine.inject(update);
    let rest: Vec<_> = machine
        .sent()
        .into_iter()
        .flat_map(|packet| packet.data)
        .collect();
    assert_eq!(rest, [[1; 32], [2; 32]].concat());
}

#[test]
fn the_peer_is_told_of_room() {
    let mut machine = Machine::new();
    let (mut stream, request) = machine.connect(1);
    machine.inject(request.data(&[1; 64]));
    assert_eq!(machine.sent(), []);
    let mut some = [0; 31];
    assert_eq!(
        now(embedded_io_async::Read::read(&mut stream, &mut some)),
        Ok(31)
    );
    // Less than half.
    assert_eq!(machine.sent(), []);
    assert_eq!(read(&mut stream).map(|bytes| bytes.len()), Ok(33));
    let update = machine.sent_one();
    assert_eq!(
        (update.op, update.buffer, update.forwarded),
        (op::CREDIT_UPDATE, 64, 64)
    );
    // Every packet tells it, too.
    machine.inject(request.data(&[1; 8]));
    assert_eq!(read(&mut stream).map(|bytes| bytes.len()), Ok(8));
    assert_eq!(now(stream.write(b"x")), Ok(1));
    let data = machine.sent_one();
    assert_eq!((data.op, data.forwarded), (op::DATA, 72));
    // Who asks is answered.
    machine.inject(request.answer(op::CREDIT_REQUEST));
    machine.inject(request.answer(op::CREDIT_REQUEST));
    assert_eq!(machine.sent_one().op, op::CREDIT_UPDATE);
    machine.inject(request.answer(op::CREDIT_UPDATE));
}

/// Large writes are cut, and go on in turns with those of others.
#[test]
fn connections_take_turns() {
    let mut machine = Machine::with_limits(limits(8, 1 << 20, 4));
    let mut streams = [1, 2].map(|port| machine.connect(port));
    for (_, request) in &streams {
        let update = Packet {
            buffer: 1 << 20,
            ..request.answer(op::CREDIT_UPDATE)
        };
        machine.inject(update);
    }
    for (stream, _) in &mut streams {
        assert_eq!(now(stream.write(&[7; 50_000])), Ok(50_000));
    }
    let sent: Vec<_> = machine
        .sent()
        .into_iter()
        .map(|packet| (packet.peer_port, packet.data.len()))
        .collect();
    let expected = [16384, 16384, 16384, 848].map(|length| [(1, length), (2, length)]);
    assert_eq!(sent, expected.concat());
}

/// The memory of a connection grows as it is needed, to no more than its limit.
#[test]
fn memory_is_bounded() {
    let mut machine = Machine::with_limits(limits(4, 100, 4));
    let (mut stream, request) = machine.connect(1);
    assert_eq!(stream.capacities(), [0, 0]);
    machine.inject(request.data(&[0; 3]));
    assert_eq!(now(stream.write(&[0; 3])), Ok(3));
    assert!(stream.capacities().iter().all(|bytes| *bytes < 10));
    // So many that a queue that doubles its memory takes more.
    for _ in 0..97 {
        machine.inject(request.data(&[0]));
    }
    while let Poll::Ready(written) = poll(pin!(stream.write(&[0])), &Flag::new()) {
        assert_eq!(written, Ok(1));
    }
    assert_eq!(stream.capacities(), [100, 100]);
    assert_eq!(read(&mut stream), Ok(vec![0; 100]));
}
