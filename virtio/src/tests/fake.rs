//! A device in this process: its registers, its interrupt, and its side of the queues.

use std::{
    ptr::with_exposed_provenance_mut,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU16, AtomicU32, AtomicU64, Ordering::SeqCst, fence},
    },
    task::{Context, Poll, Waker},
    thread::{self, Thread},
};

use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::{Attached, Interrupt};

const VERSION_1: u64 = 1 << 32;
const NO_NOTIFY: u16 = 1;

#[derive(Clone, Copy, Default)]
struct Addresses {
    size: u16,
    descriptors: u64,
    driver: u64,
    device: u64,
}

/// What driver and device share.
pub(super) struct Shared {
    pub(super) device_type: DeviceType,
    pub(super) offered: AtomicU64,
    pub(super) accepted: AtomicU64,
    status: AtomicU32,
    /// The device holds it while it accesses memory, and a reset takes it.
    queues: Mutex<[Addresses; 2]>,
    isr: AtomicU32,
    kicked: AtomicBool,
    pub(super) kicks: AtomicU32,
    pub(super) config: Mutex<Vec<u8>>,
    /// A reset has no effect.
    pub(super) ignores_reset: AtomicBool,
    signals: Mutex<(u32, Option<Waker>)>,
    device: Mutex<Option<Thread>>,
    /// Called when the driver asks for interrupts, before and after.
    pub(super) hook: Mutex<Option<fn()>>,
}

impl Shared {
    pub(super) fn new(device_type: DeviceType) -> Arc<Self> {
        Arc::new(Self {
            device_type,
            offered: AtomicU64::new(VERSION_1 | 1 << 28 | 1 << 29),
            accepted: AtomicU64::new(0),
            status: AtomicU32::new(0),
            queues: Mutex::default(),
            isr: AtomicU32::new(0),
            kicked: AtomicBool::new(false),
            kicks: AtomicU32::new(0),
            config: Mutex::default(),
            ignores_reset: AtomicBool::new(false),
            signals: Mutex::default(),
            device: Mutex::default(),
            hook: Mutex::default(),
        })
    }

    pub(super) fn attach(self: &Arc<Self>) -> Attached<FakeTransport, FakeInterrupt> {
        let (transport, interrupt) = (FakeTransport(self.clone()), FakeInterrupt(self.clone()));
        // SAFETY: the device side uses the addresses as this process does, and stops at a reset.
        unsafe { Attached::new(transport, interrupt) }
    }

    fn hook(&self) {
        let hook = *self.hook.lock().unwrap();
        if let Some(hook) = hook {
            hook();
        }
    }

