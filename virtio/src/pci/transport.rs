//! [`Transport`]: a PCI device's registers.

use alloc::{sync::Arc, vec::Vec};
use core::{
    fmt,
    mem::ManuallyDrop,
    ptr::NonNull,
    sync::atomic::{AtomicBool, Ordering},
};

use virtio_drivers::{
    PhysAddr,
    transport::{
        self, DeviceStatus, DeviceType, InterruptStatus,
        pci::{PciTransport, bus::ConfigurationAccess},
    },
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{
    configuration::{Bars, COMMON_LENGTH, Function, Layout},
    messages::{FOR_CONFIGURATION, FOR_QUEUES},
};
use crate::hal::OneToOne;

// Offsets in `virtio_pci_common_cfg` (virtio 1.2, 4.1.4.3), each of 16 bits.
const CONFIGURATION_VECTOR: usize = 16;
const QUEUES: usize = 18;
const QUEUE_SELECT: usize = 22;
const QUEUE_VECTOR: usize = 26;
const QUEUE_NOTIFY_OFFSET: usize = 30;

/// No driver here has more queues.
const MOST_QUEUES: u16 = 64;

/// A PCI device's registers: those of `virtio-drivers`' `PciTransport`, which knows no messages,
/// and asks the device at each notification where to write it.
pub struct Transport {
    /// Its drop would wait for a device that does not reset, without an end. The drivers reset the
    /// device themselves.
    inner: ManuallyDrop<PciTransport>,
    common: Common,
    /// Where each queue's notifications are written.
    notifications: Vec<NonNull<u16>>,
    /// The device has taken the message for changes of its configuration.
    tells_changes: bool,
    /// See [`Messages`](super::Messages).
    changed: Arc<AtomicBool>,
}

// SAFETY: a device's registers are accessed by any vCPU alike.
unsafe impl Send for Transport {}

/// `virtio_pci_common_cfg`.
#[derive(Clone, Copy)]
struct Common(NonNull<u8>);

impl Common {
    fn field(self, offset: usize) -> NonNull<u16> {
        debug_assert!(offset.is_multiple_of(2) && offset + 2 <= COMMON_LENGTH as usize);
        // SAFETY: all of it is mapped.
        unsafe { self.0.add(offset) }.cast()
    }

    fn read(self, offset: usize) -> u16 {
        // SAFETY: mapped and aligned; reading these registers has no effect.
        unsafe { self.field(offset).read_volatile() }
    }

    fn write(self, offset: usize, value: u16) {
        // SAFETY: mapped and aligned; the transport belongs to the device's driver.
        unsafe { self.field(offset).write_volatile(value) };
    }
}

impl Transport {
    /// `None`: the registers do not lie in the device's memory.
    ///
    /// # Safety
    ///
    /// All BARs of the layout are mapped at their physical addresses, and stay so; nothing else
    /// accesses the device.
    pub(super) unsafe fn new<C: ConfigurationAccess + Copy>(
        mut device: Function<C>,
        layout: &Layout,
        bars: &Bars,
        changed: Arc<AtomicBool>,
    ) -> Option<Self> {
        let common = layout.common.range(bars, COMMON_LENGTH)?;
        let notify = layout.notify.range(bars, 2)?;
        if !common.start.is_multiple_of(8) || !notify.start.is_multiple_of(2) {
            return None;
        }
        let inner = PciTransport::new::<OneToOne, _>(&mut device.root, device.function);
        let inner = ManuallyDrop::new(inner.ok()?);
        let at = |address: u64| {
            NonNull::new(core::ptr::with_exposed_provenance_mut::<u8>(
                address as usize,
            ))
        };
        let common = Common(at(common.start)?);
        let mut notifications = Vec::new();
        for queue in 0..common.read(QUEUES).min(MOST_QUEUES) {
            common.write(QUEUE_SELECT, queue);
            let offset = u64::from(common.read(QUEUE_NOTIFY_OFFSET));
            let address = notify.start + offset * u64::from(layout.notify_multiplier);
            if !address.is_multiple_of(2) || address + 2 > notify.end {
                return None;
            }
            notifications.push(at(address)?.cast());
        }
        Some(Self {
            inner,
            common,
            notifications,
            tells_changes: false,
            changed,
        })
    }
}

impl transport::Transport for Transport {
    fn device_type(&self) -> DeviceType {
        self.inner.device_type()
    }

    fn read_device_features(&mut self) -> u64 {
        self.inner.read_device_features()
    }

    fn write_driver_features(&mut self, driver_features: u64) {
        // A reset, which precedes this, makes the device forget it.
        self.common.write(CONFIGURATION_VECTOR, FOR_CONFIGURATION);
        // What it has no room for, it does not take (virtio 1.2, 4.1.5.1.2.2).
        self.tells_changes = self.common.read(CONFIGURATION_VECTOR) == FOR_CONFIGURATION;
        self.inner.write_driver_features(driver_features);
    }

    fn max_queue_size(&mut self, queue: u16) -> u32 {
        if usize::from(queue) < self.notifications.len() {
            self.inner.max_queue_size(queue)
        } else {
            0
        }
    }

    fn notify(&mut self, queue: u16) {
        let register = self.notifications[usize::from(queue)];
        // SAFETY: mapped, aligned, and the queue's; the transport belongs to the device's driver.
        unsafe { register.write_volatile(queue) };
    }

    fn get_status(&self) -> DeviceStatus {
        self.inner.get_status()
    }

    fn set_status(&mut self, status: DeviceStatus) {
        self.inner.set_status(status);
    }

    fn set_guest_page_size(&mut self, guest_page_size: u32) {
        self.inner.set_guest_page_size(guest_page_size);
    }

    fn requires_legacy_layout(&self) -> bool {
        self.inner.requires_legacy_layout()
    }

    /// A queue is not enabled if the device has refused its message, or that for changes of the
    /// configuration, by which it tells that it is broken.
    fn queue_set(
        &mut self,
        queue: u16,
        size: u32,
        descriptors: PhysAddr,
        driver_area: PhysAddr,
        device_area: PhysAddr,
    ) {
        self.common.write(QUEUE_SELECT, queue);
        self.common.write(QUEUE_VECTOR, FOR_QUEUES);
        if self.tells_changes && self.common.read(QUEUE_VECTOR) == FOR_QUEUES {
            self.inner
                .queue_set(queue, size, descriptors, driver_area, device_area);
        }
    }

    fn queue_unset(&mut self, queue: u16) {
        self.inner.queue_unset(queue);
    }

    fn queue_used(&mut self, queue: u16) -> bool {
        self.inner.queue_used(queue)
    }

    /// Says whether the configuration has changed. A message for a queue leaves nothing to
    /// acknowledge.
    fn ack_interrupt(&mut self) -> InterruptStatus {
        if self.changed.swap(false, Ordering::AcqRel) {
            InterruptStatus::DEVICE_CONFIGURATION_INTERRUPT
        } else {
            InterruptStatus::empty()
        }
    }

    fn read_config_generation(&self) -> u32 {
        self.inner.read_config_generation()
    }

    fn read_config_space<T: FromBytes + IntoBytes>(
        &self,
        offset: usize,
    ) -> virtio_drivers::Result<T> {
        self.inner.read_config_space(offset)
    }

    fn write_config_space<T: IntoBytes + Immutable>(
        &mut self,
        offset: usize,
        value: T,
    ) -> virtio_drivers::Result<()> {
        self.inner.write_config_space(offset, value)
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").finish_non_exhaustive()
    }
}
