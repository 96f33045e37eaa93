//! What a device's PCI configuration says of its registers.

use alloc::vec::Vec;
use core::ops::{Range, RangeInclusive};

use virtio_drivers::transport::pci::{
    VIRTIO_PCI_CAP_COMMON_CFG, VIRTIO_PCI_CAP_NOTIFY_CFG,
    bus::{Command, ConfigurationAccess, DeviceFunction, PCI_CAP_ID_VNDR, PciRoot},
};

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

/// Where capabilities lie, in words (PCI Local Bus 3.0, 6.7): behind the header.
const HEADER_WORDS: usize = 16;
const CAPABILITY_WORDS: usize = 48;
const REGISTERS: RangeInclusive<u8> = 0x40..=0xff;
/// Each takes a word at least, so a list that has more never ends.
const MOST_CAPABILITIES: usize = CAPABILITY_WORDS;

/// A capability that says nothing (its identifier is 0).
const NULL: u32 = 0;

/// The BARs that a device can have; virtio has drivers skip capabilities that name others (virtio
/// 1.2, 4.1.4.1).
const BARS: u8 = 6;

/// The kinds of virtio's capabilities that have registers: common configuration, notifications, ISR
/// status, the device's configuration.
const KINDS: RangeInclusive<u8> = 1..=4;

/// `virtio_pci_common_cfg` up to its last field that is used (virtio 1.2, 4.1.4.3).
pub(super) const COMMON_LENGTH: u64 = 56;

/// Bit 23 of this word: the device has several functions. Others may answer for each number.
const HEADER_TYPE: u8 = 0x0c;
const IS_MULTI_FUNCTION: u32 = 1 << 23;

/// Whether a function that answers is one of its own.
pub(super) fn is_there(access: &impl ConfigurationAccess, function: DeviceFunction) -> bool {
    let first = DeviceFunction {
        function: 0,
        ..function
    };
    function.function == 0 || access.read_word(first, HEADER_TYPE) & IS_MULTI_FUNCTION != 0
}

/// The addresses of each BAR that has some.
#[derive(Debug, Default)]
pub(super) struct Bars(pub(super) [Option<Range<u64>>; 6]);

impl Bars {
    pub(super) fn range(&self, bar: u8) -> Option<Range<u64>> {
        self.0.get(usize::from(bar))?.clone()
    }
}

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
    /// The table of messages.
    table: Option<Region>,
    /// Everything that has registers.
    regions: Vec<Region>,
}

impl Layout {
    /// Whether registers are in this BAR.
    pub(super) fn uses(&self, bar: u8) -> bool {
        self.regions.iter().any(|region| region.bar == bar)
    }

    /// Returns the addresses of each BAR in which registers are; `None` if some lie in no BAR, or
    /// end beyond it. (`PciTransport` adds offsets to lengths in 32 bits.)
    pub(super) fn bars(&self, bars: &Bars) -> Option<Vec<Range<u64>>> {
        for region in &self.regions {
            region.range(bars, 1)?;
            region.offset.checked_add(region.length)?;
        }
        let used = (0..BARS).filter(|bar| self.uses(*bar));
        used.map(|bar| bars.range(bar)).collect()
    }

    /// The physical addresses of the messages' table. `None`: there is none, or it is too short.
    pub(super) fn table(&self, bars: &Bars) -> Option<Range<u64>> {
        self.table?.range(bars, u64::from(MESSAGES * MSI_X_ENTRY))
    }
}

/// A way to a device's configuration, with a copy of its capabilities: what was checked is what is
/// used.
#[derive(Clone, Copy, Debug)]
pub(super) struct Copied<C> {
    access: C,
    capabilities: [u32; CAPABILITY_WORDS],
}

impl<C: ConfigurationAccess> Copied<C> {
    fn new(access: C, function: DeviceFunction) -> Self {
        let mut capabilities = [0; CAPABILITY_WORDS];
        for (register, word) in REGISTERS.step_by(4).zip(&mut capabilities) {
            *word = access.read_word(function, register);
        }
        Self {
            access,
            capabilities,
        }
    }

    /// Makes the capability at `offset` one that says nothing.
    fn hide(&mut self, offset: u8) {
        if let Some(word) = self.capabilities.get_mut(index(offset)) {
            *word = *word & !0xff | NULL;
        }
    }
}

/// The place of a register among the capabilities' words; those of the header are beyond.
fn index(register: u8) -> usize {
    usize::from(register / 4).wrapping_sub(HEADER_WORDS)
}

