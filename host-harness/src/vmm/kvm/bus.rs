//! What a guest reaches by I/O ports, and by addresses where it has no memory: exit, console,
//! serial line, and virtio devices.

mod fuzz;

use std::sync::Arc;

use dormir_abi::{
    exit,
    port::{CONSOLE_BUFFER, ConsoleBuffer, DEBUG_CONSOLE, DEBUG_CONSOLE_PRESENT, EXIT, SERIAL},
};
use vm_memory::{Bytes, GuestAddress};

use super::{boot::Memory, outlet::Outlet, serial::SerialLine, virtio::VirtioDevices};
use crate::vmm::outcome::Outcome;
pub(crate) use fuzz::fuzz_bus;

/// The last port of the serial line.
const SERIAL_END: u16 = SERIAL + 7;

/// The devices that need no more than the guest's memory.
pub(super) struct Bus {
    memory: Memory,
    serial: Arc<SerialLine>,
    virtio: VirtioDevices,
}

impl Bus {
    pub(super) fn new(memory: Memory, serial: SerialLine, virtio: VirtioDevices) -> Self {
        Self {
            memory,
            serial: Arc::new(serial),
            virtio,
        }
    }

    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The serial line, for the thread that feeds it.
    pub(super) fn serial(&self) -> Arc<SerialLine> {
        Arc::clone(&self.serial)
    }

    /// The devices in memory.
    pub(super) fn virtio(&self) -> &VirtioDevices {
        &self.virtio
    }

    /// Handles the guest's read of memory where there is none. Returns whether a device is there.
    pub(super) fn read_memory(&self, address: u64, data: &mut [u8]) -> bool {
        self.virtio.read(address, data)
    }

    /// Handles the guest's write to memory where there is none. Returns whether a device is there.
    ///
    /// # Errors
    ///
    /// How this ends the run.
    pub(super) fn write_memory(
        &self,
        address: u64,
        data: &[u8],
        console: &mut Outlet<'_>,
    ) -> Result<bool, Outcome> {
        let is_there = self.virtio.write(address, data);
        console.write(&self.virtio.take_output())?;
        Ok(is_there)
    }

    /// Handles the guest's write of `data` to `port`.
    ///
    /// # Errors
    ///
    /// How this ends the run.
    pub(super) fn write(
        &self,
        port: u16,
        data: &[u8],
        console: &mut Outlet<'_>,
    ) -> Result<(), Outcome> {
        match port {
            EXIT => Err(outcome_of(little_endian(data))),
            DEBUG_CONSOLE => console.write(data),
            CONSOLE_BUFFER => {
                let bytes = read_console_buffer(&self.memory, data).map_err(Outcome::Died)?;
                console.write(&bytes)
            }
            SERIAL..=SERIAL_END => {
                for &byte in data {
                    let sent = self.serial.write((port - SERIAL) as u8, byte);
                    let sent = sent.map_err(|error| {
                        Outcome::Died(format!("its serial line failed ({error}): try again"))
                    })?;
                    console.write(&sent)?;
                }
                Ok(())
            }
            // No device: a PC's bus ignores the write.
            _ => Ok(()),
        }
    }

    /// Handles the guest's read from `port`.
    pub(super) fn read(&self, port: u16, data: &mut [u8]) {
        // What a PC's bus returns where there is no device.
        data.fill(0xff);
        match port {
            DEBUG_CONSOLE => data.fill(DEBUG_CONSOLE_PRESENT),
            SERIAL..=SERIAL_END => {
                for byte in data {
                    *byte = self.serial.read((port - SERIAL) as u8);
                }
            }
            _ => {}
        }
    }
}

/// Returns the value of the first write in `data`, of one, two or four bytes.
pub(super) fn little_endian(data: &[u8]) -> u32 {
    let mut bytes = [0; 4];
    for (to, from) in bytes.iter_mut().zip(data) {
        *to = *from;
    }
    u32::from_le_bytes(bytes)
}

