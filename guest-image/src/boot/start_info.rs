//! The command line and the memory map from the VMM's start info, copied before the guest's page
//! tables unmap it.

use dormir_abi::{
    MAX_COMMAND_LINE,
    ram::{Collected, Pieces},
    record::Nonce,
    start_info::{COMMAND_LINE_BYTES, Memory, StartInfo, arguments},
};
use heapless::String;
use spin::Once;

use super::{entry::BOOT_MAPPED_BYTES, image};
use crate::console;

static COMMAND_LINE: Once<String<MAX_COMMAND_LINE>> = Once::new();

/// The guest's command line; empty before [`read`].
pub(crate) fn command_line() -> &'static str {
    COMMAND_LINE.get().map_or("", String::as_str)
}

/// Reads the structure at `address`. Stores the command line, and returns the RAM from `image` on.
///
/// # Safety
///
/// The boot tables must be loaded, and `address` must come from the VMM, whose structures are
/// unchanged.
pub(super) unsafe fn read(address: *const u8, image: u64) -> Result<Pieces, &'static str> {
    let memory = BootMemory;
    let info = StartInfo::read(&memory, address as u64)?;
    let mut buffer = [0; COMMAND_LINE_BYTES];
    if let Some(line) = info.command_line(&memory, &mut buffer)? {
        let (nonce, line) = Nonce::split_off(line);
        if let Some(nonce) = nonce {
            console::init_records(nonce);
        }
        let text = arguments(line)?;
        COMMAND_LINE.call_once(|| String::try_from(text).unwrap_or_default());
    }
    let mut ram = Collected::from(image);
    info.for_each_ram(&memory, |range| ram.add(range))?;
    ram.ordered()
}

/// What the boot tables map, but for the image. Made in [`read`] alone.
struct BootMemory;

impl Memory for BootMemory {
    fn read(&self, address: u64, bytes: &mut [u8]) -> bool {
        let image = image::whole();
        let end = address.checked_add(bytes.len() as u64);
        let is_mapped = |end: &u64| *end <= BOOT_MAPPED_BYTES;
        let Some(end) = end.filter(is_mapped).filter(|_| address != 0) else {
            return false;
        };
        if address < image.end && end > image.start {
            return false;
        }
        let from = address as *const u8;
        // SAFETY: the boot tables are loaded, as the caller of `read` guarantees, and map these
        // addresses. `bytes` is part of the image, so it does not overlap them.
        unsafe { from.copy_to_nonoverlapping(bytes.as_mut_ptr(), bytes.len()) };
        true
    }
}
