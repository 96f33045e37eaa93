//! The command line and the memory map from the VMM's `hvm_start_info` (Xen,
//! public/arch-x86/hvm/start_info.h), copied before the guest's page tables unmap it.

use core::ffi::CStr;

use dormir_abi::{MAX_COMMAND_LINE, record::Nonce};
use heapless::String;
use spin::Once;

use crate::{console, memory::Pieces};

const MAGIC: u32 = 0x336e_c578;
const MEMORY_TYPE_RAM: u32 = 1;

#[repr(C)]
struct StartInfo {
    magic: u32,
    version: u32,
    flags: u32,
    nr_modules: u32,
    modlist_paddr: u64,
    cmdline_paddr: u64,
    rsdp_paddr: u64,
    memmap_paddr: u64,
    memmap_entries: u32,
    reserved: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct MemoryMapEntry {
    address: u64,
    size: u64,
    kind: u32,
    reserved: u32,
}

static COMMAND_LINE: Once<String<MAX_COMMAND_LINE>> = Once::new();

/// The guest's command line; empty before [`read`].
pub(crate) fn command_line() -> &'static str {
    COMMAND_LINE.get().map_or("", String::as_str)
}

/// Reads the structure at `address`. Stores the command line, and returns the RAM from `image` on.
///
/// # Safety
///
/// `address` must come from the VMM, and the low memory that the structure points to must still be
/// mapped and unchanged.
pub(super) unsafe fn read(address: *const u8, image: u64) -> Result<Pieces, &'static str> {
    // SAFETY: the boot protocol puts a start info structure there, aligned to 4 bytes at least.
    let info = unsafe { address.cast::<StartInfo>().read_unaligned() };
    if info.magic != MAGIC {
        return Err(
            "the VMM passed no PVH start info; boot it by `qemu -kernel` or `cargo vm run`",
        );
    }
    if info.cmdline_paddr != 0 {
        // SAFETY: the boot protocol puts a string that ends in NUL there.
        let text = unsafe { CStr::from_ptr(info.cmdline_paddr as *const _) };
        let (nonce, text) = Nonce::split_off(text.to_bytes());
        if let Some(nonce) = nonce {
            console::init_records(nonce);
        }
        let text = core::str::from_utf8(text).map_err(|_| "the command line is not UTF-8")?;
        let text =
            String::try_from(text).map_err(|_| "the command line has more than 4095 bytes")?;
        COMMAND_LINE.call_once(|| text);
    }
    if info.version == 0 || info.memmap_paddr == 0 {
        return Err("the VMM passed no memory map (start info version 0)");
    }
    let entries = (0..info.memmap_entries as usize).map(|index| {
        let entry = (info.memmap_paddr as *const MemoryMapEntry).wrapping_add(index);
        // SAFETY: the boot protocol puts `memmap_entries` entries there.
        unsafe { entry.read_unaligned() }
    });
    let ram = entries
        .filter(|entry| entry.kind == MEMORY_TYPE_RAM)
        .map(|entry| entry.address..entry.address.saturating_add(entry.size));
    crate::memory::pieces(ram, image)
}
