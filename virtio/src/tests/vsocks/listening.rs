//! Connections that peers make.

use std::{pin::pin, task::Poll};

use embedded_io_async::Write;

use super::machine::{Machine, Packet, limits, now, op, read};
use crate::{
    tests::{Flag, poll},
    vsock::{ConnectError, HOST, ListenError},
};

#[test]
fn a_peer_connects() {
    let mut machine = Machine::new();
    let vsock = machine.vsock.clone();
    let listener = vsock.listen(5000).expect("nobody has it");
    assert_eq!(vsock.listen(5000).err(), Some(ListenError::InUse));
    assert_eq!(vsock.listen(u32::MAX).err(), Some(ListenError::NoPort));
    let flag = Flag::new();
    let mut accept = pin!(listener.accept());
    assert!(poll(accept.as_mut(), &flag).is_pending());
    flag.take();
    let request = Packet::new(77, 5000, op::REQUEST);
    machine.inject(request.clone());
    assert!(flag.take());
    let response = machine.sent_one();
    assert_eq!(
        (response.op, response.peer_port, response.buffer),
        (op::RESPONSE, 77, 64)
    );
    // Data may come before it is accepted.
    machine.inject(request.data(b"early"));
    let Poll::Ready(Ok(mut stream)) = poll(accept.as_mut(), &flag) else {
        panic!("one came");
    };
    assert_eq!((stream.peer_port(), stream.local_port()), (77, 5000));
    assert_eq!(read(&mut stream), Ok(b"early".to_vec()));
    assert_eq!(now(stream.write(b"late")), Ok(4));
    assert_eq!(machine.sent_one().data, b"late");
}

#[test]
fn a_port_without_a_listener() {
    let mut machine = Machine::new();
    let listener = machine.vsock.listen(5000).expect("nobody has it");
    let request = Packet::new(77, 5001, op::REQUEST);
    machine.inject(request.clone());
    assert_eq!(machine.sent(), [request.reply(op::RESET)]);
    // Those who were not accepted are reset, and then nobody listens.
    let request = Packet::new(77, 5000, op::REQUEST);
    machine.inject(request.clone());
    assert_eq!(machine.sent_one().op, op::RESPONSE);
    drop(listener);
    let reset = machine.sent_one();
    assert_eq!((reset.op, reset.peer_port), (op::RESET, 77));
    machine.inject(request.clone());
    assert_eq!(machine.sent(), [request.reply(op::RESET)]);
    assert_eq!(machine.vsock.sizes(), [0; 3]);
    assert!(machine.vsock.listen(5000).is_ok());
}

/// Each connection wakes one of the tasks that wait, and none is forgotten when one is dropped.
#[test]
fn several_tasks_wait() {
    let mut machine = Machine::new();
    let listener = machine.vsock.listen(5000).expect("nobody has it");
    let flags = [Flag::new(), Flag::new(), Flag::new()];
    let mut accepts = flags.each_ref().map(|_| Some(Box::pin(listener.accept())));
    for (accept, flag) in accepts.iter_mut().zip(&flags) {
        let accept = accept.as_mut().expect("not dropped");
        assert!(flag.take() && poll(accept.as_mut(), flag).is_pending());
    }
    let woken = || flags.each_ref().map(|flag| flag.take());
    machine.inject(Packet::new(1, 5000, op::REQUEST));
    assert_eq!(woken(), [true, false, false]);
    machine.inject(Packet::new(2, 5000, op::REQUEST));
    assert_eq!(woken(), [false; 3]);
    // The first was woken and is dropped, so the second takes its place, and wakes the third.
    accepts[0] = None;
    assert_eq!(woken(), [false, true, false]);
    let mut accept = |index: usize| {
        let accept = accepts[index].as_mut().expect("not dropped");
        poll(accept.as_mut(), &flags[index])
    };
    let Poll::Ready(Ok(first)) = accept(1) else {
        panic!("one came");
    };
    assert_eq!(woken(), [false, false, true]);
    let Poll::Ready(Ok(second)) = accept(2) else {
        panic!("another one came");
    };
    assert_eq!((first.peer_port(), second.peer_port()), (1, 2));
}

