//! What a device's PCI configuration says of its registers.

use alloc::vec::Vec;
use core::ops::Range;

use virtio_drivers::transport::pci::{
    VIRTIO_PCI_CAP_COMMON_CFG, VIRTIO_PCI_CAP_NOTIFY_CFG,
    bus::{Command, ConfigurationAccess, DeviceFunction, PCI_CAP_ID_VNDR, PciRoot},
};

use super::bars::Bars;

/// The capability of messages (PCI Local Bus 3.0, 6.8.2).
const MSI_X: u8 = 0x11;
/// In its first word: messages are sent.
const MSI_X_ENABLE: u32 = 1 << 31;
/// In its first word: no message is sent.
const MSI_X_MASK: u32 = 1 << 30;
/// The length of an entry of its table, in bytes.
const MSI_X_ENTRY: u32 = 16;
/// How many messages are used.
const MESSAGES: u32 = 2;

/// As many capabilities fit: 192 bytes in words. More of them are a circle.
const MOST_CAPABILITIES: usize = 48;

/// `virtio_pci_common_cfg` up to its last field that is used (virtio 1.2, 4.1.4.3).
pub(super) const COMMON_LENGTH: u64 = 56;

/// A part of a device's memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Region {
    bar: u8,
    offset: u32,
    length: u32,
}

impl Region {
    /// Its physical addresses, if it has at least `length` bytes and lies in its BAR.
    pub(super) fn range(&self, bars: &Bars, length: u64) -> Option<Range<u64>> {
        let bar = bars.range(self.bar)?;
        let start = bar.start.checked_add(self.offset.into())?;
        let end = start.checked_add(self.length.into())?;
        (u64::from(self.length) >= length && end <= bar.end).then_some(start..end)
    }
}

/// Where the registers are that this driver uses itself.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) common: Region,
    pub(super) notify: Region,
    /// By how many bytes the registers of two queues' notifications differ, times their offset.
    pub(super) notify_multiplier: u32,
    /// The capability of messages, and its table.
    messages: Option<(u8, Region)>,
    /// Everything that has registers.
    regions: Vec<Region>,
}

impl Layout {
    /// Returns the addresses of each BAR in which registers are; `None` if some lie in no BAR.
    /// (`PciTransport` adds offsets and lengths without a look at the carry.)
    pub(super) fn bars(&self, bars: &Bars) -> Option<Vec<Range<u64>>> {
        let mut numbers = Vec::new();
        for region in &self.regions {
            region.range(bars, 1)?;
            region.offset.checked_add(region.length)?;
            numbers.push(region.bar);
        }
        numbers.sort_unstable();
        numbers.dedup();
        numbers.into_iter().map(|bar| bars.range(bar)).collect()
    }

    /// The physical addresses of the messages' table. `None`: there is none, or it is too short.
    pub(super) fn table(&self, bars: &Bars) -> Option<Range<u64>> {
        let (_, table) = self.messages?;
        table.range(bars, u64::from(MESSAGES * MSI_X_ENTRY))
    }
}

/// A device's configuration.
pub(super) struct Function<C: ConfigurationAccess> {
    pub(super) root: PciRoot<C>,
    /// The same: that of the root is private.
    access: C,
    pub(super) function: DeviceFunction,
}

impl<C: ConfigurationAccess + Copy> Function<C> {
    pub(super) fn new(access: C, function: DeviceFunction) -> Self {
        let root = PciRoot::new(access);
        Self {
            root,
            access,
            function,
        }
    }

    /// Returns where the registers are; `None` if that is incomplete, or its list never ends.
    pub(super) fn layout(&self) -> Option<Layout> {
        let word = |register| self.access.read_word(self.function, register);
        let (mut common, mut notify, mut messages) = (None, None, None);
        let mut regions = Vec::new();
        let mut capabilities = self.root.capabilities(self.function);
        for capability in capabilities.by_ref().take(MOST_CAPABILITIES) {
            // The words that are read must lie in the configuration.
            let register = |place: u8| capability.offset.checked_add(place).map(word);
            if capability.id == MSI_X && messages.is_none() {
                let place = register(4)?;
                let entries = u32::from(capability.private_header & 0x7ff) + 1;
                let table = Region {
                    bar: place as u8 & 7,
                    offset: place & !7,
                    length: entries * MSI_X_ENTRY,
                };
                regions.push(table);
                messages = Some((capability.offset, table));
            }
            let [length, kind] = capability.private_header.to_le_bytes();
            if capability.id != PCI_CAP_ID_VNDR || length < 16 {
                continue;
            }
            let region = Region {
                bar: register(4)? as u8,
                offset: register(8)?,
                length: register(12)?,
            };
            // The ISR status and the device's configuration are of use to `PciTransport`; the
            // others have no registers.
            if (1..=4).contains(&kind) {
                regions.push(region);
            }
            match kind {
                VIRTIO_PCI_CAP_COMMON_CFG if common.is_none() => common = Some(region),
                VIRTIO_PCI_CAP_NOTIFY_CFG if notify.is_none() && length >= 20 => {
                    notify = Some((region, register(16)?));
                }
                _ => {}
            }
        }
        if capabilities.next().is_some() {
            return None;
        }
        let (notify, notify_multiplier) = notify?;
        Some(Layout {
            common: common?,
            notify,
            notify_multiplier,
            messages,
            regions,
        })
    }

    /// Lets the device's registers be accessed, and the device access memory. It raises no line.
    pub(super) fn enable(&mut self) {
        let (_, command) = self.root.get_status_command(self.function);
        let added = Command::MEMORY_SPACE | Command::BUS_MASTER | Command::INTERRUPT_DISABLE;
        self.root.set_command(self.function, command | added);
    }

    /// Lets it send messages.
    pub(super) fn send_messages(&mut self, layout: &Layout) {
        if let Some((register, _)) = layout.messages {
            let word = self.access.read_word(self.function, register);
            let word = (word | MSI_X_ENABLE) & !MSI_X_MASK;
            self.access.write_word(self.function, register, word);
        }
    }
}
