//! The guest's memory: the RAM in the VMM's memory map, in pieces, and which of it is free.
//!
//! Addresses are physical. Memory is mapped one to one, so they are virtual too.

use core::ops::Range;

use dormir_abi::ram::Pieces;
use spin::Once;

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
