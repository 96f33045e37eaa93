//! The console.

use super::*;
use crate::vmm::kvm::virtio::{
    ConsolePort,
    console::{Console, Port, RECEIVE, TRANSMIT},
};

fn console(queue: usize) -> (Driver, Arc<Port>) {
    let port = Arc::new(Port::default());
    let driver = Driver::with_queue(queue, Console::new(Arc::clone(&port)));
    (driver, port)
}

#[test]
fn what_is_sent_is_output() {
    let (mut driver, port) = console(TRANSMIT);
    driver.request(&[b"one ", b"", b"two"], &[]);
    driver.request(&[b", three"], &[]);
    assert_eq!(port.take_output(), b"one two, three");
    assert_eq!(port.take_output(), b"");
    assert_eq!(driver.interrupts(), VIRTIO_MMIO_INT_VRING);
}

#[test]
fn a_buffer_waits_for_input() {
    let (mut driver, port) = console(RECEIVE);
    driver.chain(&[], &[3, 5]);
    driver.submit();
    assert_eq!(driver.take(), None);
    assert_eq!(port.add_input(b"text"), 4);
    driver.notify();
    assert_eq!(driver.take(), Some((0, 4)));
    let mut bytes = [0; 4];
    let place = GuestAddress(BUFFERS);
    driver.bench.memory.read_slice(&mut bytes, place).unwrap();
    assert_eq!(&bytes, b"text");
}

#[test]
fn only_input_notifies() {
    let (driver, port) = console(RECEIVE);
    let device = Arc::clone(&driver.bench.device);
    let port = ConsolePort { port, device };
    let is_notified = || {
        let notified = driver.bench.device.notified();
        notified.filter(|(_, event)| event.read().is_ok()).count() > 0
    };
    // The start.
    assert!(is_notified());
    assert_eq!(port.receive(b""), 0);
    assert!(!is_notified());
    assert_eq!(port.receive(&[1; 5000]), 4096);
    assert!(is_notified());
    assert_eq!(port.receive(b"text"), 0);
    assert!(!is_notified());
}

#[test]
fn input_waits_for_a_buffer_and_is_bounded() {
    let (mut driver, port) = console(RECEIVE);
    assert_eq!(port.add_input(&[1; 4000]), 4000);
    assert_eq!(port.add_input(&[2; 4000]), 96);
    assert_eq!(port.add_input(&[3]), 0);
    driver.notify();
    assert_eq!(driver.request(&[], &[4000]), [1; 4000]);
    assert_eq!(port.add_input(&[4; 4]), 4);
    let bytes = driver.request(&[], &[97]);
    assert_eq!(bytes, [vec![2; 96], vec![4]].concat());
}

#[test]
fn requests_that_make_no_sense_need_a_reset() {
    let (mut driver, port) = console(RECEIVE);
    port.add_input(b"x");
    driver.chain(&[b"text"], &[]);
    driver.submit();
    assert_eq!((driver.status(), driver.take()), (0x4f, None));
    driver.set_up();
    assert_eq!(driver.request(&[], &[1]), b"x");

    // More than is held.
    let (mut driver, port) = console(TRANSMIT);
    for index in 0..2 {
        let next = if index == 0 { NEXT } else { 0 };
        driver.descriptor(index, 0, 40 << 10, next, 1);
    }
    driver.submit();
    assert_eq!((driver.status(), driver.take()), (0x4f, None));
    assert_eq!(port.take_output(), b"");
}
