//! The guest's memory: RAM by the VMM's memory map, in pieces with holes between them, and what of it is
//! free.
//!
//! Addresses are physical; memory is mapped one to one, so they are virtual too.

use core::ops::Range;

use heapless::Vec;
use spin::Once;

/// I/O APIC and local APIC: the two large pages from 0xfec0_0000.
pub(crate) const APICS: Range<u64> = 0xfec0_0000..0xff00_0000;

/// Pieces of RAM, whole pages, in the order of their addresses, without overlaps.
pub(crate) type Pieces = Vec<Range<u64>, 32>;

/// Up to where addresses of either kind are the same.
const CANONICAL_END: u64 = 1 << 47;

const PAGE: u64 = 4 << 10;

struct Memory {
    ram: Pieces,
    free: Pieces,
}

static MEMORY: Once<Memory> = Once::new();

/// The RAM that the guest has from 2 MiB on, the image in it: whole pages, mapped, in the order of their
/// addresses. (What lies below is the VMM's at the start, and not mapped.)
///
/// ```no_run
/// let bytes: u64 = dormir_guest::memory::ram().iter().map(|piece| piece.end - piece.start).sum();
/// dormir_guest::println!("{} MiB", bytes >> 20);
/// ```
#[must_use]
pub fn ram() -> &'static [Range<u64>] {
    MEMORY.get().map_or(&[], |memory| &memory.ram)
}

/// What of [`ram`] is neither the image's nor the page tables': writable, not executable. With the feature
/// `alloc` it is the heap's; without, it is the program's own, and nothing else touches it.
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

/// Keeps what [`ram`] and [`free`] answer.
pub(crate) fn keep(ram: Pieces, free: Pieces) {
    MEMORY.call_once(|| Memory { ram, free });
}

/// Puts in order what a memory map names as RAM: from `start` on, without the interrupt controllers'
/// addresses, no byte twice.
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
        _ => Err("the VMM's memory map has no RAM where the image lies"),
    }
}
