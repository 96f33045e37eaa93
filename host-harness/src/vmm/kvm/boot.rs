//! Builds the guest's memory for its entry: its image, and the tables of
//! [`dormir_abi::direct_entry`].

use std::{fs::File, io};

use dormir_abi::{
    direct_entry::{IDENTITY_MAPPED_BYTES, LOWEST_IMAGE_ADDRESS},
    start_info,
};
use linux_loader::{
    configurator::{BootConfigurator, BootParams, pvh::PvhBootConfigurator},
    loader::elf::start_info::{hvm_memmap_table_entry, hvm_start_info},
};
use rustix::{
    fs::{MemfdFlags, SeekFrom, memfd_create, seek},
    io::Errno,
};
use vm_memory::{
    Address, Bytes, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap,
    GuestMemoryRegion,
};

use crate::vmm::{
    config::MAX_ARGUMENTS_LENGTH,
    error::RunError,
    image::{Image, ImageFile},
    limit::{Limit, Unstarted},
};

/// The guest's memory.
pub(super) type Memory = GuestMemoryMmap<()>;

/// The top-level page table, to which CR3 points.
pub(super) const PML4: GuestAddress = GuestAddress(0x1000);
const PDPT: GuestAddress = GuestAddress(0x2000);
const PD: GuestAddress = GuestAddress(0x3000);
/// The descriptors from which the segment registers are loaded.
pub(super) const GDT: GuestAddress = GuestAddress(0x4000);
/// The structure whose address the guest gets in RDI.
pub(super) const START_INFO: GuestAddress = GuestAddress(0x5000);
const MEMORY_MAP: GuestAddress = GuestAddress(0x5800);
const COMMAND_LINE: GuestAddress = GuestAddress(0x6000);

const _: () = assert!(
    COMMAND_LINE.0 + (MAX_ARGUMENTS_LENGTH as u64) < LOWEST_IMAGE_ADDRESS - 64,
    "the command line, with its nonce and a terminating NUL, ends below the image"
);

/// The descriptors for the selectors 0x08 and 0x10: flat, ring 0, already marked as accessed, so
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

/// The hole in the memory: the addresses up to 4 GiB belong to devices, among them the interrupt
/// controllers.
const HOLE: u64 = 3 << 30;
const HOLE_END: u64 = 4 << 30;

/// The first version with a memory map.
const START_INFO_VERSION: u32 = 1;

/// Makes a file with what a guest's memory has in it for the entry: where nothing is, it has holes.
pub(super) fn prepare(
    image: &Image<ImageFile>,
    memory_mib: u32,
    command_line: &str,
    limit: &Limit<'_>,
) -> Result<File, Unstarted> {
    let failed = |step| move |cause: String| RunError::GuestMemory { step, cause };
    let bytes = u64::from(memory_mib) << 20;
    let file =
        memory_file(bytes.min(HOLE)).map_err(|error| failed("prepared")(error.to_string()))?;
    let copy = file
        .try_clone()
        .map_err(|error| failed("prepared")(error.to_string()))?;
    let memory = reserve(bytes, Some(copy)).map_err(failed("reserved"))?;
    for piece in memory.iter() {
        let length = piece.len() as usize;
        // A keeper is a fork, and would keep it as long as it lives.
        // SAFETY: it changes nothing in this process, and forked processes do not access it. If it
        // fails, it only costs memory.
        unsafe { libc::madvise(piece.as_ptr().cast(), length, libc::MADV_DONTFORK) };
    }
    image.load(limit, |address, bytes| {
        memory
            .write_slice(bytes, GuestAddress(address))
            .map_err(|error| error.to_string())
    })?;
    write_tables(&memory)
        .map_err(|error| error.to_string())
        .map_err(failed("given page tables"))?;
    write_start_info(&memory, command_line).map_err(failed("given its boot information"))?;
    Ok(file)
}

fn memory_file(bytes: u64) -> io::Result<File> {
    let file = File::from(memfd_create("contents", MemfdFlags::CLOEXEC)?);
    file.set_len(bytes)?;
    Ok(file)
}

/// Allocates a guest's memory, and fills it with what was prepared.
pub(super) fn build_memory(memory_mib: u32, contents: &File) -> Result<Memory, RunError> {
    let failed = |step| move |cause: String| RunError::GuestMemory { step, cause };
    let memory = reserve(u64::from(memory_mib) << 20, None).map_err(failed("reserved"))?;
    fill(&memory, contents).map_err(failed("filled"))?;
    Ok(memory)
}

