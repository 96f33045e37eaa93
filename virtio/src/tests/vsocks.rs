//! Sockets whose device takes its steps between the polls.

mod closing;
mod credit;
mod hostile;
mod listening;
mod machine;
mod races;
mod threads;

use std::{pin::pin, task::Poll};

use embedded_io_async::{Read, Write};

use super::{Flag, poll};
use crate::vsock::{ConnectError, HOST, ListenError, StreamError};
use machine::{CID, Machine, Packet, limits, now, op};

/// The bytes of a packet, by the specification.
#[test]
fn a_request_on_the_wire() {
    let mut machine = Machine::new();
    let flag = Flag::new();
    let vsock = machine.vsock.clone();
    assert_eq!(vsock.cid(), CID);
    let mut connect = pin!(vsock.connect(HOST, 0x0102_0304));
    assert!(poll(connect.as_mut(), &flag).is_pending());
    machine.run();
    let mut bytes = Vec::new();
    machine.transmit.serve(|chain| {
        bytes = chain.read();
        0
    });
    let expected = [
        &[3, 0, 0, 0, 0, 0, 0, 0][..],
        &[2, 0, 0, 0, 0, 0, 0, 0],
        &49152_u32.to_le_bytes(),
        &[4, 3, 2, 1],
        &[0, 0, 0, 0],
        &[1, 0],
        &[1, 0],
        &[0, 0, 0, 0],
        &64_u32.to_le_bytes(),
        &[0, 0, 0, 0],
    ];
    assert_eq!(bytes, expected.concat());
}

#[test]
fn this_side_connects() {
    let mut machine = Machine::new();
    let flag = Flag::new();
    let vsock = machine.vsock.clone();
    let mut connect = pin!(vsock.connect(HOST, 7));
    assert!(poll(connect.as_mut(), &flag).is_pending());
    let request = machine.sent_one();
    assert_eq!((request.op, request.peer_port), (op::REQUEST, 7));
    flag.take();
    machine.inject(request.answer(op::RESPONSE));
    assert!(flag.take());
    let Poll::Ready(Ok(mut stream)) = poll(connect.as_mut(), &flag) else {
        panic!("it is connected");
    };
    assert_eq!((stream.peer_cid(), stream.peer_port()), (HOST, 7));
    assert_eq!(stream.local_port(), request.local_port);
    assert_eq!(
        poll(pin!(stream.write(b"hello")), &flag),
        Poll::Ready(Ok(5))
    );
    let data = machine.sent_one();
    assert_eq!((data.op, &data.data[..]), (op::DATA, &b"hello"[..]));
    let mut buffer = [0; 3];
    {
        let mut read = pin!(stream.read(&mut buffer));
        assert!(poll(read.as_mut(), &flag).is_pending());
        flag.take();
        machine.inject(request.data(b"answer"));
        assert!(flag.take());
        assert_eq!(poll(read.as_mut(), &flag), Poll::Ready(Ok(3)));
    }
    assert_eq!(&buffer, b"ans");
    assert_eq!(
        poll(pin!(stream.read(&mut buffer)), &flag),
        Poll::Ready(Ok(3))
    );
    assert_eq!(&buffer, b"wer");
    assert_eq!(poll(pin!(stream.read(&mut [])), &flag), Poll::Ready(Ok(0)));
    assert_eq!(poll(pin!(stream.write(&[])), &flag), Poll::Ready(Ok(0)));
}

#[test]
fn a_peer_refuses() {
    let mut machine = Machine::new();
    let flag = Flag::new();
    let vsock = machine.vsock.clone();
    let mut connect = pin!(vsock.connect(HOST, 7));
    assert!(poll(connect.as_mut(), &flag).is_pending());
    let request = machine.sent_one();
    machine.inject(request.answer(op::RESET));
    let refused = poll(connect.as_mut(), &flag).map(Result::err);
    assert_eq!(refused, Poll::Ready(Some(ConnectError::Refused)));
    // A reset is not answered.
    assert_eq!(machine.sent(), []);
}

/// A connect that is given up resets what it began, if the peer knows of it.
#[test]
fn a_connect_is_dropped() {
    let mut machine = Machine::new();
    let flag = Flag::new();
    let vsock = machine.vsock.clone();
    assert!(poll(pin!(vsock.connect(HOST, 7)), &flag).is_pending());
    assert_eq!(machine.sent(), []);
    let request = {
        let mut connect = pin!(vsock.connect(HOST, 7));
        assert!(poll(connect.as_mut(), &flag).is_pending());
        machine.sent_one()
    };
    assert_eq!(machine.sent_one().op, op::RESET);
    // The answer comes too late.
    machine.inject(request.answer(op::RESPONSE));
    assert_eq!(machine.sent_one(), request.reply(op::RESET));
}

#[test]
fn no_more_connections_than_the_limit() {
    let mut machine = Machine::with_limits(limits(2, 64, 4));
    let vsock = machine.vsock.clone();
    let streams = [machine.connect(1), machine.connect(1)];
    assert_ne!(streams[0].0.local_port(), streams[1].0.local_port());
    let flag = Flag::new();
    let third = poll(pin!(vsock.connect(HOST, 1)), &flag).map(Result::err);
    assert_eq!(third, Poll::Ready(Some(ConnectError::TooManyConnections)));
    // One that was dropped, and whose peer does not answer, gives its place.
    let [(first, request), _second] = streams;
    drop(first);
    assert_eq!(machine.sent_one().op, op::SHUTDOWN);
    let third = machine.start_connect(1);
    let sent = machine.sent();
    assert_eq!(sent[0], request.reply(op::RESET));
    assert_eq!(sent[1].op, op::REQUEST);
    drop(third);
}