/// Returns the outcome that a write of `value` to the exit port stands for.
fn outcome_of(value: u32) -> Outcome {
    exit::from_port_value(value).map_or_else(
        || {
            Outcome::Died(format!(
                "it wrote {value:#x} to the exit port, which stands for no exit code: send a code \
                 as dormir_abi::exit::to_port_value encodes it"
            ))
        },
        |code| Outcome::Exited(code.into()),
    )
}

/// Reads the bytes of the [`ConsoleBuffer`] to which a write of `data` points.
fn read_console_buffer(memory: &Memory, data: &[u8]) -> Result<Vec<u8>, String> {
    let address = u64::from(little_endian(data));
    let field = |offset: u64| {
        memory
            .read_obj::<u64>(GuestAddress(address + offset))
            .map_err(|_| {
                format!(
                    "it passed a console buffer at {address:#x}, which is outside its memory: pass \
                     the physical address"
                )
            })
    };
    let buffer = ConsoleBuffer {
        address: field(0)?,
        length: field(8)?,
    };
    if buffer.length > ConsoleBuffer::MAX_LENGTH {
        return Err(format!(
            "it passed a console buffer of {} bytes, and the limit is {}: pass it in pieces",
            buffer.length,
            ConsoleBuffer::MAX_LENGTH
        ));
    }
    let mut bytes = vec![0; buffer.length as usize];
    memory
        .read_slice(&mut bytes, GuestAddress(buffer.address))
        .map_err(|_| {
            format!(
                "it passed a console buffer whose {} bytes at {:#x} are outside its memory: pass \
                 physical addresses",
                buffer.length, buffer.address
            )
        })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 2 << 20;

    fn memory_with_buffer(address: u64, length: u64) -> Memory {
        let memory = Memory::from_ranges(&[(GuestAddress(0), SIZE as usize)]).unwrap();
        memory.write_obj(address, GuestAddress(0x1000)).unwrap();
        memory.write_obj(length, GuestAddress(0x1008)).unwrap();
        memory.write_slice(b"hello", GuestAddress(0x2000)).unwrap();
        memory
    }

    fn read(address: u64, length: u64) -> Result<Vec<u8>, String> {
        read_console_buffer(&memory_with_buffer(address, length), &[0, 0x10, 0, 0])
    }

    #[test]
    fn a_console_buffer_is_read_whole() {
        assert_eq!(read(0x2000, 5).unwrap(), b"hello");
        assert_eq!(read(0x2000, 0).unwrap(), b"");
        assert_eq!(read(SIZE - 3, 3).unwrap(), [0; 3]);
    }

    #[test]
    fn a_console_buffer_outside_the_memory_is_refused() {
        for address in [SIZE - 2, SIZE, u64::MAX, u64::MAX - 2] {
            assert!(read(address, 3).is_err(), "at {address:#x}");
        }
        let memory = memory_with_buffer(0x2000, 5);
        for at in [SIZE as u32 - 8, u32::MAX] {
            assert!(read_console_buffer(&memory, &at.to_le_bytes()).is_err());
        }
    }

    #[test]
    fn a_console_buffer_that_is_too_long_is_refused() {
        assert!(read(0x2000, ConsoleBuffer::MAX_LENGTH).is_ok());
        assert!(read(0x2000, ConsoleBuffer::MAX_LENGTH + 1).is_err());
        assert!(read(0x2000, u64::MAX).is_err());
    }

    #[test]
    fn the_exit_port_takes_any_width_and_no_other_values() {
        assert_eq!(outcome_of(little_endian(&[0x10])), Outcome::Exited(0));
        assert_eq!(outcome_of(little_endian(&[0x11, 0])), Outcome::Exited(1));
        assert_eq!(
            outcome_of(little_endian(&[0x75, 0, 0, 0])),
            Outcome::Exited(101)
        );
        for value in [0, 0xf, 0x80, 0x90, 0x110, 0x1_0010, 0x8000_0010, u32::MAX] {
            assert!(matches!(outcome_of(value), Outcome::Died(_)), "{value:#x}");
        }
    }
}
