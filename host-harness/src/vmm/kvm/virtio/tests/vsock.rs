//! The socket device at its queues; programs of this host are threads of the test.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    thread,
    time::Duration,
};

use tempfile::TempDir;

use super::*;
use crate::vmm::kvm::virtio::vsock::{RECEIVE, TRANSMIT, Vsock, VsockListener};

const HEADER: usize = 44;

fn vsock(queue: usize) -> (Driver, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let listener = VsockListener::new(&folder.path().join("s")).unwrap();
    let device = Vsock::new(listener).unwrap();
    (Driver::with_queue(queue, device), folder)
}

fn program(folder: &TempDir, line: &str) -> UnixStream {
    let mut program = UnixStream::connect(folder.path().join("s")).unwrap();
    program.write_all(line.as_bytes()).unwrap();
    let limit = Some(Duration::from_secs(20));
    program.set_read_timeout(limit).unwrap();
    program
}

/// A packet from the guest to port 7 of this host.
fn packet(operation: u16, length: u32) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[0] = 3;
    bytes[8] = 2;
    bytes[16] = 99;
    bytes[20] = 7;
    bytes[24..28].copy_from_slice(&length.to_le_bytes());
    bytes[28] = 1;
    bytes[30..32].copy_from_slice(&operation.to_le_bytes());
    bytes
}

#[test]
fn the_guests_address_is_3() {
    let (driver, _folder) = vsock(RECEIVE);
    let mut bytes = [0; 9];
    driver.bench.device.read(VIRTIO_MMIO_CONFIG, &mut bytes);
    assert_eq!(bytes, [3, 0, 0, 0, 0, 0, 0, 0, 0]);
}

/// Header and data may lie in any buffers.
#[test]
fn the_guest_sends_to_a_program() {
    let (mut driver, folder) = vsock(TRANSMIT);
    let listener = std::os::unix::net::UnixListener::bind(folder.path().join("s_7")).unwrap();
    driver.request(&[&packet(1, 0)], &[]);
    let (mut program, _) = listener.accept().unwrap();
    // It has the device's answer only from the other queue, and is not open before.
    driver.request(&[&packet(4, 0)[..10], &packet(4, 0)[10..]], &[]);
    driver.request(&[&packet(3, 0)], &[]);
    let mut came = Vec::new();
    program.read_to_end(&mut came).unwrap();
    assert_eq!((came, driver.status()), (vec![], 0xf));
}

#[test]
fn packets_that_do_not_fit_their_buffers_need_a_reset() {
    for (readable, what) in [
        (vec![0; HEADER - 1], "half a header"),
        (vec![], "nothing"),
        (packet(5, 1).to_vec(), "data that are missing"),
        ([&packet(5, u32::MAX)[..], &[1; 100]].concat(), "much data"),
    ] {
        let (mut driver, folder) = vsock(TRANSMIT);
        let mut program = program(&folder, "");
        driver.chain(&[&readable], &[]);
        driver.submit();
        assert_eq!((driver.status(), driver.take()), (0x4f, None), "{what}");
        // The program is told.
        assert_eq!(program.read(&mut [0]).unwrap(), 0, "{what}");
        driver.set_up();
        driver.request(&[&packet(3, 0)], &[]);
    }
}

#[test]
fn a_packet_needs_a_buffer_with_room_for_data() {
    for length in [0, 1, HEADER - 1, HEADER] {
        let (mut driver, folder) = vsock(RECEIVE);
        let mut program = program(&folder, "CONNECT 5\n");
        driver.chain(&[], &[length]);
        driver.submit();
        driver.notify();
        assert_eq!((driver.status(), driver.take()), (0x4f, None), "{length}");
        // The connection has ended.
        assert_eq!(program.read(&mut [0]).unwrap(), 0, "{length}");
        driver.set_up();
        assert_eq!(driver.status(), 0xf);
    }
}

/// The device's thread sees what a program does; nothing is notified meanwhile.
#[test]
fn a_program_wakes_the_device() {
    let (mut driver, folder) = vsock(RECEIVE);
    let (device, quit) = (Arc::clone(&driver.bench.device), Arc::clone(&driver.quit));
    let events = device.events(&quit).unwrap();
    let works = thread::spawn(move || device.work(&events, &quit));
    driver.chain(&[], &[20, 100]);
    driver.bench.make_available(0);
    driver.bench.write(VIRTIO_MMIO_QUEUE_NOTIFY, RECEIVE as u32);
    let mut program = program(&folder, "CONN");
    for piece in ["ECT", " 5", "\n"] {
        thread::sleep(Duration::from_millis(20));
        assert_eq!(driver.take(), None);
        program.write_all(piece.as_bytes()).unwrap();
    }
    let mut taken = None;
    wait_until(|| {
        taken = driver.take();
        taken.is_some()
    });
    assert_eq!(taken, Some((0, HEADER as u32)));
    let mut bytes = [0; HEADER];
    let place = GuestAddress(BUFFERS);
    driver.bench.memory.read_slice(&mut bytes, place).unwrap();
    // A request, to port 5 of the guest.
    assert_eq!((bytes[30], bytes[20]), (1, 5));
    driver.quit.ask();
    works.join().unwrap();
    drop(driver);
    assert!(!folder.path().join("s").exists());
}

