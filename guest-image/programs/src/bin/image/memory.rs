//! All RAM in the memory map, in pieces, belongs to the heap.

use alloc::vec::Vec;
use core::ops::Range;

use dormir_guest::{console::report, heap, memory};

const MIB: usize = 1 << 20;

/// Allocates the whole heap in blocks of 64 MiB, then of 1 MiB, and writes to both ends of each;
/// then reports how much there was, and its end.
pub(crate) fn check() {
    assert!(memory::ram().is_sorted_by_key(|piece| piece.start));
    let bytes =
        |pieces: &[Range<u64>]| -> u64 { pieces.iter().map(|piece| piece.end - piece.start).sum() };
    assert_eq!(bytes(memory::free()), (heap::used() + heap::free()) as u64);

    let mut blocks = Vec::<Vec<u8>>::with_capacity(4096);
    for size in [64 * MIB, MIB] {
        while blocks.len() < blocks.capacity() {
            let mut block = Vec::new();
            if block.try_reserve_exact(size).is_err() {
                break;
            }
            let bytes = block.spare_capacity_mut();
            bytes[0].write(1);
            bytes[size - 1].write(2);
            blocks.push(block);
        }
    }
    for block in &mut blocks {
        let bytes = block.spare_capacity_mut();
        // SAFETY: initialised above.
        let first = unsafe { bytes[0].assume_init() };
        // SAFETY: initialised above too.
        let last = unsafe { bytes[bytes.len() - 1].assume_init() };
        assert_eq!((first, last), (1, 2), "at {:p}", block.as_ptr());
    }
    let had: usize = blocks.iter().map(Vec::capacity).sum();
    report("had_mib", (had / MIB) as u64);
    report("ram_mib", bytes(memory::ram()) >> 20);
    report("pieces", memory::ram().len() as u64);
    let end = memory::ram().last().map_or(0, |piece| piece.end);
    report("end_mib", end >> 20);
}
