//! A virtio-mmio transport (virtio 1.2, 4.2.2; version 2): registers, and the queues that they
//! describe. It neither waits nor knows threads. (The registers of the interrupt are not here.)
//!
//! A driver sets the device up in steps: it acknowledges the device, accepts features, describes
//! the queues, and lets it run. Each step is refused out of its order. A driver that breaks the
//! rules finds `DEVICE_NEEDS_RESET` in the status, and the device does nothing until it is reset.

use std::{
    os::fd::{AsRawFd, RawFd},
    sync::Arc,
};

use virtio_bindings::{
    virtio_config::{
        VIRTIO_CONFIG_S_ACKNOWLEDGE, VIRTIO_CONFIG_S_DRIVER, VIRTIO_CONFIG_S_DRIVER_OK,
        VIRTIO_CONFIG_S_FAILED, VIRTIO_CONFIG_S_FEATURES_OK, VIRTIO_CONFIG_S_NEEDS_RESET,
        VIRTIO_F_VERSION_1,
    },
    virtio_mmio::*,
    virtio_ring::VRING_AVAIL_F_NO_INTERRUPT,
};
use virtio_queue::{DescriptorChain, Queue, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress};

use super::{
    device::{Answer, VirtioDevice},
    interrupt::Interrupt,
    request::{BrokenRequest, Request},
};
use crate::vmm::kvm::boot::Memory;

/// The bytes "virt".
pub(super) const MAGIC: u32 = 0x7472_6976;
const VERSION: u32 = 2;
/// The bytes "dorm".
const VENDOR: u32 = 0x6d72_6f64;

/// The bits of the status that a driver sets.
const DRIVER_BITS: u32 = VIRTIO_CONFIG_S_ACKNOWLEDGE
    | VIRTIO_CONFIG_S_DRIVER
    | VIRTIO_CONFIG_S_DRIVER_OK
    | VIRTIO_CONFIG_S_FEATURES_OK
    | VIRTIO_CONFIG_S_FAILED;

/// The bits with which a running device has stopped.
const STOPPED_BITS: u32 = VIRTIO_CONFIG_S_FAILED | VIRTIO_CONFIG_S_NEEDS_RESET;

pub(super) struct Transport {
    device: Box<dyn VirtioDevice>,
    memory: Memory,
    interrupt: Arc<Interrupt>,
    queues: Vec<Queue>,
    status: u32,
    /// Which half of the features the registers show.
    device_features_half: u32,
    driver_features_half: u32,
    driver_features: u64,
    selected_queue: u32,
}

impl Transport {
    pub(super) fn new(
        device: Box<dyn VirtioDevice>,
        memory: Memory,
        interrupt: Arc<Interrupt>,
    ) -> Self {
        let sizes = device.queue_sizes().iter();
        let queues = sizes.map(|size| Queue::new(*size).expect("sizes are powers of two"));
        Self {
            queues: queues.collect(),
            device,
            memory,
            interrupt,
            status: 0,
            device_features_half: 0,
            driver_features_half: 0,
            driver_features: 0,
            selected_queue: 0,
        }
    }

    /// How many queues the device has.
    pub(super) fn queue_count(&self) -> usize {
        self.queues.len()
    }

    /// See [`VirtioDevice::source`].
    pub(super) fn source(&self) -> Option<RawFd> {
        self.device.source().map(|source| source.as_raw_fd())
    }

    /// See [`VirtioDevice::take_news`].
    pub(super) fn take_news(&mut self) -> bool {
        self.device.take_news()
    }

    /// Reads a register.
    pub(super) fn read(&self, register: u32) -> u32 {
        match register {
            VIRTIO_MMIO_MAGIC_VALUE => MAGIC,
            VIRTIO_MMIO_VERSION => VERSION,
            VIRTIO_MMIO_DEVICE_ID => self.device.id(),
            VIRTIO_MMIO_VENDOR_ID => VENDOR,
            VIRTIO_MMIO_DEVICE_FEATURES => half(self.offered(), self.device_features_half),
            VIRTIO_MMIO_QUEUE_NUM_MAX => self.selected().map_or(0, |queue| queue.max_size().into()),
            VIRTIO_MMIO_QUEUE_READY => self.selected().is_some_and(Queue::ready).into(),
            VIRTIO_MMIO_STATUS => self.status,
            // There is no shared memory, and a region that does not exist has this length.
            VIRTIO_MMIO_SHM_LEN_LOW
            | VIRTIO_MMIO_SHM_LEN_HIGH
            | VIRTIO_MMIO_SHM_BASE_LOW
            | VIRTIO_MMIO_SHM_BASE_HIGH => u32::MAX,
            // The generation of the configuration, of which one field at most changes; what can only
            // be written; what does not exist.
            _ => 0,
        }
    }