/// Where the receive queue's answers are, and its buffers.
const ANSWERED: u64 = 0xa000;
const ANSWERS: u64 = 0xb000;

/// A driver of the transmit queue, beside a receive queue with all of its buffers.
fn with_both_queues(folder: &TempDir) -> Driver {
    const TABLE: u64 = 0x8000;
    const RING: u64 = 0x9000;
    let listener = VsockListener::new(&folder.path().join("s")).unwrap();
    let device = Vsock::new(listener).unwrap();
    let bench = Bench::new(Box::new(device));
    let taken = 0;
    let quit = Arc::new(Quit::new().unwrap());
    let mut driver = Driver { bench, taken, quit };
    driver.bench.queue = TRANSMIT as u32;
    driver.bench.set_up_with(|bench| {
        for (register, value) in [
            (VIRTIO_MMIO_QUEUE_SEL, RECEIVE as u32),
            (VIRTIO_MMIO_QUEUE_NUM, QUEUE_SIZE.into()),
            (VIRTIO_MMIO_QUEUE_DESC_LOW, TABLE as u32),
            (VIRTIO_MMIO_QUEUE_AVAIL_LOW, RING as u32),
            (VIRTIO_MMIO_QUEUE_USED_LOW, ANSWERED as u32),
            (VIRTIO_MMIO_QUEUE_READY, 1),
        ] {
            bench.write(register, value);
        }
    });
    for index in 0..QUEUE_SIZE {
        let address = ANSWERS + 256 * u64::from(index);
        driver.descriptor_at(TABLE, index, address, 256, WRITE, 0);
        driver
            .bench
            .set(RING + 4 + 2 * u64::from(index), &index.to_le_bytes());
    }
    driver.bench.set(RING + 2, &QUEUE_SIZE.to_le_bytes());
    driver
}

/// How many of the receive queue's buffers were used.
fn answered(driver: &Driver) -> u16 {
    let place = GuestAddress(ANSWERED + 2);
    driver.bench.memory.load(place, Ordering::SeqCst).unwrap()
}

/// A driver that ends takes nothing from a program that reads late, while the run goes on.
#[test]
fn what_was_sent_before_a_reset_is_read() {
    const LENGTH: usize = 4096;
    let folder = tempfile::tempdir().unwrap();
    let listener = std::os::unix::net::UnixListener::bind(folder.path().join("s_7")).unwrap();
    let mut driver = with_both_queues(&folder);
    driver.request(&[&packet(1, 0)], &[]);
    let (mut program, _) = listener.accept().unwrap();
    program.set_read_timeout(Some(LIMIT)).unwrap();
    // The device's answer.
    driver.notify();
    assert_eq!(answered(&driver), 1);
    // Until the room of the connection is used, once the socket is full.
    let (mut sent, mut told) = (0, 0);
    while sent - told < 64 << 10 {
        driver.request(&[&packet(5, LENGTH as u32), &[1; LENGTH]], &[]);
        sent += LENGTH;
        driver.notify();
        let mut header = [0; HEADER];
        let last = GuestAddress(ANSWERS + 256 * u64::from(answered(&driver) - 1));
        driver.bench.memory.read_slice(&mut header, last).unwrap();
        told = u32::from_le_bytes(header[40..].try_into().unwrap()) as usize;
    }
    driver.bench.write(VIRTIO_MMIO_STATUS, 0);
    let thread = driver.start_thread();
    let mut came = Vec::new();
    program.read_to_end(&mut came).unwrap();
    assert!(came == vec![1; sent], "{} of {sent}", came.len());
    driver.end(thread);
}

/// What the guest sends is answered by the queue that has found nothing to send before, and which
/// nobody notifies.
#[test]
fn a_packet_is_answered_by_the_other_queue() {
    let folder = tempfile::tempdir().unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(folder.path().join("s_7")).unwrap();
    let mut driver = with_both_queues(&folder);
    let (device, quit) = (Arc::clone(&driver.bench.device), Arc::clone(&driver.quit));
    let events = device.events(&quit).unwrap();
    let works = thread::spawn(move || device.work(&events, &quit));
    // Each of a port of its own.
    for number in 0..QUEUE_SIZE {
        let mut request = packet(1, 0);
        request[16] = number as u8;
        driver.chain(&[&request], &[]);
        driver.bench.make_available(0);
        driver
            .bench
            .write(VIRTIO_MMIO_QUEUE_NOTIFY, TRANSMIT as u32);
        wait_until(|| answered(&driver) == number + 1);
        let mut answer = [0; HEADER];
        let place = GuestAddress(ANSWERS + 256 * u64::from(number));
        driver.bench.memory.read_slice(&mut answer, place).unwrap();
        assert_eq!((answer[30], answer[20]), (2, number as u8));
    }
    driver.quit.ask();
    works.join().unwrap();
}
