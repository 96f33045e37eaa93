//! A device in this process: its registers and its interrupt.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
    thread::Thread,
};

use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::{Attached, Interrupt};

const VERSION_1: u64 = 1 << 32;

#[derive(Clone, Copy, Default)]
pub(super) struct Addresses {
    pub(super) size: u16,
    pub(super) descriptors: u64,
    pub(super) driver: u64,
    pub(super) device: u64,
}

/// What driver and device share.
pub(super) struct Shared {
    pub(super) device_type: DeviceType,
    pub(super) offered: AtomicU64,
    pub(super) accepted: AtomicU64,
    status: AtomicU32,
    /// The device holds it while it accesses memory, and a reset takes it.
    pub(super) queues: Mutex<[Addresses; 3]>,
    /// The line is high while it is not 0.
    isr: AtomicU32,
    /// Called once, between reading the status and acknowledging it.
    pub(super) while_acknowledging: Mutex<Option<fn(&Shared)>>,
    /// Acknowledging has no effect.
    pub(super) stays_raised: AtomicBool,
    pub(super) kicked: AtomicBool,
    pub(super) kicks: AtomicU32,
    pub(super) config: Mutex<Vec<u8>>,
    /// No queue becomes ready.
    pub(super) refuses_queues: AtomicBool,
    /// A reset has no effect.
    pub(super) ignores_reset: AtomicBool,
    signals: Mutex<(u32, Option<Waker>)>,
    /// Whom a notification unparks.
    pub(super) device: Mutex<Option<Thread>>,
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
            while_acknowledging: Mutex::default(),
            stays_raised: AtomicBool::new(false),
            kicked: AtomicBool::new(false),
            kicks: AtomicU32::new(0),
            config: Mutex::default(),
            refuses_queues: AtomicBool::new(false),
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

    /// No driver has asked for it.
    pub(super) fn resets_itself(&self) {
        *self.queues.lock().unwrap() = Default::default();
        self.status.store(0, SeqCst);
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
            if !self.0.stays_raised.load(SeqCst) {
                self.0.isr.store(0, SeqCst);
            }
        }
        self.0.status.store(status.bits(), SeqCst);
    }

    fn set_guest_page_size(&mut self, _: u32) {}

    fn requires_legacy_layout(&self) -> bool {
        false
    }

    fn queue_set(&mut self, queue: u16, size: u32, descriptors: u64, driver: u64, device: u64) {
        if self.0.refuses_queues.load(SeqCst) {
            return;
        }
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

    /// As `MmioTransport`: reads the status, then acknowledges what it has read.
    fn ack_interrupt(&mut self) -> InterruptStatus {
        let status = self.0.isr.load(SeqCst);
        if status == 0 {
            return InterruptStatus::empty();
        }
        let while_acknowledging = self.0.while_acknowledging.lock().unwrap().take();
        if let Some(act) = while_acknowledging {
            act(&self.0);
        }
        if !self.0.stays_raised.load(SeqCst) {
            self.0.isr.fetch_and(!status, SeqCst);
        }
        InterruptStatus::from_bits_retain(status)
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