impl<C: ConfigurationAccess + Copy> ConfigurationAccess for Copied<C> {
    fn read_word(&self, function: DeviceFunction, register: u8) -> u32 {
        match self.capabilities.get(index(register)) {
            Some(word) => *word,
            None => self.access.read_word(function, register),
        }
    }

    fn write_word(&mut self, function: DeviceFunction, register: u8, data: u32) {
        self.access.write_word(function, register, data);
    }

    unsafe fn unsafe_clone(&self) -> Self {
        *self
    }
}

/// A device's configuration.
pub(super) struct Function<C: ConfigurationAccess + Copy> {
    pub(super) root: PciRoot<Copied<C>>,
    access: C,
    pub(super) function: DeviceFunction,
    /// The register of the messages' capability, and its first word.
    messages: Option<(u8, u32)>,
}

impl<C: ConfigurationAccess + Copy> Function<C> {
    /// Reads the capabilities, and returns where the registers are, too. `None`: they are
    /// incomplete, or their list never ends.
    pub(super) fn new(access: C, function: DeviceFunction) -> Option<(Self, Layout)> {
        let mut copied = Copied::new(access, function);
        let root = PciRoot::new(copied);
        let mut list = root.capabilities(function);
        let capabilities: Vec<_> = list.by_ref().take(MOST_CAPABILITIES).collect();
        if list.next().is_some() {
            return None;
        }
        let (mut common, mut notify, mut messages) = (None, None, None);
        let mut regions = Vec::new();
        let mut kinds = Vec::new();
        for capability in capabilities {
            // The words that are read must lie in the configuration.
            let word = |place: u8| {
                let register = capability.offset.checked_add(place)?;
                copied.capabilities.get(index(register)).copied()
            };
            let [length, kind] = capability.private_header.to_le_bytes();
            if capability.id == MSI_X && messages.is_none() {
                let place = word(4)?;
                let entries = u32::from(capability.private_header & 0x7ff) + 1;
                let table = Region {
                    bar: place as u8 & 7,
                    offset: place & !7,
                    length: entries * MSI_X_ENTRY,
                };
                regions.push(table);
                messages = Some((capability.offset, word(0)?, table));
            }
            let is_virtio = capability.id == PCI_CAP_ID_VNDR && length >= 16;
            // Of several of a kind the first counts.
            if !is_virtio || !KINDS.contains(&kind) || kinds.contains(&kind) {
                continue;
            }
            let region = Region {
                bar: word(4)? as u8,
                offset: word(8)?,
                length: word(12)?,
            };
            if region.bar >= BARS {
                copied.hide(capability.offset);
                continue;
            }
            match kind {
                VIRTIO_PCI_CAP_COMMON_CFG => common = Some(region),
                VIRTIO_PCI_CAP_NOTIFY_CFG if length < 20 => continue,
                VIRTIO_PCI_CAP_NOTIFY_CFG => notify = Some((region, word(16)?)),
                _ => {}
            }
            regions.push(region);
            kinds.push(kind);
        }
        let (notify, notify_multiplier) = notify?;
        let layout = Layout {
            common: common?,
            notify,
            notify_multiplier,
            table: messages.map(|(_, _, table)| table),
            regions,
        };
        let device = Self {
            root: PciRoot::new(copied),
            access,
            function,
            messages: messages.map(|(register, word, _)| (register, word)),
        };
        Some((device, layout))
    }

    /// Lets the device's registers be accessed, and the device access memory. It raises no line.
    pub(super) fn enable(&mut self) {
        let (_, command) = self.root.get_status_command(self.function);
        let added = Command::MEMORY_SPACE | Command::BUS_MASTER | Command::INTERRUPT_DISABLE;
        self.root.set_command(self.function, command | added);
    }

    /// Lets the device send no message while their table is written: an entry that changes while it
    /// is in use has no defined effect (PCI Express 5.0, 6.1.4.5).
    pub(super) fn hold_messages(&mut self) {
        self.control_messages(MSI_X_ENABLE | MSI_X_MASK);
    }

    /// Lets it send messages.
    pub(super) fn send_messages(&mut self) {
        self.control_messages(MSI_X_ENABLE);
    }

    fn control_messages(&mut self, bits: u32) {
        if let Some((register, word)) = self.messages {
            let word = word & !(MSI_X_ENABLE | MSI_X_MASK) | bits;
            self.access.write_word(self.function, register, word);
        }
    }
}
