//! The device side against a small driver, and against drivers that break the rules.

mod blk;
mod console;
mod hostile;
mod net;
mod port;
mod registers;
mod slow;
mod threads;
mod vsock;

use std::{
    sync::{Arc, atomic::Ordering, mpsc::channel},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use virtio_bindings::{virtio_mmio::*, virtio_ring::VRING_DESC_F_INDIRECT};
use vm_memory::{Bytes, GuestAddress};

use super::{
    device::VirtioDevice,
    driver::{Bench, DESCRIPTORS, QUEUE_SIZE, USED},
    mmio::Quit,
    rng::Rng,
};

/// Flags of descriptors.
const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = VRING_DESC_F_INDIRECT as u16;

/// Where the buffers of requests are.
const BUFFERS: u64 = 0x4000;

/// How long a thread may take for anything.
pub(super) const LIMIT: Duration = Duration::from_secs(20);

/// Fails if `act` does not end at all.
pub(super) fn ends<R: Send + 'static>(act: impl FnOnce() -> R + Send + 'static) -> R {
    let (sender, receiver) = channel();
    thread::spawn(move || sender.send(act()));
    receiver.recv_timeout(LIMIT).expect("it does not end")
}

/// Waits until it is so.
fn wait_until(mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < LIMIT, "it does not happen");
        thread::yield_now();
    }
}

/// A device that runs, and its driver.
struct Driver {
    bench: Bench,
    /// How many answers were taken.
    taken: u16,
    quit: Arc<Quit>,
}

impl Driver {
    fn new(device: impl VirtioDevice + 'static) -> Self {
        Self::with_queue(0, device)
    }

    fn with_queue(queue: usize, device: impl VirtioDevice + 'static) -> Self {
        let mut bench = Bench::new(Box::new(device));
        bench.queue = queue as u32;
        bench.set_up();
        Self {
            bench,
            taken: 0,
            quit: Arc::new(Quit::new().unwrap()),
        }
    }

    /// Starts the device's thread, which `end` ends.
    fn start_thread(&self) -> JoinHandle<()> {
        let (device, quit) = (Arc::clone(&self.bench.device), Arc::clone(&self.quit));
        let events = device.events(&quit).unwrap();
        thread::spawn(move || device.work(&events, &quit))
    }

    fn end(&self, thread: JoinHandle<()>) {
        self.quit.ask();
        ends(move || thread.join().unwrap());
    }

    /// Resets the device and sets it up again.
    fn set_up(&mut self) {
        self.bench.set_up();
        self.taken = 0;
    }

    fn descriptor(&self, index: u16, address: u64, length: u32, flags: u16, next: u16) {
        self.descriptor_at(DESCRIPTORS, index, address, length, flags, next);
    }

    fn descriptor_at(
        &self,
        table: u64,
        index: u16,
        address: u64,
        length: u32,
        flags: u16,
        next: u16,
    ) {
        let mut bytes = Vec::from(address.to_le_bytes());
        bytes.extend(length.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
        bytes.extend(next.to_le_bytes());
        self.bench.set(table + 16 * u64::from(index), &bytes);
    }

    /// Writes a chain from descriptor 0 on: buffers that are read, then lengths of those that are
    /// written. All of them follow each other in the memory.
    fn chain(&self, readable: &[&[u8]], writable: &[usize]) {
        let count = readable.len() + writable.len();
        let (mut at, mut index) = (BUFFERS, 0);
        let mut add = |length: usize, flags: u16| {
            let next = if usize::from(index) + 1 < count {
                NEXT
            } else {
                0
            };
            self.descriptor(index, at, length as u32, flags | next, index + 1);
            index += 1;
            at += length as u64;
            at - length as u64
        };
        for bytes in readable {
            let place = add(bytes.len(), 0);
            self.bench.set(place, bytes);
        }
        for length in writable {
            add(*length, WRITE);
        }
    }

    /// Makes the chain from descriptor 0 available, and has the device look.
    fn submit(&mut self) {
        self.bench.make_available(0);
        self.notify();
    }

    fn notify(&self) {
        self.bench.write(VIRTIO_MMIO_QUEUE_NOTIFY, self.bench.queue);
        self.bench.device.serve(&self.quit);
    }

    /// Takes an answer: the chain's first descriptor, and how many bytes were written.
    fn take(&mut self) -> Option<(u32, u32)> {
        let memory = &self.bench.memory;
        let index: u16 = memory
            .load(GuestAddress(USED + 2), Ordering::SeqCst)
            .unwrap();
        if index == self.taken {
            return None;
        }
        let entry = GuestAddress(USED + 4 + 8 * u64::from(self.taken % QUEUE_SIZE));
        self.taken = self.taken.wrapping_add(1);
        let answer: u64 = memory.read_obj(entry).unwrap();
        Some((answer as u32, (answer >> 32) as u32))
    }

    /// Submits a request and returns what the device has written.
    fn request(&mut self, readable: &[&[u8]], writable: &[usize]) -> Vec<u8> {
        self.chain(readable, writable);
        self.submit();
        let (head, length) = self.take().expect("an answer");
        assert_eq!((head, self.take()), (0, None));
        let skipped: usize = readable.iter().map(|bytes| bytes.len()).sum();
        let mut bytes = vec![0; writable.iter().sum()];
        let place = GuestAddress(BUFFERS + skipped as u64);
        self.bench.memory.read_slice(&mut bytes, place).unwrap();
        assert!(length as usize <= bytes.len());
        bytes
    }

    fn status(&self) -> u32 {
        self.bench.read(VIRTIO_MMIO_STATUS)
    }

    /// Returns the reasons of the interrupts that came, and acknowledges them.
    fn interrupts(&self) -> u32 {
        let came = self.bench.line.read().is_ok();
        let reasons = self.bench.read(VIRTIO_MMIO_INTERRUPT_STATUS);
        assert_eq!(came, reasons != 0);
        self.bench.write(VIRTIO_MMIO_INTERRUPT_ACK, reasons);
        reasons
    }
}

#[test]
fn random_numbers_fill_every_buffer() {
    let mut driver = Driver::new(Rng);
    let bytes = driver.request(&[], &[1, 99, 400]);
    // Not one of them is likely to stay zero everywhere.
    assert!(
        bytes
            .chunks(100)
            .all(|chunk| chunk.iter().any(|byte| *byte != 0))
    );
    assert_eq!(driver.interrupts(), VIRTIO_MMIO_INT_VRING);
    assert_ne!(driver.request(&[], &[100]), driver.request(&[], &[100]));
}

#[test]
fn a_driver_that_wants_no_interrupt_gets_none() {
    let mut driver = Driver::new(Rng);
    driver
        .bench
        .set(super::driver::AVAILABLE, &1_u16.to_le_bytes());
    driver.request(&[], &[8]);
    assert_eq!(driver.interrupts(), 0);
}

#[test]
fn the_words_of_the_command_line_are_those_of_other_vmms() {
    let mut line = String::from("a b");
    super::append_words(&mut line, 2);
    let words = "virtio_mmio.device=512@0xd0000000:5 virtio_mmio.device=512@0xd0001000:6";
    assert_eq!(line, format!("a b {words}"));
    let mut line = String::new();
    super::append_words(&mut line, 2);
    assert_eq!(line, words);
    let mut line = String::from("a");
    super::append_words(&mut line, super::MAX_DEVICES);
    let longest = super::MAX_DEVICES * crate::vmm::device::WORD_LENGTH;
    assert!(line.len() <= 1 + longest, "{line}");
}
