//! Devices' memory: [`map_device_memory`].

use core::{arch::x86_64::__cpuid, fmt, ops::Range, ptr::NonNull};

use crate::{
    boot::{image, paging},
    memory,
};

const PAGE: u64 = 4 << 10;

/// CPUID leaf with the number of bits of a physical address (SDM vol. 2, CPUID).
const ADDRESS_SIZES: u32 = 0x8000_0008;

/// Maps a device's registers or memory, not cached, at their physical addresses, and returns the
/// first byte. The same pages may be mapped again, for another device in them.
///
/// The mapping stays. To access it is `unsafe`: what a device does to memory is not known here.
///
/// # Contexts
///
/// Any but an NMI handler.
///
/// # Errors
///
/// See [`MapError`].
///
/// # Examples
///
/// ```no_run
/// use dormir_guest::{MapError, map_device_memory};
///
/// fn magic() -> Result<u32, MapError> {
///     // QEMU's microvm: the first of its virtio-mmio transports.
///     let registers = map_device_memory(0xfeb0_0000..0xfeb0_0200)?.cast::<u32>();
///     // SAFETY: mapped, aligned; reading this register has no effect.
///     Ok(unsafe { registers.read_volatile() })
/// }
/// ```
pub fn map_device_memory(range: Range<u64>) -> Result<NonNull<u8>, MapError> {
    let first = NonNull::new(range.start as *mut u8).filter(|_| range.start < range.end);
    let first = first.ok_or(MapError::Empty)?;
    // SAFETY: every processor in 64-bit mode has this leaf.
    let bits = __cpuid(ADDRESS_SIZES).eax & 0xff;
    // Half of the virtual addresses, one to one.
    let last = 1_u64 << bits.min(47);
    if range.end > last {
        return Err(MapError::Beyond { end: last });
    }
    let pages = range.start & !(PAGE - 1)..range.end.next_multiple_of(PAGE);
    let below_image = 0..image::whole().start;
    let is_ram = |piece: &Range<u64>| piece.start < pages.end && pages.start < piece.end;
    if is_ram(&below_image) || memory::ram().iter().any(is_ram) {
        return Err(MapError::Ram);
    }
    paging::map_device(pages).map_err(|_| MapError::NoTables)?;
    Ok(first)
}

/// The reason why memory cannot be mapped as a device's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MapError {
    /// The range is empty, or begins at 0.
    Empty,
    /// The range ends behind the addresses that can be mapped.
    Beyond {
        /// Their end.
        end: u64,
    },
    /// A page of the range is RAM, or lies below 2 MiB.
    Ram,
    /// Too few of the eight page tables are left that are set aside for devices. A device below 4
    /// GiB takes one for each 2 MiB in which it is the first; above, it may take three.
    NoTables,
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the range of the device's memory is empty, or begins at address 0",
            Self::Beyond { end } => {
                return write!(
                    f,
                    "the device's memory ends behind {end:#x}, the last address"
                );
            }
            Self::Ram => "the range of the device's memory contains RAM: check the address",
            Self::NoTables => {
                "too few page tables are left for the device: put the devices closer together \
                 (there are eight tables, and each maps 2 MiB)"
            }
        })
    }
}

impl core::error::Error for MapError {}