#[test]
fn a_full_backlog_refuses() {
    let mut machine = Machine::with_limits(limits(4, 64, 2));
    let listener = machine.vsock.listen(5000).expect("nobody has it");
    let request = |port| Packet::new(port, 5000, op::REQUEST);
    for port in 1..=3 {
        machine.inject(request(port));
    }
    let ops = |packets: Vec<Packet>| -> Vec<_> {
        packets
            .iter()
            .map(|packet| (packet.peer_port, packet.op))
            .collect()
    };
    let expected = [(1, op::RESPONSE), (2, op::RESPONSE), (3, op::RESET)];
    assert_eq!(ops(machine.sent()), expected);
    // One that its peer gives up leaves its place.
    machine.inject(request(1).answer(op::RESET));
    machine.inject(request(4));
    assert_eq!(ops(machine.sent()), [(4, op::RESPONSE)]);
    let streams = [2, 4].map(|port| {
        let stream = now(listener.accept()).expect("one came");
        assert_eq!(stream.peer_port(), port);
        stream
    });
    // There is a place in the backlog, and two for connections.
    for port in 5..=7 {
        machine.inject(request(port));
    }
    let expected = [(5, op::RESPONSE), (6, op::RESPONSE), (7, op::RESET)];
    assert_eq!(ops(machine.sent()), expected);
    let others = [(); 2].map(|()| now(listener.accept()).expect("one came"));
    machine.inject(request(8));
    assert_eq!(ops(machine.sent()), [(8, op::RESET)]);
    drop((streams, others));
}

/// Those for whom a task waits are taken beyond the backlog, however many come at once.
#[test]
fn a_crowd_is_let_in_by_as_many_tasks() {
    let mut machine = Machine::with_limits(limits(16, 64, 1));
    let listener = machine.vsock.listen(5000).expect("nobody has it");
    let mut accepts = [(); 3].map(|()| Box::pin(listener.accept()));
    for accept in &mut accepts {
        assert!(poll(accept.as_mut(), &Flag::new()).is_pending());
    }
    for port in 1..=5 {
        machine.inject(Packet::new(port, 5000, op::REQUEST));
    }
    let ops: Vec<_> = machine.sent().iter().map(|packet| packet.op).collect();
    assert_eq!(ops[..4], [op::RESPONSE; 4]);
    assert_eq!(ops[4..], [op::RESET]);
    for (accept, port) in accepts.iter_mut().zip(1..) {
        let accepted = now(accept.as_mut()).expect("one came");
        assert_eq!(accepted.peer_port(), port);
    }
}

/// The smallest limits there are: one connection, at a time, for a task that waits.
#[test]
fn limits_of_nothing() {
    let mut machine = Machine::with_limits(limits(1, 0, 0));
    let listener = machine.vsock.listen(5000).expect("nobody has it");
    let request = |port| Packet::new(port, 5000, op::REQUEST);
    machine.inject(request(1));
    assert_eq!(machine.sent_one().op, op::RESET);
    let mut accept = Box::pin(listener.accept());
    assert!(poll(accept.as_mut(), &Flag::new()).is_pending());
    machine.inject(request(2));
    let response = machine.sent_one();
    assert_eq!((response.op, response.buffer), (op::RESPONSE, 1));
    let mut stream = now(accept).expect("one came");
    machine.inject(request(2).data(b"a"));
    assert_eq!(read(&mut stream), Ok(b"a".to_vec()));
    assert_eq!(machine.sent_one().op, op::CREDIT_UPDATE);
    let refused = now(machine.vsock.connect(HOST, 1)).err();
    assert_eq!(refused, Some(ConnectError::TooManyConnections));
    let mut nowhere = Machine::with_limits(limits(0, 0, 1));
    let _listener = nowhere.vsock.listen(5000).expect("nobody has it");
    nowhere.inject(request(3));
    assert_eq!(nowhere.sent_one().op, op::RESET);
}

/// A peer that sent and closed before it was accepted is still read.
#[test]
fn a_short_visit() {
    let mut machine = Machine::new();
    let listener = machine.vsock.listen(5000).expect("nobody has it");
    let request = Packet::new(9, 5000, op::REQUEST);
    machine.inject(request.clone());
    machine.inject(request.data(b"bye"));
    machine.inject(request.shutdown(3));
    let ops: Vec<_> = machine.sent().iter().map(|packet| packet.op).collect();
    assert_eq!(ops, [op::RESPONSE, op::RESET]);
    let mut stream = now(listener.accept()).expect("one came");
    assert_eq!(read(&mut stream), Ok(b"bye".to_vec()));
    assert_eq!(read(&mut stream), Ok(Vec::new()));
    drop(stream);
    assert_eq!(machine.sent(), []);
    assert_eq!(machine.vsock.sizes(), [0; 3]);
}
