//! Devices on PCI: QEMU's `q35`, and other machines that have the configuration behind ports 0xcf8
//! and 0xcfc. Their interrupts are messages (MSI-X), so no line is shared.

mod bars;
mod configuration;
mod messages;
#[cfg(all(target_arch = "x86_64", target_os = "none"))]
mod ports;
#[cfg(test)]
mod tests;
mod transport;

#[cfg(all(target_arch = "x86_64", target_os = "none"))]
use alloc::vec::Vec;
use core::{fmt, ops::Range, ptr::NonNull};

#[cfg(all(target_arch = "x86_64", target_os = "none"))]
use dormir::platform::bare::{ClaimError, DeviceInterrupt};
#[cfg(all(target_arch = "x86_64", target_os = "none"))]
use virtio_drivers::transport::pci::{bus::PciRoot, virtio_device_type};
use virtio_drivers::transport::{
    DeviceType,
    pci::bus::{ConfigurationAccess, DeviceFunction},
};

pub use self::{messages::Messages, transport::Transport};
#[cfg(all(target_arch = "x86_64", target_os = "none"))]
use crate::Attached;
use crate::Interrupt;
use bars::PlaceError;

/// A device that was found on the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Device {
    /// Which driver it needs.
    pub device_type: DeviceType,
    /// Its place on the bus.
    function: DeviceFunction,
}

/// Returns the virtio devices on bus 0, in the order of their places: that in which they were given
/// to QEMU. On a machine without ports 0xcf8 and 0xcfc there are none.
///
/// No other code may use these ports meanwhile, on another vCPU for instance: this and
/// [`Device::connect`] have a lock of their own.
///
/// # Contexts
///
/// Any but an interrupt handler, which may have interrupted another access to the bus.
#[cfg(all(target_arch = "x86_64", target_os = "none"))]
#[must_use]
pub fn find() -> Vec<Device> {
    if !ports::are_there() {
        return Vec::new();
    }
    let root = PciRoot::new(ports::Ports);
    let functions = root.enumerate_bus(0);
    let devices = functions.filter_map(|(function, info)| {
        let device_type = virtio_device_type(&info)?;
        if !configuration::is_there(&ports::Ports, function) {
            return None;
        }
        Some(Device {
            device_type,
            function,
        })
    });
    devices.collect()
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {}", self.device_type, self.function)
    }
}

/// What a device writes where, when it interrupts.
#[derive(Clone, Copy, Debug)]
struct TableEntry {
    address: u64,
    data: u32,
}

impl Device {
    /// Claims two vectors, and prepares the device: places its registers where the firmware has not
    /// done it, maps them by `map`, and lets it send messages, to the vCPU that calls this.
    /// `dormir_guest::map_device_memory` is such a function.
    ///
    /// A device without a driver here may lack messages, so look at its
    /// [`device_type`](Self::device_type) first.
    ///
    /// # Contexts
    ///
    /// As [`find`].
    ///
    /// # Safety
    ///
    /// - `map` returns where the registers are, and they stay mapped.
    /// - Nothing else drives this device, nor configures the bus at this time.
    /// - The physical addresses from 0xd0000000 to 0xd2000000 have no RAM, nor another device,
    ///   unless the firmware has placed the devices' registers.
    /// - The device sees the heap at the addresses that this program uses: memory is mapped one to
    ///   one, without an IOMMU.
    ///
    /// # Errors
    ///
    /// See [`ConnectError`].
    #[cfg(all(target_arch = "x86_64", target_os = "none"))]
    pub unsafe fn connect<E>(
        &self,
        map: impl FnMut(Range<u64>) -> Result<NonNull<u8>, E>,
    ) -> Result<Attached<Transport, Messages<DeviceInterrupt>>, ConnectError<E>> {
        let claim = || {
            let interrupt = DeviceInterrupt::vector().map_err(ConnectError::Claim)?;
            let message = interrupt.message().ok_or(ConnectError::Unreachable)?;
            let entry = TableEntry {
                address: message.address,
                data: message.data,
            };
            Ok((interrupt, entry))
        };
        // SAFETY: the caller's guarantees.
        let (transport, messages) =
            unsafe { prepare(ports::Ports, self.function, map, [claim()?, claim()?]) }?;
        // SAFETY: the caller guarantees that memory is mapped one to one.
        Ok(unsafe { Attached::new(transport, messages) })
    }
}

