//! A console whose device takes its steps between the polls.

use std::{pin::pin, sync::Arc, task::Poll};

use embedded_io_async::{Read, Write};
use virtio_drivers::transport::DeviceType;

use super::{
    Flag,
    fake::{FakeInterrupt, FakeTransport, Shared},
    poll,
    side::Side,
};
use crate::{RequestError, console::Console};

struct Machine {
    shared: Arc<Shared>,
    console: Console<FakeTransport, FakeInterrupt>,
    receive: Side,
    transmit: Side,
}

fn machine() -> Machine {
    let shared = Shared::new(DeviceType::Console);
    Machine {
        console: Console::new(shared.attach()).expect("a good device"),
        receive: Side::new(&shared, 0),
        transmit: Side::new(&shared, 1),
        shared,
    }
}

#[test]
fn both_ways() {
    let mut machine = machine();
    let (mut reader, mut writer) = machine.console.split();
    let flag = Flag::new();
    let mut buffer = [0; 3];
    {
        let mut read = pin!(reader.read(&mut buffer));
        assert!(poll(read.as_mut(), &flag).is_pending());
        flag.take();
        machine.receive.serve(|chain| chain.write(*b"hello"));
        machine.shared.raise(1);
        assert!(flag.take());
        assert_eq!(poll(read.as_mut(), &flag), Poll::Ready(Ok(3)));
    }
    assert_eq!(&buffer, b"hel");
    assert_eq!(
        poll(pin!(reader.read(&mut buffer)), &flag),
        Poll::Ready(Ok(2))
    );
    assert_eq!(&buffer[..2], b"lo");
    assert_eq!(poll(pin!(reader.read(&mut [])), &flag), Poll::Ready(Ok(0)));
    let mut write = pin!(writer.write(&[7; 5000]));
    assert!(poll(write.as_mut(), &flag).is_pending());
    machine.transmit.serve(|chain| {
        assert_eq!(chain.read(), [7; 1024]);
        0
    });
    machine.shared.raise(1);
    assert_eq!(poll(write.as_mut(), &flag), Poll::Ready(Ok(1024)));
}

/// A read that is dropped leaves its request, and the writer is woken in its place.
#[test]
fn a_read_is_dropped_while_the_other_half_waits() {
    let mut machine = machine();
    let (mut reader, mut writer) = machine.console.split();
    let (reads, writes) = (Flag::new(), Flag::new());
    let mut write = pin!(writer.write(b"text"));
    assert!(poll(write.as_mut(), &writes).is_pending());
    writes.take();
    let mut buffer = [0; 8];
    // Now the interrupt wakes the reader.
    assert!(poll(pin!(reader.read(&mut buffer)), &reads).is_pending());
    // It was dropped, so the writer is to ask for the interrupt.
    assert!(writes.take());
    assert!(poll(write.as_mut(), &writes).is_pending());
    machine.receive.serve(|chain| chain.write(*b"key"));
    machine.transmit.serve(|_| 0);
    machine.shared.raise(1);
    assert!(writes.take());
    assert_eq!(poll(write.as_mut(), &writes), Poll::Ready(Ok(4)));
    assert_eq!(
        poll(pin!(reader.read(&mut buffer)), &reads),
        Poll::Ready(Ok(3))
    );
    assert_eq!(&buffer[..3], b"key");
}

/// What was received, or is received when there are no halves, is read by the next ones.
#[test]
fn no_input_is_lost_with_the_halves() {
    let mut machine = machine();
    let flag = Flag::new();
    let mut buffer = [0; 3];
    let mut read = |machine: &mut Machine, expected: Poll<&str>| {
        let (mut reader, _writer) = machine.console.split();
        let poll = poll(pin!(reader.read(&mut buffer)), &flag);
        let text = poll.map(|length| &buffer[..length.expect("a good device")]);
        assert_eq!(text, expected.map(str::as_bytes));
    };
    read(&mut machine, Poll::Pending);
    machine.receive.serve(|chain| chain.write(*b"hello"));
    machine.shared.raise(1);
    read(&mut machine, Poll::Ready("hel"));
    read(&mut machine, Poll::Ready("lo"));
    read(&mut machine, Poll::Pending);
    machine.receive.serve(|chain| chain.write(*b"bye"));
    machine.shared.raise(1);
    read(&mut machine, Poll::Ready("bye"));
}

#[test]
fn a_wrong_length_ends_the_reader() {
    let mut machine = machine();
    let flag = Flag::new();
    let mut buffer = [0; 8];
    let (mut reader, _) = machine.console.split();
    assert!(poll(pin!(reader.read(&mut buffer)), &flag).is_pending());
    machine.receive.serve(|_| 1025);
    machine.shared.raise(1);
    for _ in 0..2 {
        let (mut reader, _) = machine.console.split();
        let read = poll(pin!(reader.read(&mut buffer)), &flag);
        assert_eq!(read, Poll::Ready(Err(RequestError::WrongAnswer)));
    }
}