/// Copies the parts of the file that are no holes.
fn fill(memory: &Memory, mut contents: &File) -> Result<(), String> {
    let mut end = 0;
    loop {
        let start = match seek(contents, SeekFrom::Data(end)) {
            Ok(start) => start,
            // No more follows.
            Err(Errno::NXIO) => return Ok(()),
            Err(error) => return Err(error.to_string()),
        };
        end = seek(contents, SeekFrom::Hole(start)).map_err(|error| error.to_string())?;
        seek(contents, SeekFrom::Start(start)).map_err(|error| error.to_string())?;
        memory
            .read_exact_volatile_from(GuestAddress(start), &mut contents, (end - start) as usize)
            .map_err(|error| error.to_string())?;
    }
}

/// Reserves memory of this size, around the hole; what is below the hole is the file's, if there is
/// one. The kernel allocates pages only where the guest or its image accesses them.
fn reserve(bytes: u64, mut file: Option<File>) -> Result<Memory, String> {
    let pieces = [(0, bytes.min(HOLE)), (HOLE_END, bytes.saturating_sub(HOLE))];
    let ranges = pieces
        .into_iter()
        .filter(|(_, size)| *size > 0)
        .map(|(start, size)| {
            let file = file.take().map(|file| FileOffset::new(file, 0));
            Ok((GuestAddress(start), usize::try_from(size)?, file))
        })
        .collect::<Result<Vec<_>, std::num::TryFromIntError>>()
        .map_err(|error| error.to_string())?;
    Memory::from_ranges_with_files(&ranges).map_err(|error| error.to_string())
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
fn write_start_info(memory: &Memory, command_line: &str) -> Result<(), String> {
    let mut command_line = command_line.as_bytes().to_vec();
    command_line.push(0);
    memory
        .write_slice(&command_line, COMMAND_LINE)
        .map_err(|error| error.to_string())?;

    let entry = |piece: &vm_memory::GuestRegionMmap<()>| hvm_memmap_table_entry {
        addr: piece.start_addr().raw_value(),
        size: piece.len(),
        type_: start_info::RAM,
        reserved: 0,
    };
    let memory_map: Vec<_> = memory.iter().map(entry).collect();
    let info = hvm_start_info {
        magic: start_info::MAGIC,
        version: START_INFO_VERSION,
        cmdline_paddr: COMMAND_LINE.0,
        memmap_paddr: MEMORY_MAP.0,
        memmap_entries: memory_map.len() as u32,
        ..Default::default()
    };
    let mut parameters = BootParams::new(&info, START_INFO);
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
        write_start_info(&memory, "timer=pit a,b").unwrap();
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

    #[test]
    fn memory_has_a_hole_below_4_gib_and_the_rest_above() {
        let pieces = |bytes| -> Vec<(u64, u64)> {
            let memory = reserve(bytes, None).unwrap();
            let pieces = memory
                .iter()
                .map(|piece| (piece.start_addr().0, piece.len()));
            pieces.collect()
        };
        assert_eq!(pieces(2 << 20), [(0, 2 << 20)]);
        assert_eq!(pieces(3 << 30), [(0, 3 << 30)]);
        let just_above = (3 << 30) + (1 << 20);
        assert_eq!(pieces(just_above), [(0, 3 << 30), (4 << 30, 1 << 20)]);
    }

    #[test]
    fn what_was_prepared_is_in_the_memory_at_its_place() {
        let bytes = 64 << 20;
        let file = memory_file(bytes).unwrap();
        let prepared = reserve(bytes, Some(file.try_clone().unwrap())).unwrap();
        let places = [0, 0x10_0000, 0x12_3456, bytes - 8];
        for place in places {
            prepared.write_obj(place + 1, GuestAddress(place)).unwrap();
        }
        drop(prepared);
        let memory = build_memory(64, &file).unwrap();
        for place in places {
            assert_eq!(read(&memory, place), place + 1);
        }
        assert_eq!(read(&memory, 0x20_0000), 0);
        // The file is as it was, whatever the guest writes.
        memory.write_obj(7_u64, GuestAddress(0)).unwrap();
        assert_eq!(read(&build_memory(64, &file).unwrap(), 0), 1);
    }
}
