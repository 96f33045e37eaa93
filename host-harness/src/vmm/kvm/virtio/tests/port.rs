//! The console with a port, whose other end is a socket of the test.

use std::{
    io::{ErrorKind, Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
};

use super::*;
use crate::vmm::kvm::virtio::{
    console::{RECEIVE, TRANSMIT},
    device::Answer,
    port::Port,
};

fn port(queue: usize) -> (Driver, UnixStream) {
    let (socket, other_end) = UnixStream::pair().unwrap();
    other_end.set_nonblocking(true).unwrap();
    let driver = Driver::with_queue(queue, Port::new(socket).unwrap());
    (driver, other_end)
}

#[test]
fn bytes_go_to_the_socket_and_come_from_it() {
    let (mut driver, mut socket) = port(TRANSMIT);
    driver.request(&[b"one ", b"", b"two"], &[]);
    driver.request(&[b", three"], &[]);
    let mut bytes = [0; 40];
    assert_eq!(socket.read(&mut bytes).unwrap(), 14);
    assert_eq!(&bytes[..14], b"one two, three");

    let (mut driver, mut socket) = port(RECEIVE);
    driver.chain(&[], &[3, 5]);
    driver.submit();
    assert_eq!(driver.take(), None);
    socket.write_all(&[7; 6]).unwrap();
    driver.notify();
    assert_eq!(driver.take(), Some((0, 6)));
    // What is more than a buffer takes goes into the next.
    socket.write_all(&[8; 5000]).unwrap();
    assert_eq!(driver.request(&[], &[4000]), [8; 4000]);
    let mut rest = 1000;
    while rest > 0 {
        driver.chain(&[], &[4000]);
        driver.submit();
        rest -= driver.take().expect("there is more").1;
    }
}

/// Sends to a socket that is not read, until a request waits. Returns the number of the others.
fn fill(driver: &mut Driver) -> usize {
    let mut sent = 0;
    loop {
        driver.chain(&[&[sent as u8; 4096]], &[]);
        driver.submit();
        if driver.take().is_none() {
            return sent;
        }
        sent += 1;
        assert!(sent < 1000, "all of it is held somewhere");
    }
}

/// Returns whether the bytes are those of so many requests.
fn is_all(bytes: &[u8], sent: usize) -> bool {
    let right = (0..sent).flat_map(|number| [number as u8; 4096]);
    bytes.iter().copied().eq(right)
}

/// Nothing is lost: a request that does not fit waits, and those behind it.
#[test]
fn a_socket_that_is_not_read_holds_the_guest_up() {
    let (mut driver, mut socket) = port(TRANSMIT);
    let sent = fill(&mut driver);
    let (mut bytes, mut read) = (vec![0; 1 << 20], 0);
    loop {
        match socket.read(&mut bytes[read..]) {
            Ok(length) => read += length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
        driver.notify();
    }
    assert!(driver.take().is_some());
    assert!(is_all(&bytes[..read], sent + 1));
}

/// What the guest was told to be sent still goes when the run is over.
#[test]
fn the_end_of_the_run_waits_for_a_slow_reader() {
    let (mut driver, mut socket) = port(TRANSMIT);
    let sent = fill(&mut driver);
    let end = thread::spawn(move || drop(driver));
    socket.set_nonblocking(false).unwrap();
    let mut bytes = Vec::new();
    socket.read_to_end(&mut bytes).unwrap();
    assert!(
        is_all(&bytes, sent),
        "{} bytes of {sent} requests",
        bytes.len()
    );
    end.join().unwrap();
    // One that does not read is not waited for.
    let (mut driver, _socket) = port(TRANSMIT);
    fill(&mut driver);
    ends(move || drop(driver));
}

/// A program that sends no more, as `echo text | socat - UNIX-LISTEN:port`, can still read.
#[test]
fn the_end_of_the_input_ends_no_more() {
    let (ours, mut socket) = UnixStream::pair().unwrap();
    socket.shutdown(Shutdown::Write).unwrap();
    let mut device = Port::new(ours).unwrap();
    // The guest waits for input.
    assert_eq!(device.answer(RECEIVE), Answer::Later);
    let mut driver = Driver::with_queue(TRANSMIT, device);
    let sent = fill(&mut driver);
    let end = thread::spawn(move || drop(driver));
    let mut bytes = Vec::new();
    socket.read_to_end(&mut bytes).unwrap();
    assert!(is_all(&bytes, sent), "{} of {sent} requests", bytes.len());
    end.join().unwrap();
}

#[test]
fn after_the_end_what_is_sent_is_lost() {
    let (mut driver, socket) = port(TRANSMIT);
    drop(socket);
    for _ in 0..3 {
        driver.request(&[&[1; 4096]], &[]);
    }
    assert_eq!(driver.status(), 0xf);
    let (mut driver, socket) = port(RECEIVE);
    drop(socket);
    driver.chain(&[], &[10]);
    driver.submit();
    assert_eq!((driver.status(), driver.take()), (0xf, None));
}

#[test]
fn requests_that_make_no_sense_need_a_reset() {
    let (mut driver, mut socket) = port(RECEIVE);
    socket.write_all(b"x").unwrap();
    driver.chain(&[b"text"], &[]);
    driver.submit();
    assert_eq!((driver.status(), driver.take()), (0x4f, None));
    driver.set_up();
    assert_eq!(driver.request(&[], &[1]), b"x");

    // More than is held.
    let (mut driver, mut socket) = port(TRANSMIT);
    for index in 0..2 {
        let next = if index == 0 { NEXT } else { 0 };
        driver.descriptor(index, 0, 40 << 10, next, 1);
    }
    driver.submit();
    assert_eq!((driver.status(), driver.take()), (0x4f, None));
    assert!(socket.read(&mut [0; 9]).is_err());
}