    /// Reads the device's configuration. What lies behind it reads as zeros.
    pub(super) fn read_config(&self, offset: usize, data: &mut [u8]) {
        let config = self.device.config().get(offset..).unwrap_or_default();
        data.fill(0);
        for (to, from) in data.iter_mut().zip(config) {
            *to = *from;
        }
    }

    /// Writes a register. A write to one that cannot be written, or not now, changes nothing.
    pub(super) fn write(&mut self, register: u32, value: u32) {
        match register {
            VIRTIO_MMIO_DEVICE_FEATURES_SEL => self.device_features_half = value,
            VIRTIO_MMIO_DRIVER_FEATURES_SEL => self.driver_features_half = value,
            VIRTIO_MMIO_DRIVER_FEATURES => self.accept_features(value),
            VIRTIO_MMIO_QUEUE_SEL => self.selected_queue = value,
            VIRTIO_MMIO_QUEUE_READY => self.set_queue_ready(value != 0),
            VIRTIO_MMIO_STATUS => self.set_status(value),
            _ => self.describe_queue(register, value),
        }
    }

    fn offered(&self) -> u64 {
        self.device.features() | 1 << VIRTIO_F_VERSION_1
    }

    fn accept_features(&mut self, value: u32) {
        if self.has(VIRTIO_CONFIG_S_FEATURES_OK) {
            return;
        }
        let shift = match self.driver_features_half {
            0 => 0,
            1 => 32,
            _ => return,
        };
        self.driver_features &= !(u64::from(u32::MAX) << shift);
        self.driver_features |= u64::from(value) << shift;
    }

    fn has(&self, bits: u32) -> bool {
        self.status & bits == bits
    }

    fn is_running(&self) -> bool {
        self.has(VIRTIO_CONFIG_S_DRIVER_OK) && self.status & STOPPED_BITS == 0
    }

    fn set_status(&mut self, value: u32) {
        if value == 0 {
            return self.reset();
        }
        // A driver only ever adds bits.
        let before = self.status;
        self.status |= value & DRIVER_BITS;
        let understood = self.driver_features & !self.offered() == 0
            && self.driver_features & (1 << VIRTIO_F_VERSION_1) != 0;
        if !self.has(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER) || !understood {
            // The driver reads the status again, and sees that it is refused.
            self.status &= !VIRTIO_CONFIG_S_FEATURES_OK | before;
        }
        if !self.has(VIRTIO_CONFIG_S_FEATURES_OK) {
            self.status &= !VIRTIO_CONFIG_S_DRIVER_OK;
        }
    }

    fn reset(&mut self) {
        self.queues.iter_mut().for_each(Queue::reset);
        self.device.reset();
        self.status = 0;
        self.device_features_half = 0;
        self.driver_features_half = 0;
        self.driver_features = 0;
        self.selected_queue = 0;
        self.interrupt.acknowledge(u32::MAX);
    }

    fn selected(&self) -> Option<&Queue> {
        self.queues.get(usize::try_from(self.selected_queue).ok()?)
    }

    /// The selected queue, if it may be described now.
    fn describable(&mut self) -> Option<&mut Queue> {
        if !self.has(VIRTIO_CONFIG_S_FEATURES_OK) || self.has(VIRTIO_CONFIG_S_DRIVER_OK) {
            return None;
        }
        let queue = self
            .queues
            .get_mut(usize::try_from(self.selected_queue).ok()?)?;
        Some(queue).filter(|queue| !queue.ready())
    }

