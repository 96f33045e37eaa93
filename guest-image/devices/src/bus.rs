//! Where the machine has its devices: on virtio-mmio, or on PCI.

use dormir::platform::bare::DeviceInterrupt;
use dormir_guest::map_device_memory;
use dormir_virtio::{Attached, DeviceType, Interrupt, Transport, mmio, pci};

use crate::Failure;

/// A device that is ready for its driver.
pub type AttachedTo<F> = Attached<<F as Found>::Transport, <F as Found>::Interrupt>;

/// A device that was found.
pub trait Found: Sized {
    /// How its registers are reached.
    type Transport: Transport + 'static;
    /// How it interrupts.
    type Interrupt: Interrupt + 'static;

    /// Connects it. `None`: it is a transport without a device, or a device without a driver here.
    ///
    /// # Errors
    ///
    /// The device cannot be connected; a sentence.
    fn attach(&self) -> Result<Option<AttachedTo<Self>>, Failure>;
}

impl Found for mmio::Device {
    type Transport = mmio::Transport;
    type Interrupt = DeviceInterrupt;

    fn attach(&self) -> Result<Option<AttachedTo<Self>>, Failure> {
        let interrupt = DeviceInterrupt::line(self.irq)?;
        // SAFETY: the VMM says that the device is there; memory is mapped one to one; nothing else
        // drives it.
        match unsafe { self.connect(map_device_memory, interrupt) } {
            Ok(attached) => Ok(Some(attached)),
            Err(mmio::ConnectError::NoDevice) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Found for pci::Device {
    type Transport = pci::Transport;
    type Interrupt = pci::Messages<DeviceInterrupt>;

    fn attach(&self) -> Result<Option<AttachedTo<Self>>, Failure> {
        if !matches!(
            self.device_type,
            DeviceType::EntropySource | DeviceType::Block | DeviceType::Console
        ) {
            return Ok(None);
        }
        // SAFETY: memory is mapped one to one; nothing else drives it, nor configures the bus; QEMU
        // has neither RAM nor other devices where this places registers.
        Ok(Some(unsafe { self.connect(map_device_memory) }?))
    }
}
