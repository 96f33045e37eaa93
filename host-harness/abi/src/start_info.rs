//! What a VMM tells a guest when it starts: the `hvm_start_info` of Xen's PVH boot protocol (Xen,
//! public/arch-x86/hvm/start_info.h), the command line, and the memory map.
//!
//! The guest believes the VMM, which has all power over it. What is damaged or makes no sense is
//! still an error with a reason, and no access outside the memory that the guest sees.

use core::ops::Range;

use crate::{
    MAX_COMMAND_LINE,
    record::{NONCE_ARGUMENT, Nonce},
};

/// `XEN_HVM_START_MAGIC_VALUE`.
pub const MAGIC: u32 = 0x336e_c578;

/// `XEN_HVM_MEMMAP_TYPE_RAM`.
pub const RAM: u32 = 1;

/// The length of the structure, in bytes.
pub const INFO_BYTES: usize = 56;

/// The length of an entry of the memory map, in bytes.
pub const ENTRY_BYTES: usize = 24;

/// The room for a command line with its nonce and the terminating NUL, in bytes.
pub const COMMAND_LINE_BYTES: usize =
    NONCE_ARGUMENT.len() + Nonce::DIGITS + " ".len() + MAX_COMMAND_LINE + 1;

/// Physical memory, as a guest sees it when it starts.
pub trait Memory {
    /// Copies the bytes at `address`. Returns `false`, and copies nothing, if they are not memory
    /// that can be read.
    fn read(&self, address: u64, bytes: &mut [u8]) -> bool;
}

const OUTSIDE: &str = "the VMM's start info points outside the memory that a guest sees at its \
                       start: use another VMM, or its usual boot protocol";

/// Where the structure says that the rest is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartInfo {
    version: u32,
    command_line: u64,
    map: u64,
    entries: u32,
}

impl StartInfo {
    /// Reads the structure at `address`.
    ///
    /// # Errors
    ///
    /// It is none, or is not in memory.
    pub fn read(memory: &impl Memory, address: u64) -> Result<Self, &'static str> {
        let mut bytes = [0; INFO_BYTES];
        if !memory.read(address, &mut bytes) {
            return Err(OUTSIDE);
        }
        if word(&bytes, 0) as u32 != MAGIC {
            return Err(
                "the VMM passed no PVH start info; boot it by `qemu -kernel` or `cargo vm run`",
            );
        }
        Ok(Self {
            version: word(&bytes, 4) as u32,
            command_line: word(&bytes, 24),
            map: word(&bytes, 40),
            entries: word(&bytes, 48) as u32,
        })
    }

    /// Reads the command line into `buffer`: without the terminating NUL, and with the nonce, if it
    /// has one. `None`: there is no command line.
    ///
    /// # Errors
    ///
    /// It does not end in memory, or not in time.
    pub fn command_line<'b>(
        &self,
        memory: &impl Memory,
        buffer: &'b mut [u8; COMMAND_LINE_BYTES],
    ) -> Result<Option<&'b [u8]>, &'static str> {
        if self.command_line == 0 {
            return Ok(None);
        }
        // Byte by byte: it may end just before the end of the memory.
        for index in 0..COMMAND_LINE_BYTES {
            let address = self.command_line.checked_add(index as u64);
            let byte = &mut buffer[index..=index];
            if !address.is_some_and(|address| memory.read(address, byte)) {
                return Err(OUTSIDE);
            }
            if buffer[index] == 0 {
                return Ok(Some(&buffer[..index]));
            }
        }
        Err(TOO_LONG)
    }

    /// Calls `take` with the addresses of each piece of RAM, in the map's order.
    ///
    /// # Errors
    ///
    /// There is no map, or it is not in memory; or an error of `take`, which ends this.
    pub fn for_each_ram(
        &self,
        memory: &impl Memory,
        mut take: impl FnMut(Range<u64>) -> Result<(), &'static str>,
    ) -> Result<(), &'static str> {
        if self.version == 0 || self.map == 0 {
            return Err("the VMM passed no memory map (start info version 0)");
        }
        for index in 0..u64::from(self.entries) {
            let mut entry = [0; ENTRY_BYTES];
            let address = self.map.checked_add(index * ENTRY_BYTES as u64);
            if !address.is_some_and(|address| memory.read(address, &mut entry)) {
                return Err(OUTSIDE);
            }
            let (start, size) = (word(&entry, 0), word(&entry, 8));
            if word(&entry, 16) as u32 == RAM {
                take(start..start.saturating_add(size))?;
            }
        }
        Ok(())
    }
}

const TOO_LONG: &str = "the command line has more than 4095 bytes";

/// Returns a guest's own arguments, behind the nonce, as text.
///
/// # Errors
///
/// They are too long, or no text.
pub fn arguments(bytes: &[u8]) -> Result<&str, &'static str> {
    let text = core::str::from_utf8(bytes).map_err(|_| "the command line is not UTF-8")?;
    if text.len() > MAX_COMMAND_LINE {
        return Err(TOO_LONG);
    }
    Ok(text)
}

/// The eight bytes at `at`. Both structures end at a multiple of eight.
fn word(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The structure at an address, and nothing else.
    struct Bytes(u64, [u8; INFO_BYTES]);

    impl Memory for Bytes {
        fn read(&self, address: u64, bytes: &mut [u8]) -> bool {
            let from = address
                .checked_sub(self.0)
                .and_then(|from| usize::try_from(from).ok());
            let found = from.and_then(|from| self.1.get(from..)?.get(..bytes.len()));
            found.map(|found| bytes.copy_from_slice(found)).is_some()
        }
    }

    fn with(at: usize, value: u64) -> Bytes {
        let mut bytes = [0; INFO_BYTES];
        bytes[..4].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[4] = 1;
        bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        Bytes(0x1000, bytes)
    }

    #[test]
    fn a_command_line_outside_the_memory_is_an_error() {
        let mut buffer = [0; COMMAND_LINE_BYTES];
        for address in [1, u64::MAX - 1, u64::MAX] {
            let memory = with(24, address);
            let info = StartInfo::read(&memory, memory.0).expect("it is one");
            let read = info.command_line(&memory, &mut buffer);
            assert_eq!(read, Err(OUTSIDE), "{address:#x}");
        }
    }

    #[test]
    fn a_map_outside_the_memory_is_an_error() {
        for address in [1, u64::MAX - 1, u64::MAX] {
            let mut memory = with(40, address);
            memory.1[48..52].fill(0xff);
            let info = StartInfo::read(&memory, memory.0).expect("it is one");
            let read = info.for_each_ram(&memory, |_| Ok(()));
            assert_eq!(read, Err(OUTSIDE), "{address:#x}");
        }
    }
}
