//! What lies in the guest's memory when it is entered: its image, and the tables of
//! [`dormir_abi::direct_entry`].

use std::fs::File;

use dormir_abi::direct_entry::{IDENTITY_MAPPED_BYTES, LOWEST_IMAGE_ADDRESS};
use linux_loader::{
    configurator::{BootConfigurator, BootParams, pvh::PvhBootConfigurator},
    loader::{
        KernelLoader,
        elf::{
            Elf,
            start_info::{hvm_memmap_table_entry, hvm_start_info},
        },
    },
};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use crate::vmm::{MAX_ARGUMENTS_LENGTH, RunError};

/// The guest's memory.
pub(super) type Memory = GuestMemoryMmap<()>;

/// The top page table, which CR3 names.
pub(super) const PML4: GuestAddress = GuestAddress(0x1000);
const PDPT: GuestAddress = GuestAddress(0x2000);
const PD: GuestAddress = GuestAddress(0x3000);
/// The segment descriptors that the segment registers are loaded from.
pub(super) const GDT: GuestAddress = GuestAddress(0x4000);
/// The structure whose address the guest gets in RDI.
pub(super) const START_INFO: GuestAddress = GuestAddress(0x5000);
const MEMORY_MAP: GuestAddress = GuestAddress(0x5800);
const COMMAND_LINE: GuestAddress = GuestAddress(0x6000);

const _: () = assert!(
    COMMAND_LINE.0 + (MAX_ARGUMENTS_LENGTH as u64) < LOWEST_IMAGE_ADDRESS - 64,
    "the command line, with a nonce before it and a NUL behind it, ends below the image"
);

/// The descriptors behind the selectors 0x08 and 0x10: flat, ring 0, already marked as accessed so
/// that loading them writes nothing.
pub(super) const GDT_ENTRIES: [u64; 3] = [
    0,
    0x00af_9b00_0000_ffff, // code, 64-bit
    0x00cf_9300_0000_ffff, // data
];

const PAGE_PRESENT: u64 = 1;
const PAGE_WRITABLE: u64 = 1 << 1;
/// In a page directory: maps 2 MiB instead of pointing to a page table.
const PAGE_LARGE: u64 = 1 << 7;
const LARGE_PAGE_BYTES: u64 = 2 << 20;

const _: () = assert!(
    IDENTITY_MAPPED_BYTES / LARGE_PAGE_BYTES == 512,
    "one page directory maps it all"
);

/// `XEN_HVM_START_MAGIC_VALUE`.
const START_INFO_MAGIC: u32 = 0x336e_c578;
/// The first version with a memory map.
const START_INFO_VERSION: u32 = 1;
/// `XEN_HVM_MEMMAP_TYPE_RAM`.
const MEMORY_MAP_RAM: u32 = 1;

/// Makes a guest's memory and fills it for the entry.
pub(super) fn build_memory(
    mut image: File,
    memory_mib: u32,
    command_line: &str,
) -> Result<Memory, RunError> {
    let failed = |step| move |cause: String| RunError::GuestMemory { step, cause };
    // The kernel gives real pages only where the guest or its image touches them.
    let bytes = u64::from(memory_mib) << 20;
    let memory = usize::try_from(bytes)
        .map_err(|error| error.to_string())
        .and_then(|size| {
            Memory::from_ranges(&[(GuestAddress(0), size)]).map_err(|error| error.to_string())
        })
        .map_err(failed("reserved"))?;

    // An offset, even of nothing, says that the notes need not be looked at. They were, up to a limit
    // on their size that this loader does not have.
    Elf::load(&memory, Some(GuestAddress(0)), &mut image, None)
        .map_err(|error| RunError::NotLoaded(error.to_string()))?;
    write_tables(&memory)
        .map_err(|error| error.to_string())
        .map_err(failed("given page tables"))?;
    write_start_info(&memory, bytes, command_line).map_err(failed("given its boot information"))?;
    Ok(memory)
}

