//! The guest's own page tables. Memory is mapped one to one, and nothing is both writable and
//! executable. Low memory, so null pointers too, and a page below each stack are not mapped.
//! Devices' memory is mapped on request.

use core::{cell::RefCell, ops::Range};

use critical_section::Mutex;
use dormir_abi::ram::{APICS, Pieces};
use x86_64::{
    PhysAddr,
    registers::control::{Cr0, Cr0Flags, Cr3, Cr3Flags, Efer, EferFlags},
    structures::paging::{PageTable, PageTableFlags, PhysFrame, page_table::PageTableEntry},
};

use super::{entry::BOOT_MAPPED_BYTES, image};

const PAGE: u64 = 4 << 10;
const LARGE_PAGE: u64 = 2 << 20;

/// The tables that are set aside for the memory of devices: enough for devices in eight places of
/// 2 MiB that have none, such as those of virtio-mmio or of PCI, below 4 GiB.
const SPARE_TABLES: u64 = 8;

/// Memory of devices: not cached.
const DEVICE: PageTableFlags = PageTableFlags::WRITABLE
    .union(PageTableFlags::NO_EXECUTE)
    .union(PageTableFlags::NO_CACHE)
    .union(PageTableFlags::WRITE_THROUGH);

/// The tables, since they are loaded.
static TABLES: Mutex<RefCell<Option<Tables>>> = Mutex::new(RefCell::new(None));

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
    let mut tables = Tables {
        // SAFETY: a zeroed frame of its own, mapped one to one.
        root: unsafe { &mut *root },
        frames,
    };
    let writable = PageTableFlags::WRITABLE | PageTableFlags::NO_EXECUTE;
    tables.map(image::text(), PageTableFlags::empty())?;
    tables.map(image::rodata(), PageTableFlags::NO_EXECUTE)?;
    tables.map(image::data(), writable)?;
    for (_, stack) in image::stacks() {
        tables.map(stack, writable)?;
    }
    // The RAM behind the image, which contains the tables, and all other pieces.
    let unused = |piece: &Range<u64>, next| match piece == home {
        true => next..piece.end,
        false => piece.clone(),
    };
    for piece in ram {
        tables.map(unused(piece, behind), writable)?;
    }
    tables.map(APICS, DEVICE)?;
    let free = tables.frames.set_aside(SPARE_TABLES)?;

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
    critical_section::with(|cs| TABLES.replace(cs, Some(tables)));
    Ok(ram
        .iter()
        .map(|piece| unused(piece, free))
        .filter(|piece| !piece.is_empty())
        .collect())
}

/// Maps whole pages as a device's memory, which is no RAM. What is mapped already is left as it is.
/// If there are too few tables, nothing is mapped.
pub(crate) fn map_device(range: Range<u64>) -> Result<(), &'static str> {
    critical_section::with(|cs| match &mut *TABLES.borrow_ref_mut(cs) {
        Some(tables) if !tables.has_frames_for(&range) => Err(TOO_LITTLE),
        Some(tables) => tables.map(range, DEVICE),
        None => Err("the page tables are not set up"),
    })
}

struct Tables {
    root: &'static mut PageTable,
    frames: Frames,
}

const TOO_LITTLE: &str = "too little memory: the page tables do not fit behind the image";

/// Frames for tables, taken one after another from the RAM behind the image.
struct Frames {
    next: u64,
    end: u64,
}

impl Frames {
    fn left(&self) -> u64 {
        (self.end - self.next) / PAGE
    }

    /// Keeps `count` frames for later, and no more. Returns the end of all frames.
    fn set_aside(&mut self, count: u64) -> Result<u64, &'static str> {
        let end = self.next + count * PAGE;
        if end > self.end {
            return Err(TOO_LITTLE);
        }
        self.end = end;
        Ok(end)
    }

    fn take(&mut self) -> Result<*mut PageTable, &'static str> {
        if self.next + PAGE > self.end {
            return Err(TOO_LITTLE);
        }
        let frame = self.next as *mut PageTable;
        self.next += PAGE;
        // SAFETY: unused RAM behind the image, mapped one to one, aligned to a page.
        unsafe { frame.write_bytes(0, 1) };
        Ok(frame)
    }
}

impl Tables {
    /// Whether there are frames for the tables that are missing for these pages.
    fn has_frames_for(&self, range: &Range<u64>) -> bool {
        let mut left = self.frames.left();
        // From the top, which keeps a range that is far too large from being looked through.
        (0..3).rev().all(|level| {
            let bits = 21 + 9 * level;
            let spans = range.start >> bits..=(range.end - 1) >> bits;
            let is_missing = |span: &u64| {
                let start = span << bits;
                // A large page needs no table of pages.
                let is_large =
                    level == 0 && range.start <= start && start + LARGE_PAGE <= range.end;
                !is_large && !self.has_table(start, level)
            };
            let missing = spans.filter(is_missing).take(left as usize + 1).count() as u64;
            let fits = missing <= left;
            left = left.saturating_sub(missing);
            fits
        })
    }

    /// Whether there is a table of this level for `address`, or a large page in its place.
    fn has_table(&self, address: u64, level: u32) -> bool {
        let mut table = &*self.root;
        for above in (level + 1..4).rev() {
            let entry = &table[index(address, above)];
            if entry.is_unused() {
                return false;
            }
            if entry.flags().contains(PageTableFlags::HUGE_PAGE) {
                return true;
            }
            // SAFETY: as in `next_table`, but shared.
            table = unsafe { &*(entry.addr().as_u64() as *const PageTable) };
        }
        true
    }

    /// Maps whole pages, as large pages where they fit. Pages that are mapped stay as they are.
    fn map(&mut self, range: Range<u64>, flags: PageTableFlags) -> Result<(), &'static str> {
        let Self { root, frames } = self;
        let flags = flags | PageTableFlags::PRESENT;
        let mut address = range.start;
        while address < range.end {
            let third = next_table(&mut root[index(address, 3)], frames)?;
            let second = next_table(&mut third[index(address, 2)], frames)?;
            let entry = &mut second[index(address, 1)];
            let end = range.end.min((address + 1).next_multiple_of(LARGE_PAGE));
            if entry.flags().contains(PageTableFlags::HUGE_PAGE) {
                address = end;
                continue;
            }
            let is_whole = address.is_multiple_of(LARGE_PAGE) && end - address == LARGE_PAGE;
            if is_whole && entry.is_unused() {
                entry.set_addr(PhysAddr::new(address), flags | PageTableFlags::HUGE_PAGE);
                address = end;
                continue;
            }
            let first = next_table(entry, frames)?;
            while address < end {
                let page = &mut first[index(address, 0)];
                if page.is_unused() {
                    page.set_addr(PhysAddr::new(address), flags);
                }
                address += PAGE;
            }
        }
        Ok(())
    }
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
