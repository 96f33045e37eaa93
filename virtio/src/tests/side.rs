//! The device's side of the queues.

use std::{
    ptr::with_exposed_provenance_mut,
    sync::{
        Arc, MutexGuard,
        atomic::{AtomicU16, Ordering::SeqCst, fence},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    LIMIT,
    fake::{Addresses, Shared},
};

const NO_NOTIFY: u16 = 1;

/// A piece of a request: address and length.
pub(super) type Piece = (u64, u32);

/// A request as the device sees it.
pub(super) struct Chain {
    pub(super) readable: Vec<Piece>,
    pub(super) writable: Vec<Piece>,
}

impl Chain {
    /// What the driver wrote.
    pub(super) fn read(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (address, length) in &self.readable {
            for offset in 0..u64::from(*length) {
                // SAFETY: the driver's, which it does not change while the device has it.
                bytes.push(unsafe { at::<u8>(address + offset).read() });
            }
        }
        bytes
    }

    /// Writes `bytes`, as far as they fit, and returns how many did.
    pub(super) fn write(&self, bytes: impl IntoIterator<Item = u8>) -> u32 {
        let places = self.writable.iter();
        let places = places.flat_map(|(start, length)| *start..*start + u64::from(*length));
        let mut written = 0;
        for (place, byte) in places.zip(bytes) {
            // SAFETY: the driver's, which it does not access while the device has it.
            unsafe { at::<u8>(place).write(byte) };
            written += 1;
        }
        written
    }

    pub(super) fn writable_length(&self) -> u32 {
        self.writable.iter().map(|(_, length)| length).sum()
    }
}

fn at<V>(address: u64) -> *mut V {
    with_exposed_provenance_mut(address as usize)
}

/// An index or flags of a ring.
fn atomic<'a>(address: u64) -> &'a AtomicU16 {
    // SAFETY: in the ring, which lives until the device is reset; the driver also accesses it as an
    // atomic.
    unsafe { &*at::<AtomicU16>(address) }
}

/// Puts an element into the used ring, which is locked, and returns the index behind it.
fn put(ring: Addresses, index: u16, token: u32, length: u32) -> u16 {
    let element = ring.device + 4 + 8 * u64::from(index % ring.size);
    // SAFETY: in the ring; the driver reads it after the index.
    unsafe { at::<[u32; 2]>(element).write([token, length]) };
    let next = index.wrapping_add(1);
    atomic(ring.device + 2).store(next, SeqCst);
    next
}

/// The device's side of one queue.
pub(super) struct Side {
    pub(super) shared: Arc<Shared>,
    queue: usize,
    next_available: u16,
    next_used: u16,
}

impl Side {
    pub(super) fn new(shared: &Arc<Shared>, queue: usize) -> Self {
        Self {
            shared: shared.clone(),
            queue,
            next_available: 0,
            next_used: 0,
        }
    }

    fn lock(&self) -> Option<(MutexGuard<'_, [Addresses; 3]>, Addresses)> {
        let queues = self.shared.queues.lock().unwrap();
        let addresses = queues[self.queue];
        (addresses.size != 0).then_some((queues, addresses))
    }

    pub(super) fn has_request(&self) -> bool {
        self.lock().is_some_and(|(_lock, ring)| {
            atomic(ring.driver + 2).load(SeqCst) != self.next_available
        })
    }

    /// Takes the next request and serves it by `serve`, which returns the length to report. Not
    /// after a reset.
    pub(super) fn serve(&mut self, serve: impl FnOnce(&Chain) -> u32) -> bool {
        if !self.has_request() {
            return false;
        }
        let Some((lock, ring)) = self.lock() else {
            return false;
        };
        let slot = u64::from(self.next_available % ring.size);
        // SAFETY: the driver has written it before the index.
        let head = unsafe { at::<u16>(ring.driver + 4 + 2 * slot).read() };
        let mut chain = Chain {
            readable: Vec::new(),
            writable: Vec::new(),
        };
        let mut index = head;
        loop {
            let descriptor = ring.descriptors + 16 * u64::from(index);
            // SAFETY: the driver's, in use.
            let address = unsafe { at::<u64>(descriptor).read() };
            // SAFETY: the same.
            let [low, high, flags, next] = unsafe { at::<[u16; 4]>(descriptor + 8).read() };
            let piece = (address, u32::from(high) << 16 | u32::from(low));
            if flags & 2 != 0 {
                chain.writable.push(piece);
            } else {
                assert!(chain.writable.is_empty(), "readable pieces come first");
                chain.readable.push(piece);
            }
            if flags & 1 == 0 {
                break;
            }
            index = next;
        }
        let length = serve(&chain);
        let next = put(ring, self.next_used, u32::from(head), length);
        // Until here, so that a reset, and a driver after it, waits for the answer.
        drop(lock);
        self.next_available = self.next_available.wrapping_add(1);
        self.next_used = next;
        true
    }

    /// Puts a token into the used ring.
    pub(super) fn give_back(&mut self, token: u32, length: u32) -> bool {
        let Some((lock, ring)) = self.lock() else {
            return false;
        };
        let next = put(ring, self.next_used, token, length);
        drop(lock);
        self.next_used = next;
        true
    }

    /// Lets the used index run ahead.
    pub(super) fn run_ahead(&mut self, by: u16) {
        if let Some((_lock, ring)) = self.lock() {
            atomic(ring.device + 2).fetch_add(by, SeqCst);
        }
    }

    /// Whether the driver wants interrupts of this queue.
    #[cfg(any(feature = "net", feature = "vsock"))]
    pub(super) fn wants_interrupt(&self) -> bool {
        self.lock()
            .is_some_and(|(_lock, ring)| atomic(ring.driver).load(SeqCst) == 0)
    }

    fn suppress_kicks(&self, flags: u16) {
        if let Some((_lock, ring)) = self.lock() {
            atomic(ring.device).store(flags, SeqCst);
        }
    }

    /// Serves requests, asleep between kicks, until the device is reset after having been used.
    pub(super) fn run(mut self, mut serve: impl FnMut(&Chain) -> u32) {
        *self.shared.device.lock().unwrap() = Some(thread::current());
        let (mut was_used, mut last_kick) = (false, Instant::now());
        loop {
            if self.shared.kicked.swap(false, SeqCst) {
                (was_used, last_kick) = (true, Instant::now());
                loop {
                    self.suppress_kicks(NO_NOTIFY);
                    while self.serve(&mut serve) {
                        self.shared.raise(1);
                    }
                    self.suppress_kicks(0);
                    fence(SeqCst);
                    if !self.has_request() {
                        break;
                    }
                }
            }
            if was_used && self.shared.is_reset() {
                return;
            }
            assert!(last_kick.elapsed() < LIMIT, "the driver has gone");
            thread::park_timeout(Duration::from_millis(1));
        }
    }
}