/// Prepares a device, whose queues send the first message, and whose configuration the second.
///
/// # Safety
///
/// As [`Device::connect`].
unsafe fn prepare<C, I, E>(
    access: C,
    function: DeviceFunction,
    mut map: impl FnMut(Range<u64>) -> Result<NonNull<u8>, E>,
    interrupts: [(I, TableEntry); 2],
) -> Result<(Transport, Messages<I>), ConnectError<E>>
where
    C: ConfigurationAccess + Copy,
    I: Interrupt,
{
    let read = configuration::Function::new(access, function);
    let (mut device, layout) = read.ok_or(ConnectError::Malformed)?;
    let bars = bars::place(&mut device, &layout).map_err(|error| match error {
        PlaceError::NoRoom => ConnectError::NoRoom,
        PlaceError::Malformed => ConnectError::Malformed,
    })?;
    for range in layout.bars(&bars).ok_or(ConnectError::Malformed)? {
        let mapped = map(range.clone()).map_err(ConnectError::Map)?;
        // Others get at the registers by their addresses.
        if mapped.as_ptr().expose_provenance() as u64 != range.start {
            return Err(ConnectError::Moved);
        }
    }
    let [(queues, for_queues), (configuration, for_configuration)] = interrupts;
    let table = layout.table(&bars).ok_or(ConnectError::NoMessages)?;
    device.enable();
    device.hold_messages();
    // SAFETY: the table is mapped, and has two entries.
    unsafe { messages::write_table(table, [for_queues, for_configuration]) };
    device.send_messages();
    let messages = Messages::new(queues, configuration);
    let changed = messages.changed();
    // SAFETY: the caller guarantees that nothing else drives the device; its registers are mapped.
    let transport = unsafe { Transport::new(device, &layout, &bars, changed) };
    Ok((transport.ok_or(ConnectError::Malformed)?, messages))
}

/// The reason why a device cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectError<E> {
    /// No vector can be claimed.
    #[cfg(all(target_arch = "x86_64", target_os = "none"))]
    Claim(ClaimError),
    /// The vCPU's APIC ID is above 255, which a message cannot name.
    Unreachable,
    /// Its registers cannot be mapped.
    Map(E),
    /// Its registers were mapped at other addresses than their physical ones.
    Moved,
    /// Its configuration does not describe registers of virtio 1.0 in memory, or puts them where
    /// there are none.
    Malformed,
    /// It cannot send two messages.
    NoMessages,
    /// Its registers have no address, and need more than the 128 KiB that are set aside for it.
    NoRoom,
}

impl<E: fmt::Display> fmt::Display for ConnectError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            #[cfg(all(target_arch = "x86_64", target_os = "none"))]
            Self::Claim(error) => {
                return write!(f, "the device's messages have no vector ({error})");
            }
            Self::Map(error) => {
                return write!(f, "the device's registers cannot be mapped: {error}");
            }
            Self::Unreachable => {
                "this vCPU cannot receive messages of devices: use one whose APIC ID is below 256"
            }
            Self::Moved => {
                "the device's registers were mapped at other addresses than their physical ones: \
                 map them one to one"
            }
            Self::Malformed => {
                "the device's PCI configuration does not describe registers of virtio 1.0 in \
                 memory: leave QEMU's disable-modern and modern-pio-notify off"
            }
            Self::NoMessages => {
                "the device cannot send two messages: give it MSI-X with at least two vectors \
                 (QEMU's `vectors=2`)"
            }
            Self::NoRoom => {
                "the firmware has not placed the device's registers, and they need more than 128 \
                 KiB: leave QEMU's page-per-vq off, or use another firmware (QEMU's -bios)"
            }
        })
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for ConnectError<E> {}
