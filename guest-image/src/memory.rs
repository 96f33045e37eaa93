//! The guest's memory: the RAM in the VMM's memory map, in pieces, and which of it is free.
//!
//! Addresses are physical. Memory is mapped one to one, so they are virtual too.

use core::ops::Range;

use heapless::Vec;
use spin::Once;

/// The I/O APIC and the local APIC: two large pages from 0xfec0_0000.
pub(crate) const APICS: Range<u64> = 0xfec0_0000..0xff00_0000;

/// Pieces of RAM: whole pages, ordered by address, without overlaps.
pub(crate) type Pieces = Vec<Range<u64>, 32>;

/// The end of the addresses that can be mapped one to one.
const CANONICAL_END: u64 = 1 << 47;

const PAGE: u64 = 4 << 10;

struct GuestMemory {
    ram: Pieces,
    free: Pieces,
}

static MEMORY: Once<GuestMemory> = Once::new();

/// The RAM from 2 MiB on, including the image: whole pages, mapped, ordered by address. (RAM below
/// 2 MiB contains the VMM's boot structures, and is not mapped.)
///
/// ```no_run
/// let bytes: u64 = dormir_guest::memory::ram().iter().map(|piece| piece.end - piece.start).sum();
/// dormir_guest::println!("{} MiB", bytes >> 20);
/// ```
#[must_use]
pub fn ram() -> &'static [Range<u64>] {
    MEMORY.get().map_or(&[], |memory| &memory.ram)
}

/// The part of [`ram`] that contains neither the image nor the page tables: writable, not
/// executable. With the feature `alloc` the heap uses it. Without, it belongs to the program.
///
/// ```no_run
/// let largest = dormir_guest::memory::free().iter().max_by_key(|piece| piece.end - piece.start);
/// let largest = largest.expect("there is RAM behind the image");
/// // Without the feature `alloc`:
/// let first = largest.start as *mut u64;
/// // SAFETY: mapped, writable, aligned, and used by nothing else.
/// unsafe { first.write(1) };
/// ```
#[must_use]
pub fn free() -> &'static [Range<u64>] {
    MEMORY.get().map_or(&[], |memory| &memory.free)
}

/// Stores what [`ram`] and [`free`] return.
pub(crate) fn keep(ram: Pieces, free: Pieces) {
    MEMORY.call_once(|| GuestMemory { ram, free });
}

/// Orders the RAM of a memory map, from `start` on. Leaves out the addresses of the interrupt
/// controllers, and merges overlaps.
pub(crate) fn pieces(
    ram: impl Iterator<Item = Range<u64>>,
    start: u64,
) -> Result<Pieces, &'static str> {
    let mut pieces = Pieces::new();
    for range in ram {
        for part in [start..APICS.start, APICS.end..CANONICAL_END] {
            let first = range.start.max(part.start).next_multiple_of(PAGE);
            let end = range.end.min(part.end) & !(PAGE - 1);
            if first >= end {
                continue;
            }
            let is_behind = |piece: &Range<u64>| piece.start > first;
            let index = pieces.iter().position(is_behind).unwrap_or(pieces.len());
            if pieces.insert(index, first..end).is_err() {
                return Err("the VMM's memory map has more than 32 pieces of RAM");
            }
        }
    }
    let mut taken = 0;
    for piece in &mut pieces {
        piece.start = piece.start.max(taken);
        taken = taken.max(piece.end);
    }
    pieces.retain(|piece| piece.start < piece.end);
    match pieces.first() {
        Some(first) if first.start == start => Ok(pieces),
        _ => Err("the VMM's memory map has no RAM at the addresses of the image"),
    }
}