/// Writes the page tables and the segment descriptors.
fn write_tables(memory: &Memory) -> Result<(), vm_memory::GuestMemoryError> {
    let table = PAGE_PRESENT | PAGE_WRITABLE;
    memory.write_obj(PDPT.0 | table, PML4)?;
    memory.write_obj(PD.0 | table, PDPT)?;
    for index in 0..IDENTITY_MAPPED_BYTES / LARGE_PAGE_BYTES {
        let entry = (index * LARGE_PAGE_BYTES) | table | PAGE_LARGE;
        memory.write_obj(entry, GuestAddress(PD.0 + 8 * index))?;
    }
    for (entry, offset) in GDT_ENTRIES.into_iter().zip((0..).step_by(8)) {
        memory.write_obj(entry, GuestAddress(GDT.0 + offset))?;
    }
    Ok(())
}

/// Writes the `hvm_start_info`, the memory map and the command line that it points to.
fn write_start_info(memory: &Memory, bytes: u64, command_line: &str) -> Result<(), String> {
    let mut command_line = command_line.as_bytes().to_vec();
    command_line.push(0);
    memory
        .write_slice(&command_line, COMMAND_LINE)
        .map_err(|error| error.to_string())?;

    let memory_map = [hvm_memmap_table_entry {
        addr: 0,
        size: bytes,
        type_: MEMORY_MAP_RAM,
        reserved: 0,
    }];
    let start_info = hvm_start_info {
        magic: START_INFO_MAGIC,
        version: START_INFO_VERSION,
        cmdline_paddr: COMMAND_LINE.0,
        memmap_paddr: MEMORY_MAP.0,
        memmap_entries: memory_map.len() as u32,
        ..Default::default()
    };
    let mut parameters = BootParams::new(&start_info, START_INFO);
    parameters.set_sections(&memory_map, MEMORY_MAP);
    PvhBootConfigurator::write_bootparams(&parameters, memory).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(memory: &Memory, address: u64) -> u64 {
        memory.read_obj(GuestAddress(address)).unwrap()
    }

    #[test]
    fn the_page_tables_map_the_first_gib_to_itself_and_nothing_else() {
        let memory = Memory::from_ranges(&[(GuestAddress(0), 2 << 20)]).unwrap();
        write_tables(&memory).unwrap();
        for address in [0, 0x10_0000, 0x1234_5678, IDENTITY_MAPPED_BYTES - 1] {
            let pdpt = read(&memory, PML4.0 + 8 * (address >> 39)) & !0xfff;
            let pd = read(&memory, pdpt + 8 * (address >> 30 & 0x1ff)) & !0xfff;
            let entry = read(&memory, pd + 8 * (address >> 21 & 0x1ff));
            assert_eq!(
                entry & (PAGE_PRESENT | PAGE_WRITABLE | PAGE_LARGE),
                0x83,
                "at {address:#x}"
            );
            assert_eq!(entry & !0xfff, address & !0x1f_ffff, "at {address:#x}");
        }
        assert_eq!(read(&memory, PML4.0 + 8), 0);
        assert_eq!(read(&memory, PDPT.0 + 8), 0);
    }

    #[test]
    fn the_start_info_leads_to_the_command_line_and_the_memory() {
        let memory = Memory::from_ranges(&[(GuestAddress(0), 2 << 20)]).unwrap();
        write_start_info(&memory, 2 << 20, "timer=pit a,b").unwrap();
        let start_info: hvm_start_info = memory.read_obj(START_INFO).unwrap();
        assert_eq!((start_info.magic, start_info.version), (0x336e_c578, 1));
        let mut command_line = [0; 14];
        memory
            .read_slice(&mut command_line, GuestAddress(start_info.cmdline_paddr))
            .unwrap();
        assert_eq!(&command_line, b"timer=pit a,b\0");
        assert_eq!(start_info.memmap_entries, 1);
        let entry: hvm_memmap_table_entry = memory
            .read_obj(GuestAddress(start_info.memmap_paddr))
            .unwrap();
        assert_eq!((entry.addr, entry.size, entry.type_), (0, 2 << 20, 1));
    }
}