    /// Raises the line: only an edge signals.
    pub(super) fn raise(&self, reason: u32) {
        if self.isr.fetch_or(reason, SeqCst) != 0 {
            return;
        }
        let waker = {
            let mut signals = self.signals.lock().unwrap();
            signals.0 += 1;
            signals.1.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(super) fn needs_reset(&self) {
        self.status.fetch_or(64, SeqCst);
        self.raise(2);
    }

    pub(super) fn is_reset(&self) -> bool {
        self.status.load(SeqCst) == 0
    }
}

pub(super) struct FakeInterrupt(Arc<Shared>);

impl Interrupt for FakeInterrupt {
    fn poll_wait(&self, cx: &mut Context<'_>) -> Poll<u32> {
        self.0.hook();
        let waker = cx.waker().clone();
        let (poll, unused) = {
            let mut signals = self.0.signals.lock().unwrap();
            match std::mem::take(&mut signals.0) {
                0 => (Poll::Pending, signals.1.replace(waker)),
                count => (Poll::Ready(count), Some(waker)),
            }
        };
        drop(unused);
        self.0.hook();
        poll
    }
}

pub(super) struct FakeTransport(Arc<Shared>);

impl Transport for FakeTransport {
    fn device_type(&self) -> DeviceType {
        self.0.device_type
    }

    fn read_device_features(&mut self) -> u64 {
        self.0.offered.load(SeqCst)
    }

    fn write_driver_features(&mut self, features: u64) {
        self.0.accepted.store(features, SeqCst);
    }

    fn max_queue_size(&mut self, _: u16) -> u32 {
        256
    }

    fn notify(&mut self, _: u16) {
        self.0.kicks.fetch_add(1, SeqCst);
        self.0.kicked.store(true, SeqCst);
        if let Some(device) = &*self.0.device.lock().unwrap() {
            device.unpark();
        }
    }

    fn get_status(&self) -> DeviceStatus {
        DeviceStatus::from_bits_retain(self.0.status.load(SeqCst))
    }

    fn set_status(&mut self, status: DeviceStatus) {
        if status.is_empty() && self.0.ignores_reset.load(SeqCst) {
            return;
        }
        let mut queues = self.0.queues.lock().unwrap();
        if status.is_empty() {
            *queues = Default::default();
        }
        self.0.status.store(status.bits(), SeqCst);
    }

    fn set_guest_page_size(&mut self, _: u32) {}

    fn requires_legacy_layout(&self) -> bool {
        false
    }

    fn queue_set(&mut self, queue: u16, size: u32, descriptors: u64, driver: u64, device: u64) {
        self.0.queues.lock().unwrap()[usize::from(queue)] = Addresses {
            size: size as u16,
            descriptors,
            driver,
            device,
        };
    }

    fn queue_unset(&mut self, _: u16) {}

    fn queue_used(&mut self, queue: u16) -> bool {
        self.0.queues.lock().unwrap()[usize::from(queue)].size != 0
    }

    fn ack_interrupt(&mut self) -> InterruptStatus {
        InterruptStatus::from_bits_retain(self.0.isr.swap(0, SeqCst))
    }

    fn read_config_generation(&self) -> u32 {
        0
    }

    fn read_config_space<V: FromBytes + IntoBytes>(
        &self,
        offset: usize,
    ) -> virtio_drivers::Result<V> {
        let config = self.0.config.lock().unwrap();
        let bytes = config.get(offset..offset + size_of::<V>());
        let bytes = bytes.ok_or(virtio_drivers::Error::ConfigSpaceTooSmall)?;
        Ok(V::read_from_bytes(bytes).expect("as many as there are"))
    }

    fn write_config_space<V: IntoBytes + Immutable>(
        &mut self,
        _: usize,
        _: V,
    ) -> virtio_drivers::Result<()> {
        Err(virtio_drivers::Error::Unsupported)
    }
}

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

    fn lock(&self) -> Option<(MutexGuard<'_, [Addresses; 2]>, Addresses)> {
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
        drop(lock);
        self.next_available = self.next_available.wrapping_add(1);
        self.give_back(u32::from(head), length)
    }

    /// Puts a token into the used ring.
    pub(super) fn give_back(&mut self, token: u32, length: u32) -> bool {
        let Some((lock, ring)) = self.lock() else {
            return false;
        };
        let element = ring.device + 4 + 8 * u64::from(self.next_used % ring.size);
        // SAFETY: in the ring; the driver reads it after the index.
        unsafe { at::<[u32; 2]>(element).write([token, length]) };
        let next = self.next_used.wrapping_add(1);
        atomic(ring.device + 2).store(next, SeqCst);
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

    fn suppress_kicks(&self, flags: u16) {
        if let Some((_lock, ring)) = self.lock() {
            atomic(ring.device).store(flags, SeqCst);
        }
    }

    /// Serves requests, asleep between kicks, until the device is reset after having been used.
    pub(super) fn run(mut self, mut serve: impl FnMut(&Chain) -> u32) {
        *self.shared.device.lock().unwrap() = Some(thread::current());
        let mut was_used = false;
        loop {
            if self.shared.kicked.swap(false, SeqCst) {
                was_used = true;
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
            thread::park_timeout(std::time::Duration::from_millis(1));
        }
    }
}