/// A connection that was dropped gives its place before another one that still has data to send.
#[test]
fn a_place_is_taken_from_who_has_sent_all() {
    let mut machine = Machine::with_limits(limits(2, 64, 4));
    let (mut sending, request) = machine.connect(1);
    let (done, done_request) = machine.connect(2);
    assert_eq!(now(sending.write(&[1; 64])), Ok(64));
    drop(sending);
    drop(done);
    let ops: Vec<_> = machine.sent().iter().map(|packet| packet.op).collect();
    assert_eq!(ops, [op::DATA, op::SHUTDOWN, op::CREDIT_REQUEST]);
    let third = machine.start_connect(3);
    let sent = machine.sent();
    assert_eq!(sent[0], done_request.reply(op::RESET));
    assert_eq!(sent[1].op, op::REQUEST);
    machine.inject(Packet {
        forwarded: 16,
        ..request.answer(op::CREDIT_UPDATE)
    });
    let data = machine.sent();
    assert_eq!((data[0].op, data[0].data.len()), (op::DATA, 16));
    // There is no other one.
    let fourth = machine.start_connect(4);
    let sent = machine.sent();
    assert_eq!(sent[0], request.reply(op::RESET));
    assert_eq!((sent[1].op, sent[1].peer_port), (op::REQUEST, 4));
    drop((third, fourth));
}

/// `flush` waits until the device has sent all.
#[test]
fn a_flush_waits_for_the_device() {
    let mut machine = Machine::new();
    let (mut stream, request) = machine.connect(1);
    let flag = Flag::new();
    assert_eq!(
        poll(pin!(stream.write(&[1; 40])), &flag),
        Poll::Ready(Ok(40))
    );
    assert_eq!(
        poll(pin!(stream.write(&[2; 40])), &flag),
        Poll::Ready(Ok(24))
    );
    let mut flush = pin!(stream.flush());
    assert!(poll(flush.as_mut(), &flag).is_pending());
    machine.run();
    flag.take();
    assert!(machine.transmit.wants_interrupt());
    // The peer has room for 32 bytes.
    assert_eq!(machine.sent_one().data.len(), 32);
    let ask = machine.sent_one();
    assert_eq!(ask.op, op::CREDIT_REQUEST);
    assert!(!flag.take());
    assert!(poll(flush.as_mut(), &flag).is_pending());
    let update = Packet {
        forwarded: 32,
        ..request.answer(op::CREDIT_UPDATE)
    };
    machine.inject(update);
    assert!(machine.transmit.wants_interrupt());
    assert!(!flag.take());
    assert_eq!(machine.sent_one().data.len(), 32);
    assert!(flag.take());
    assert_eq!(poll(flush.as_mut(), &flag), Poll::Ready(Ok(())));
    assert_eq!(machine.sent(), []);
    assert!(!machine.transmit.wants_interrupt());
}

/// All that waits ends when the runner does.
#[test]
fn the_runner_is_dropped() {
    let mut machine = Machine::new();
    let vsock = machine.vsock.clone();
    let listener = vsock.listen(5).expect("nobody has it");
    let (mut stream, _) = machine.connect(1);
    let (mut writing, _) = machine.connect(1);
    let flags: [_; 4] = std::array::from_fn(|_| Flag::new());
    let mut buffer = [0; 8];
    let mut read = pin!(stream.read(&mut buffer));
    let mut accept = pin!(listener.accept());
    let mut connect = pin!(vsock.connect(HOST, 2));
    let mut flush = pin!(async {
        writing.write_all(&[0; 64]).await?;
        writing.flush().await
    });
    assert!(poll(read.as_mut(), &flags[0]).is_pending());
    assert!(poll(accept.as_mut(), &flags[1]).is_pending());
    assert!(poll(connect.as_mut(), &flags[2]).is_pending());
    assert!(poll(flush.as_mut(), &flags[3]).is_pending());
    assert!(flags.iter().all(|flag| flag.take()));
    let Machine { runner, shared, .. } = machine;
    drop(runner);
    assert!(shared.is_reset());
    assert!(flags.iter().all(|flag| flag.take()));
    let stopped = Poll::Ready(Err(StreamError::Stopped));
    assert_eq!(poll(read, &flags[0]), stopped);
    assert!(matches!(poll(accept, &flags[1]), Poll::Ready(Err(_))));
    let refused = poll(connect, &flags[2]).map(Result::err);
    assert_eq!(refused, Poll::Ready(Some(ConnectError::Stopped)));
    assert!(matches!(poll(flush, &flags[3]), Poll::Ready(Err(_))));
    assert_eq!(vsock.listen(6).err(), Some(ListenError::Stopped));
    let again = poll(pin!(vsock.connect(HOST, 2)), &flags[0]).map(Result::err);
    assert_eq!(again, Poll::Ready(Some(ConnectError::Stopped)));
}
