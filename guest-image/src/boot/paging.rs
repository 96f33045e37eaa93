//! The guest's own page tables. Memory is mapped one to one, and nothing is both writable and
//! executable. Low memory, so null pointers too, and a page below each stack are not mapped.

use core::ops::Range;

use x86_64::{
    PhysAddr,
    registers::control::{Cr0, Cr0Flags, Cr3, Cr3Flags, Efer, EferFlags},
    structures::paging::{PageTable, PageTableFlags, PhysFrame, page_table::PageTableEntry},
};

use super::{entry::BOOT_MAPPED_BYTES, image};
use crate::memory::{APICS, Pieces};

const PAGE: u64 = 4 << 10;
const LARGE_PAGE: u64 = 2 << 20;

/// Builds the tables in the RAM behind the image, loads them, and returns the RAM that is left.
///
/// # Safety
///
/// Ring 0; the boot page tables are loaded; `ram` is the RAM from the image's start on, and nothing
/// in it but the image is in use; called once.
pub(super) unsafe fn init(ram: &Pieces) -> Result<Pieces, &'static str> {
    let image = image::whole();
    let around = |piece: &&Range<u64>| piece.contains(&image.start) && piece.end >= image.end;
    let Some(home) = ram.iter().find(around) else {
        return Err("too little memory: it ends within the image");
    };
    let behind = image.end.next_multiple_of(PAGE);
    let mut frames = Frames {
        next: behind,
        end: home.end.min(BOOT_MAPPED_BYTES),
    };
    let root = frames.take()?;
    // SAFETY: a zeroed frame of its own, mapped one to one.
    let tables = unsafe { &mut *root };

    let writable = PageTableFlags::WRITABLE | PageTableFlags::NO_EXECUTE;
    let uncached = writable | PageTableFlags::NO_CACHE | PageTableFlags::WRITE_THROUGH;
    map(tables, &mut frames, image::text(), PageTableFlags::empty())?;
    map(
        tables,
        &mut frames,
        image::rodata(),
        PageTableFlags::NO_EXECUTE,
    )?;
    map(tables, &mut frames, image::data(), writable)?;
    for (_, stack) in image::stacks() {
        map(tables, &mut frames, stack, writable)?;
    }
    // The RAM behind the image, which contains the tables, and all other pieces.
    let unused = |piece: &Range<u64>, next| match piece == home {
        true => next..piece.end,
        false => piece.clone(),
    };
    for piece in ram {
        map(tables, &mut frames, unused(piece, behind), writable)?;
    }
    map(tables, &mut frames, APICS, uncached)?;

    // SAFETY: every x86-64 processor that this image boots on has NX; it only gives meaning to a
    // bit.
    unsafe { Efer::update(|flags| flags.insert(EferFlags::NO_EXECUTE_ENABLE)) };
    // SAFETY: the tables map all that is in use (code, data, stacks) where it is.
    unsafe {
        Cr3::write(
            PhysFrame::containing_address(PhysAddr::new(root as u64)),
            Cr3Flags::empty(),
        );
    }
    // SAFETY: makes read-only pages read-only for ring 0 too.
    unsafe { Cr0::update(|flags| flags.insert(Cr0Flags::WRITE_PROTECT)) };
    Ok(ram
        .iter()
        .map(|piece| unused(piece, frames.next))
        .filter(|piece| !piece.is_empty())
        .collect())
}

/// Frames for tables, taken one after another from the RAM behind the image.
struct Frames {
    next: u64,
    end: u64,
}

impl Frames {
    fn take(&mut self) -> Result<*mut PageTable, &'static str> {
        if self.next + PAGE > self.end {
            return Err("too little memory: the page tables do not fit behind the image");
        }
        let frame = self.next as *mut PageTable;
        self.next += PAGE;
        // SAFETY: unused RAM behind the image, mapped one to one, aligned to a page.
        unsafe { frame.write_bytes(0, 1) };
        Ok(frame)
    }
}

/// Maps whole pages, as large pages where they fit.
fn map(
    root: &mut PageTable,
    frames: &mut Frames,
    range: Range<u64>,
    flags: PageTableFlags,
) -> Result<(), &'static str> {
    let flags = flags | PageTableFlags::PRESENT;
    let mut address = range.start;
    while address < range.end {
        let third = next_table(&mut root[index(address, 3)], frames)?;
        let second = next_table(&mut third[index(address, 2)], frames)?;
        let entry = &mut second[index(address, 1)];
        if address.is_multiple_of(LARGE_PAGE) && range.end - address >= LARGE_PAGE {
            entry.set_addr(PhysAddr::new(address), flags | PageTableFlags::HUGE_PAGE);
            address += LARGE_PAGE;
            continue;
        }
        let first = next_table(entry, frames)?;
        let end = range.end.min((address + 1).next_multiple_of(LARGE_PAGE));
        while address < end {
            first[index(address, 0)].set_addr(PhysAddr::new(address), flags);
            address += PAGE;
        }
    }
    Ok(())
}

/// The index of the entry for `address` in a table of this level; level 0 is that of pages.
fn index(address: u64, level: u32) -> usize {
    (address >> (12 + 9 * level)) as usize % 512
}

/// The table that the entry points to. Allocates it if there is none.
fn next_table<'a>(
    entry: &'a mut PageTableEntry,
    frames: &mut Frames,
) -> Result<&'a mut PageTable, &'static str> {
    if entry.is_unused() {
        let frame = frames.take()?;
        entry.set_addr(
            PhysAddr::new(frame as u64),
            PageTableFlags::PRESENT | PageTableFlags::WRITABLE,
        );
    }
    // SAFETY: the entry was made above, with the address of a zeroed frame that is a table and is
    // reached through this entry only; frames are mapped one to one.
    Ok(unsafe { &mut *(entry.addr().as_u64() as *mut PageTable) })
}
