//! Properties of the bus that must hold for any accesses.

use std::sync::atomic::AtomicBool;

use dormir_abi::{
    exit,
    port::{
        CONSOLE_BUFFER, ConsoleBuffer, DEBUG_CONSOLE, DEBUG_CONSOLE_PRESENT, EXIT, HostInterrupt,
        SERIAL,
    },
};
use vm_memory::{Bytes, GuestAddress};

use super::{Bus, SERIAL_END, little_endian};
use crate::vmm::{
    kvm::{
        boot::Memory, event::new_event, host_interrupt, outlet::Outlet, serial::SerialLine, virtio,
    },
    outcome::Outcome,
};

const MEMORY: u64 = 64 << 10;
/// How much the guest sends at most, but for the last access.
const LIMIT: usize = 100_000;

/// Ports with devices, and beside them.
const PORTS: [u16; 8] = [
    EXIT,
    DEBUG_CONSOLE,
    CONSOLE_BUFFER,
    EXIT + 1,
    SERIAL - 1,
    SERIAL_END + 1,
    0,
    u16::MAX,
];

/// The registers of the line that decide what a byte for the first one means.
const LINE_CONTROL: u16 = SERIAL + 3;
const DIVISOR: u8 = 0x80;
const MODEM_CONTROL: u16 = SERIAL + 4;
const LOOPBACK: u8 = 0x10;

/// Reads any bytes as a guest's accesses, and what comes over the serial line meanwhile. Each step
/// begins with its kind, and its operands follow.
///
/// # Panics
///
/// Panics if a property does not hold: what the guest has sent is on its console in order, and
/// nothing else; devices are where they should be; a port ends the guest only as it may; and
/// nothing outside the memory is accessed.
pub(crate) fn fuzz_bus(bytes: &[u8]) {
    let memory = Memory::from_ranges(&[(GuestAddress(0), MEMORY as usize)]).expect("64 KiB");
    let serial = SerialLine::new(new_event().expect("an event"));
    let (virtio, devices) = virtio::few_devices(&memory);
    let bus = Bus::new(memory, serial, virtio);
    let (mut out, leave) = (Vec::new(), AtomicBool::new(false));
    let mut world = World {
        console: Outlet::new(&mut out, &leave),
        bus,
        devices,
        steps: bytes,
        sent: Vec::new(),
        line_control: 0,
        modem_control: 0,
        line_has_room: true,
    };
    while world.step().is_some() {}
    let sent = world.sent;
    assert!(out == sent, "{out:?} instead of {sent:?}");
}

struct World<'a> {
    console: Outlet<'a>,
    bus: Bus,
    /// How many devices there are in memory.
    devices: u64,
    steps: &'a [u8],
    /// What the guest has sent to its console.
    sent: Vec<u8>,
    line_control: u8,
    modem_control: u8,
    /// It would be waited for.
    line_has_room: bool,
}

impl<'a> World<'a> {
    fn take<const LENGTH: usize>(&mut self) -> Option<[u8; LENGTH]> {
        Some(*self.bytes(LENGTH)?.first_chunk()?)
    }

    fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.steps.split_at_checked(length)?;
        self.steps = rest;
        Some(bytes)
    }

    /// `None`: nothing is left, or the guest has ended.
    fn step(&mut self) -> Option<()> {
        let [kind, length] = self.take()?;
        let length = usize::from(length % 9);
        match kind % 8 {
            0 => {
                let port = self.port(kind)?;
                let data = self.bytes(length)?;
                self.write(port, data)?;
            }
            1 => {
                let port = self.port(kind)?;
                self.read(port, length);
            }
            2 | 3 => {
                let address = self.address(kind)?;
                let data = self.bytes(length)?;
                let mut read = data.to_vec();
                let is_there = match kind % 8 {
                    2 => self
                        .bus
                        .write_memory(address, data, &mut self.console)
                        .ok()?,
                    _ => self.bus.read_memory(address, &mut read),
                };
                let from_first = address.wrapping_sub(virtio::FIRST_ADDRESS);
                let is_device = from_first / virtio::SPACING < self.devices
                    && from_first % virtio::SPACING < virtio::SIZE;
                assert_eq!(is_there, is_device, "{address:#x}");
            }
            4 => {
                let address = u16::from_le_bytes(self.take()?);
                let data = self.bytes(4 * length)?;
                let _ = self
                    .bus
                    .memory
                    .write_slice(data, GuestAddress(address.into()));
            }
            5 => self.point_to(length)?,
            6 => self.ask_for_interrupt()?,
            _ => {
                let data = self.bytes(length)?;
                if self.line_has_room {
                    let taken = self.bus.serial.receive(data).expect("its event takes it");
                    assert!(taken <= data.len());
                    self.line_has_room = taken == data.len();
                }
            }
        }
        Some(())
    }

    fn port(&mut self, kind: u8) -> Option<u16> {
        match kind >> 4 {
            index @ 0..8 => Some(PORTS[usize::from(index)]),
            8 => Some(u16::from_le_bytes(self.take()?)),
            register => Some(SERIAL + u16::from(register & 7)),
        }
    }

    /// Mostly one near the devices'.
    fn address(&mut self, kind: u8) -> Option<u64> {
        if kind >> 4 == 0 {
            return Some(u64::from_le_bytes(self.take()?));
        }
        let offset = u64::from(u16::from_le_bytes(self.take()?));
        Some(virtio::FIRST_ADDRESS + offset - virtio::SIZE)
    }

    /// The guest ends with this access, or not.
    fn write(&mut self, port: u16, data: &[u8]) -> Option<()> {
        match port {
            DEBUG_CONSOLE => self.sent.extend(data),
            CONSOLE_BUFFER => self.sent.extend(self.buffer(data).unwrap_or_default()),
            LINE_CONTROL => self.line_control = data.last().copied().unwrap_or(self.line_control),
            MODEM_CONTROL => {
                self.modem_control = data.last().copied().unwrap_or(self.modem_control);
            }
            SERIAL => {
                let is_sent =
                    self.line_control & DIVISOR == 0 && self.modem_control & LOOPBACK == 0;
                self.sent.extend(data.iter().filter(|_| is_sent));
            }
            _ => {}
        }
        let is_buffer = port != CONSOLE_BUFFER || self.buffer(data).is_some();
        let error = match self.bus.write(port, data, &mut self.console) {
            Ok(()) => {
                assert!(port != EXIT && is_buffer);
                // The console's limit is the reader's.
                return (self.sent.len() < LIMIT).then_some(());
            }
            Err(outcome) => outcome,
        };
        match error {
            Outcome::Exited(code) => {
                assert!(port == EXIT && (0..=exit::MAX.into()).contains(&code));
            }
            Outcome::Died(_) => assert!(port == EXIT || !is_buffer),
            other => panic!("{port:#x}: {other}"),
        }
        None
    }

    /// The bytes of the buffer to which a write points, if they are in memory and not too many.
    fn buffer(&self, data: &[u8]) -> Option<Vec<u8>> {
        let at = u64::from(little_endian(data));
        let word = |at| self.bus.memory.read_obj::<u64>(GuestAddress(at)).ok();
        let (address, length) = (word(at)?, word(at + 8)?);
        let is_inside = length <= ConsoleBuffer::MAX_LENGTH
            && (length == 0 || address.checked_add(length)? <= MEMORY);
        let mut bytes = vec![
            0;
            if is_inside {
                length as usize
            } else {
                return None;
            }
        ];
        let read = self
            .bus
            .memory
            .read_slice(&mut bytes, GuestAddress(address));
        (length == 0 || read.is_ok()).then_some(bytes)
    }

    fn read(&mut self, port: u16, length: usize) {
        let mut data = vec![7; length];
        self.bus.read(port, &mut data);
        let expected = match port {
            DEBUG_CONSOLE => DEBUG_CONSOLE_PRESENT,
            SERIAL..=SERIAL_END => {
                self.line_has_room |= port == SERIAL && length > 0;
                return;
            }
            _ => 0xff,
        };
        assert!(data.iter().all(|byte| *byte == expected));
    }

    /// Makes a console buffer, and points to it.
    fn point_to(&mut self, length: usize) -> Option<()> {
        let at = u32::from(u16::from_le_bytes(self.take()?));
        let (address, size) = (u16::from_le_bytes(self.take()?), self.take::<1>()?[0]);
        let sizes = [
            u64::from(size),
            u64::from(size) << 8,
            u64::MAX,
            ConsoleBuffer::MAX_LENGTH,
        ];
        let words = [address.into(), sizes[length % 4]].map(u64::to_le_bytes);
        let _ = self
            .bus
            .memory
            .write_slice(&words.concat(), GuestAddress(at.into()));
        self.write(CONSOLE_BUFFER, &at.to_le_bytes())
    }

    /// What is read of a request is in memory, and can be answered there.
    fn ask_for_interrupt(&mut self) -> Option<()> {
        let at = u32::from_le_bytes(self.take()?);
        let address = GuestAddress(at.into());
        if host_interrupt::read_request(&self.bus.memory, address).is_ok() {
            assert!(u64::from(at) + size_of::<HostInterrupt>() as u64 <= MEMORY);
            assert!(at.is_multiple_of(8));
        }
        Some(())
    }
}
