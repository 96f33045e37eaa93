//! The start of a driver, for tests and for the fuzz target: one queue in a small memory.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use virtio_bindings::virtio_mmio::*;
use vm_memory::{Bytes, GuestAddress};
#[cfg(test)]
use vmm_sys_util::eventfd::EventFd;

use super::{device::VirtioDevice, mmio::MmioDevice};
use crate::vmm::kvm::{boot::Memory, event::new_event};

/// The guest's memory.
pub(super) const MEMORY: usize = 64 << 10;

pub(super) const QUEUE_SIZE: u16 = 16;

/// Where the queue's parts are.
pub(super) const DESCRIPTORS: u64 = 0x1000;
pub(super) const AVAILABLE: u64 = 0x2000;
pub(super) const USED: u64 = 0x3000;

/// Every bit of the status that a driver sets, in its steps.
pub(super) const STATUS_STEPS: [u32; 4] = [1, 3, 0xb, 0xf];

/// A device that is not set up yet, and what the guest shares with it.
pub(super) struct Bench {
    pub(super) device: Arc<MmioDevice>,
    pub(super) memory: Memory,
    /// Counts the interrupts.
    #[cfg(test)]
    pub(super) line: EventFd,
    /// Set when the run is over.
    #[cfg(test)]
    pub(super) leave: Arc<AtomicBool>,
    /// Which of the device's queues it is; the others are not used.
    pub(super) queue: u32,
    /// The index behind the last request in the available ring.
    available: u16,
}

impl Bench {
    pub(super) fn new(device: Box<dyn VirtioDevice>) -> Self {
        Self::with(|_| device)
    }

    /// With a device that knows the guest's memory.
    pub(super) fn with(device: impl FnOnce(&Memory) -> Box<dyn VirtioDevice>) -> Self {
        let memory = Memory::from_ranges(&[(GuestAddress(0), MEMORY)]).expect("64 KiB");
        let line = new_event().expect("an event");
        let other = line.try_clone().expect("an event");
        let leave = Arc::<AtomicBool>::default();
        let device = MmioDevice::new(device(&memory), memory.clone(), other, Arc::clone(&leave));
        Self {
            device: Arc::new(device.expect("an event")),
            memory,
            #[cfg(test)]
            line,
            #[cfg(test)]
            leave,
            queue: 0,
            available: 0,
        }
    }

    pub(super) fn write(&self, register: u32, value: u32) {
        self.device.write(register, &value.to_le_bytes());
    }

    pub(super) fn read(&self, register: u32) -> u32 {
        let mut bytes = [0; 4];
        self.device.read(register, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    /// Accepts all features, describes the queue, and lets the device run.
    pub(super) fn set_up(&mut self) {
        self.set_up_with(|_| {});
    }

    /// As [`set_up`](Self::set_up); `describe` describes other queues.
    pub(super) fn set_up_with(&mut self, describe: impl FnOnce(&Self)) {
        self.available = 0;
        self.write(VIRTIO_MMIO_STATUS, 0);
        // A driver clears its queue.
        self.set(DESCRIPTORS, &[0; (USED + 0x1000 - DESCRIPTORS) as usize]);
        for half in [0, 1] {
            self.write(VIRTIO_MMIO_DEVICE_FEATURES_SEL, half);
            let offered = self.read(VIRTIO_MMIO_DEVICE_FEATURES);
            self.write(VIRTIO_MMIO_DRIVER_FEATURES_SEL, half);
            self.write(VIRTIO_MMIO_DRIVER_FEATURES, offered);
        }
        let [_, driver, features, running] = STATUS_STEPS;
        self.write(VIRTIO_MMIO_STATUS, driver);
        self.write(VIRTIO_MMIO_STATUS, features);
        for (register, value) in [
            (VIRTIO_MMIO_QUEUE_SEL, self.queue),
            (VIRTIO_MMIO_QUEUE_NUM, QUEUE_SIZE.into()),
            (VIRTIO_MMIO_QUEUE_DESC_LOW, DESCRIPTORS as u32),
            (VIRTIO_MMIO_QUEUE_AVAIL_LOW, AVAILABLE as u32),
            (VIRTIO_MMIO_QUEUE_USED_LOW, USED as u32),
            (VIRTIO_MMIO_QUEUE_READY, 1),
        ] {
            self.write(register, value);
        }
        describe(self);
        self.write(VIRTIO_MMIO_STATUS, running);
    }

    /// Writes to the guest's memory; what lies outside it is lost.
    pub(super) fn set(&self, address: u64, bytes: &[u8]) {
        let _ = self.memory.write_slice(bytes, GuestAddress(address));
    }

    /// Makes the chain that begins at this descriptor available.
    pub(super) fn make_available(&mut self, head: u16) {
        let entry = u64::from(self.available % QUEUE_SIZE);
        self.set(AVAILABLE + 4 + 2 * entry, &head.to_le_bytes());
        self.available = self.available.wrapping_add(1);
        // The device may be looking at it.
        self.memory
            .store(
                self.available,
                GuestAddress(AVAILABLE + 2),
                Ordering::SeqCst,
            )
            .expect("the queue is in the memory");
    }
}
