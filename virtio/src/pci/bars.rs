//! Where a device's registers are: its base address registers (BARs).

use core::ops::Range;

use virtio_drivers::transport::pci::bus::{BarInfo, ConfigurationAccess};

use super::configuration::Function;

/// Where registers are placed that have no address. QEMU's q35 has RAM below 0xc0000000 at most, and
/// neither registers nor the memory-mapped configuration here (`hw/pci-host/q35.c`).
const PLACE: u64 = 0xd000_0000;

/// How much there is for each function: QEMU's virtio devices have 16 KiB and 4 KiB.
const ROOM: u64 = 128 << 10;

/// The addresses of each BAR that has some.
#[derive(Debug, Default)]
pub(super) struct Bars([Option<Range<u64>>; 6]);

impl Bars {
    pub(super) fn range(&self, bar: u8) -> Option<Range<u64>> {
        self.0.get(usize::from(bar))?.clone()
    }
}

/// Gives an address to each BAR that has none: firmware for microvms does not do it. `None`: there
/// is no room for them, or one is of no known type.
pub(super) fn place<C: ConfigurationAccess + Copy>(device: &mut Function<C>) -> Option<Bars> {
    let function = device.function;
    let number = u64::from(function.device) * 8 + u64::from(function.function);
    let room = PLACE + number * ROOM..PLACE + (number + 1) * ROOM;
    let mut free = room.start;
    let mut bars = Bars::default();
    for (bar, info) in (0..).zip(device.root.bars(function).ok()?) {
        let is_64_bit = info.as_ref().is_some_and(BarInfo::takes_two_entries);
        let Some((mut address, size)) = info.and_then(|info| info.memory_address_size()) else {
            continue;
        };
        if size == 0 {
            continue;
        }
        if address == 0 {
            address = free.checked_next_multiple_of(size)?;
            free = address.checked_add(size).filter(|end| *end <= room.end)?;
            if is_64_bit {
                device.root.set_bar_64(function, bar, address);
            } else {
                device.root.set_bar_32(function, bar, address as u32);
            }
        }
        bars.0[usize::from(bar)] = Some(address..address.checked_add(size)?);
    }
    Some(bars)
}
