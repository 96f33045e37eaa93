//! The network, whose other side is a socket of the test.

use std::{
    io::{ErrorKind, Read, Write},
    os::unix::net::UnixStream,
};

use super::*;
use crate::vmm::kvm::virtio::net::{Net, RECEIVE, TRANSMIT};

const HEADER: usize = 12;
/// Where the configuration has the status.
const LINK: u32 = VIRTIO_MMIO_CONFIG + 6;

fn net(queue: usize) -> (Driver, UnixStream) {
    let (socket, other_end) = UnixStream::pair().unwrap();
    other_end.set_nonblocking(true).unwrap();
    let driver = Driver::with_queue(queue, Net::new(socket).unwrap());
    (driver, other_end)
}

fn framed(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes(), bytes].concat()
}

fn link(driver: &Driver) -> u16 {
    let mut bytes = [0; 2];
    driver.bench.device.read(LINK, &mut bytes);
    u16::from_le_bytes(bytes)
}

fn written(driver: &Driver, length: u32) -> Vec<u8> {
    let mut bytes = vec![0; length as usize];
    let place = GuestAddress(BUFFERS);
    driver.bench.memory.read_slice(&mut bytes, place).unwrap();
    bytes.split_off(HEADER)
}

#[test]
fn what_the_guest_sends_goes_out() {
    let (mut driver, mut socket) = net(TRANSMIT);
    let frame = [7; 60];
    driver.request(&[&[0; HEADER], &frame[..20], &frame[20..]], &[]);
    driver.request(&[&[0; HEADER + 14]], &[]);
    // Frames of lengths that no Ethernet has are lost.
    driver.request(&[&[0; HEADER + 13]], &[]);
    driver.request(&[&[0; HEADER + 1515]], &[]);
    driver.request(&[&[1; HEADER + 1514]], &[]);
    let mut bytes = Vec::new();
    let end = socket.read_to_end(&mut bytes).unwrap_err();
    assert_eq!(end.kind(), ErrorKind::WouldBlock);
    let expected = [framed(&frame), framed(&[0; 14]), framed(&[1; 1514])];
    assert_eq!(bytes, expected.concat());
    // Not even a header.
    driver.chain(&[&[0; HEADER - 1]], &[]);
    driver.submit();
    assert_eq!((driver.status(), driver.take()), (0x4f, None));
}

#[test]
fn what_comes_is_received() {
    let (mut driver, mut socket) = net(RECEIVE);
    driver.chain(&[], &[20, 1506]);
    driver.submit();
    assert_eq!(driver.take(), None);
    let frames = [vec![1; 60], vec![2; 1514], Vec::new()];
    for frame in &frames {
        socket.write_all(&framed(frame)).unwrap();
    }
    driver.notify();
    driver.chain(&[], &[20, 1506]);
    for frame in &frames {
        let (_, length) = driver.take().expect("one came");
        assert_eq!(written(&driver, length), *frame);
        driver.submit();
    }
    assert_eq!(driver.take(), None);
    // A buffer that is too small for what an Ethernet carries breaks the rules.
    driver.set_up();
    socket.write_all(&framed(&[3; 100])).unwrap();
    driver.chain(&[], &[HEADER + 99]);
    driver.submit();
    assert_eq!((driver.status(), driver.take()), (0x4f, None));
}

/// Piece by piece; frames that are too long for the guest are left out.
#[test]
fn frames_come_in_pieces() {
    let (mut driver, mut socket) = net(RECEIVE);
    driver.chain(&[], &[1526]);
    driver.submit();
    let long = framed(&vec![9; 14 + 65535]);
    let pieces = [&long[..], &framed(&[4; 33]), &framed(&[9; 1515])].concat();
    for piece in pieces.chunks(1000) {
        socket.write_all(piece).unwrap();
        driver.notify();
    }
    let (_, length) = driver.take().expect("one came");
    assert_eq!(written(&driver, length), [4; 33]);
    driver.submit();
    assert_eq!(driver.take(), None);
    for byte in framed(&[5; 5]) {
        assert_eq!(driver.take(), None);
        socket.write_all(&[byte]).unwrap();
        driver.notify();
    }
    let (_, length) = driver.take().expect("one came");
    assert_eq!(written(&driver, length), [5; 5]);
    assert_eq!(link(&driver), 1);
}

