//! Where a device's registers are: its base address registers (BARs).

use virtio_drivers::transport::pci::bus::{BarInfo, ConfigurationAccess};

use super::configuration::{Bars, Function, Layout};

/// Where registers are placed that have no address. QEMU's q35 has RAM below 0xc0000000 at most,
/// and neither registers nor the memory-mapped configuration here (`hw/pci-host/q35.c`).
const PLACE: u64 = 0xd000_0000;

/// How much there is for each function: QEMU's virtio devices have 16 KiB and 4 KiB.
const ROOM: u64 = 128 << 10;

/// Why the registers have no addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PlaceError {
    /// There is no room for them.
    NoRoom,
    /// A BAR is of no known type.
    Malformed,
}

/// Gives an address to each BAR that has registers and no address: firmware for microvms does not
/// do it.
pub(super) fn place<C: ConfigurationAccess + Copy>(
    device: &mut Function<C>,
    layout: &Layout,
) -> Result<Bars, PlaceError> {
    let function = device.function;
    let number = u64::from(function.device) * 8 + u64::from(function.function);
    let room = PLACE + number * ROOM..PLACE + (number + 1) * ROOM;
    let mut free = room.start;
    let mut bars = Bars::default();
    let infos = device.root.bars(function);
    for (bar, info) in (0..).zip(infos.map_err(|_| PlaceError::Malformed)?) {
        let is_64_bit = info.as_ref().is_some_and(BarInfo::takes_two_entries);
        let memory = info.and_then(|info| info.memory_address_size());
        let Some((mut address, size)) = memory.filter(|_| layout.uses(bar)) else {
            continue;
        };
        if size == 0 {
            continue;
        }
        if address == 0 {
            let next = free.checked_next_multiple_of(size);
            address = next.ok_or(PlaceError::NoRoom)?;
            let end = address.checked_add(size).filter(|end| *end <= room.end);
            free = end.ok_or(PlaceError::NoRoom)?;
            if is_64_bit {
                device.root.set_bar_64(function, bar, address);
            } else {
                device.root.set_bar_32(function, bar, address as u32);
            }
        }
        let end = address.checked_add(size).ok_or(PlaceError::Malformed)?;
        bars.0[usize::from(bar)] = Some(address..end);
    }
    Ok(bars)
}