    fn describe_queue(&mut self, register: u32, value: u32) {
        let Some(queue) = self.describable() else {
            return;
        };
        match register {
            VIRTIO_MMIO_QUEUE_NUM => {
                let size = u16::try_from(value).ok();
                if size.is_none_or(|size| queue.try_set_size(size).is_err()) {
                    self.ask_for_reset();
                }
            }
            VIRTIO_MMIO_QUEUE_DESC_LOW => queue.set_desc_table_address(Some(value), None),
            VIRTIO_MMIO_QUEUE_DESC_HIGH => queue.set_desc_table_address(None, Some(value)),
            VIRTIO_MMIO_QUEUE_AVAIL_LOW => queue.set_avail_ring_address(Some(value), None),
            VIRTIO_MMIO_QUEUE_AVAIL_HIGH => queue.set_avail_ring_address(None, Some(value)),
            VIRTIO_MMIO_QUEUE_USED_LOW => queue.set_used_ring_address(Some(value), None),
            VIRTIO_MMIO_QUEUE_USED_HIGH => queue.set_used_ring_address(None, Some(value)),
            _ => {}
        }
    }

    fn set_queue_ready(&mut self, ready: bool) {
        if !ready {
            // At any time: the device does not touch the queue from here on.
            let index = usize::try_from(self.selected_queue);
            if let Some(queue) = index.ok().and_then(|index| self.queues.get_mut(index)) {
                queue.reset();
            }
            return;
        }
        let memory = self.memory.clone();
        if let Some(queue) = self.describable() {
            queue.set_ready(true);
            // The driver reads the register again, and sees that it is refused.
            queue.set_ready(queue.is_valid(&memory));
        }
    }

    /// Stops the device until it is reset.
    fn ask_for_reset(&mut self) {
        self.status |= VIRTIO_CONFIG_S_NEEDS_RESET;
        self.device.reset();
        if self.has(VIRTIO_CONFIG_S_DRIVER_OK) {
            self.interrupt.raise(VIRTIO_MMIO_INT_CONFIG);
        }
    }

    /// Serves the next request of a queue. Returns whether there may be another one; if not, the
    /// driver will notify the device of the next.
    pub(super) fn serve_next(&mut self, index: usize) -> bool {
        if !self.is_running() {
            self.device.rest();
            return false;
        }
        match self.serve_request(index) {
            Ok(served) => served,
            Err(BrokenRequest) => {
                self.ask_for_reset();
                false
            }
        }
    }

    fn serve_request(&mut self, index: usize) -> Result<bool, BrokenRequest> {
        let Self {
            device,
            memory,
            queues,
            interrupt,
            ..
        } = self;
        let Some(queue) = queues.get_mut(index).filter(|queue| queue.ready()) else {
            return Ok(false);
        };
        let answer = device.answer(index);
        if device.take_config_change() {
            interrupt.raise(VIRTIO_MMIO_INT_CONFIG);
        }
        match answer {
            Answer::Now => {}
            Answer::Later => return Ok(false),
            Answer::LookAgain => return Ok(true),
        }
        let Some(chain) = next_chain(queue, memory)? else {
            return Ok(false);
        };
        let head = chain.head_index();
        let written = device.serve(index, Request::new(memory, chain)?)?;
        let broken = |_| BrokenRequest;
        queue.add_used(memory, head, written).map_err(broken)?;
        // Orders the flag after the used ring.
        if queue.needs_notification(memory).map_err(broken)? && !is_quiet(queue, memory)? {
            interrupt.raise(VIRTIO_MMIO_INT_VRING);
        }
        Ok(true)
    }
}

/// Takes the next chain off the queue.
fn next_chain<'a>(
    queue: &mut Queue,
    memory: &'a Memory,
) -> Result<Option<DescriptorChain<&'a Memory>>, BrokenRequest> {
    let broken = |_| BrokenRequest;
    if let Some(chain) = queue.iter(memory).map_err(broken)?.next() {
        queue.disable_notification(memory).map_err(broken)?;
        return Ok(Some(chain));
    }
    // The driver may have added one meanwhile, and was not asked to notify.
    if !queue.enable_notification(memory).map_err(broken)? {
        return Ok(None);
    }
    match queue.iter(memory).map_err(broken)?.next() {
        None => Err(BrokenRequest),
        chain => Ok(chain),
    }
}

/// Returns whether the driver wants no interrupt now.
fn is_quiet(queue: &Queue, memory: &Memory) -> Result<bool, BrokenRequest> {
    let flags: u16 = memory
        .read_obj(GuestAddress(queue.avail_ring()))
        .map_err(|_| BrokenRequest)?;
    Ok(u32::from(u16::from_le(flags)) & VRING_AVAIL_F_NO_INTERRUPT != 0)
}

/// Returns the lower or the upper half; there are no others.
fn half(features: u64, which: u32) -> u32 {
    match which {
        0 => features as u32,
        1 => (features >> 32) as u32,
        _ => 0,
    }
}