#[test]
fn the_link_is_down_after_the_other_side() {
    // It ends, in the middle of a frame, or says a length that cannot be.
    let ends: [fn(UnixStream); 3] = [
        drop,
        |mut socket| socket.write_all(&framed(&[1; 60])[..50]).unwrap(),
        |mut socket| {
            socket.write_all(&65550_u32.to_be_bytes()).unwrap();
            socket.set_nonblocking(false).unwrap();
            // Its own end is closed too.
            assert_eq!(socket.read(&mut [0]).unwrap(), 0);
        },
    ];
    for (number, end) in ends.into_iter().enumerate() {
        for queue in [RECEIVE, TRANSMIT] {
            if (number, queue) == (2, TRANSMIT) {
                // Nothing is read that there is no buffer for.
                continue;
            }
            let (mut driver, socket) = net(queue);
            assert_eq!((link(&driver), driver.interrupts()), (1, 0));
            // The start was a notification.
            driver.bench.device.serve(&driver.quit);
            let other = thread::spawn(move || end(socket));
            if number < 2 {
                // All of it comes at once.
                wait_until(|| other.is_finished());
            }
            let works = driver.start_thread();
            if queue == TRANSMIT {
                // Only what is sent tells.
                wait_until(|| {
                    driver.chain(&[&[0; HEADER + 60]], &[]);
                    driver.bench.make_available(0);
                    driver.bench.write(VIRTIO_MMIO_QUEUE_NOTIFY, queue as u32);
                    wait_until(|| driver.take().is_some());
                    link(&driver) == 0
                });
            } else {
                wait_until(|| link(&driver) == 0);
            }
            driver.end(works);
            let reasons = driver.interrupts();
            assert_ne!(reasons & VIRTIO_MMIO_INT_CONFIG, 0);
            assert_eq!(driver.status(), 0xf);
        }
    }
}

/// The other side reads nothing until it has written much, and the guest has no room for any of it.
#[test]
fn two_full_directions_do_not_wait_for_each_other() {
    const FRAMES: usize = 2000;
    let (mut driver, mut socket) = net(TRANSMIT);
    let works = driver.start_thread();
    let frame = framed(&[6; 1514]);
    let other = thread::spawn(move || {
        socket.set_nonblocking(false).unwrap();
        socket.set_write_timeout(Some(LIMIT)).unwrap();
        (0..FRAMES).for_each(|_| socket.write_all(&frame).expect("it is taken"));
        read_all(&mut socket, FRAMES, &frame);
    });
    driver.chain(&[&[0; HEADER], &[6; 1514]], &[]);
    for _ in 0..FRAMES {
        driver.bench.make_available(0);
        driver
            .bench
            .write(VIRTIO_MMIO_QUEUE_NOTIFY, driver.bench.queue);
        wait_until(|| driver.take().is_some());
    }
    ends(move || other.join().unwrap());
    driver.end(works);
}

/// The other side reads nothing until many frames wait.
#[test]
fn a_full_socket_holds_back() {
    let (mut driver, mut socket) = net(TRANSMIT);
    let frame = framed(&[6; 1514]);
    driver.chain(&[&[0; HEADER], &[6; 1514]], &[]);
    let mut sent = 0;
    loop {
        // Served at once, so what is not taken waits for room.
        driver.submit();
        if driver.take().is_none() {
            break;
        }
        sent += 1;
    }
    let works = driver.start_thread();
    socket.set_nonblocking(false).unwrap();
    read_all(&mut socket, sent + 1, &frame);
    wait_until(|| driver.take().is_some());
    driver.end(works);
}

/// Reads as many times `frame`.
fn read_all(socket: &mut UnixStream, count: usize, frame: &[u8]) {
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    let mut bytes = vec![0; frame.len()];
    for _ in 0..count {
        socket.read_exact(&mut bytes).expect("it is sent");
        assert!(bytes == frame);
    }
}
