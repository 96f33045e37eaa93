//! The guest's memory by virtual addresses, through the page tables of the stopped guest.

use kvm_bindings::kvm_sregs;
use vm_memory::{Bytes, GuestAddress};

use crate::vmm::kvm::boot::Memory;

pub(super) const CR0_PAGING: u64 = 1 << 31;
const CR4_FIVE_LEVELS: u64 = 1 << 12;
pub(super) const EFER_LONG_MODE: u64 = 1 << 10;
const PRESENT: u64 = 1;
const LARGE: u64 = 1 << 7;
/// The bits of an entry, and of CR3, that are an address.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
const PAGE: u64 = 4 << 10;

/// Returns the physical address, if this virtual one is mapped.
pub(super) fn translate(memory: &Memory, registers: &kvm_sregs, address: u64) -> Option<u64> {
    if registers.cr0 & CR0_PAGING == 0 {
        return Some(address);
    }
    let has_four_levels =
        registers.efer & EFER_LONG_MODE != 0 && registers.cr4 & CR4_FIVE_LEVELS == 0;
    let is_canonical = (address << 16).cast_signed() >> 16 == address.cast_signed();
    if !has_four_levels || !is_canonical {
        return None;
    }
    let mut table = registers.cr3 & ADDRESS;
    for shift in [39, 30, 21, 12] {
        let index = address >> shift & 0x1ff;
        let entry: u64 = memory.read_obj(GuestAddress(table + 8 * index)).ok()?;
        if entry & PRESENT == 0 {
            return None;
        }
        let is_page = shift == 12 || (shift < 39 && entry & LARGE != 0);
        if is_page {
            let offset = (1 << shift) - 1;
            return Some((entry & ADDRESS & !offset) | (address & offset));
        }
        table = entry & ADDRESS;
    }
    None
}

/// Reads into `data` up to the first address that is not mapped to memory; returns how much was
/// read.
pub(super) fn read(memory: &Memory, registers: &kvm_sregs, address: u64, data: &mut [u8]) -> usize {
    for_each_page(address, data.len(), |address, range| {
        let physical = translate(memory, registers, address)?;
        let piece = &mut data[range];
        memory.read_slice(piece, GuestAddress(physical)).ok()
    })
}

/// Writes `data` up to the first address that is not mapped to memory, whether the guest may write
/// there or not; returns how much was written.
pub(super) fn write(memory: &Memory, registers: &kvm_sregs, address: u64, data: &[u8]) -> usize {
    for_each_page(address, data.len(), |address, range| {
        let physical = translate(memory, registers, address)?;
        let piece = &data[range];
        memory.write_slice(piece, GuestAddress(physical)).ok()
    })
}

/// Calls `access` with the part of each page, until it fails; returns the length of the parts that
/// did not fail.
fn for_each_page(
    address: u64,
    length: usize,
    mut access: impl FnMut(u64, std::ops::Range<usize>) -> Option<()>,
) -> usize {
    let mut done = 0;
    while done < length {
        let Some(next) = address.checked_add(done as u64) else {
            break;
        };
        let piece = (length - done).min((PAGE - next % PAGE) as usize);
        if access(next, done..done + piece).is_none() {
            break;
        }
        done += piece;
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Maps 0xffff_8000_0000_0000 to 0x8000 by a small page, nothing after it, and the second GiB
    /// to the first by large pages.
    fn machine() -> (Memory, kvm_sregs) {
        let memory = Memory::from_ranges(&[(GuestAddress(0), 2 << 20)]).expect("there is memory");
        for (table, index, entry) in [
            (0x1000, 256, 0x2003),
            (0x2000, 0, 0x3003),
            (0x3000, 0, 0x4003),
            (0x4000, 0, 0x8000_0000_0000_8003_u64),
            (0x1000, 0, 0x5003),
            (0x5000, 1, 0x83),
            (0x5000, 2, !LARGE),
        ] {
            let at = GuestAddress(table + 8 * index);
            memory.write_obj(entry, at).expect("it is in memory");
        }
        let registers = kvm_sregs {
            cr0: CR0_PAGING,
            cr3: 0x1000,
            efer: EFER_LONG_MODE,
            ..Default::default()
        };
        (memory, registers)
    }

    const HIGH: u64 = 0xffff_8000_0000_0000;

    #[test]
    fn pages_of_each_size_are_found() {
        let (memory, registers) = machine();
        let physical = |address| translate(&memory, &registers, address);
        assert_eq!(physical(HIGH + 0x123), Some(0x8123));
        assert_eq!(physical(HIGH + 0x1000), None);
        assert_eq!(physical(0x4012_3456), Some(0x12_3456));
        assert_eq!(physical(0), None);
        // The table of this one is outside the memory.
        assert_eq!(physical(0x8000_0000), None);
        assert_eq!(physical(0x0000_8000_0000_0000), None, "not canonical");
    }

    #[test]
    fn without_paging_addresses_are_physical() {
        let (memory, mut registers) = machine();
        registers.cr0 = 0;
        assert_eq!(translate(&memory, &registers, 0x8123), Some(0x8123));
    }

    #[test]
    fn memory_is_read_and_written_up_to_the_end_of_what_is_mapped() {
        let (memory, registers) = machine();
        assert_eq!(write(&memory, &registers, HIGH + 0xffe, &[1, 2, 3]), 2);
        let mut data = [0; 3];
        assert_eq!(read(&memory, &registers, HIGH + 0xffe, &mut data), 2);
        assert_eq!(data, [1, 2, 0]);
        assert_eq!(read(&memory, &registers, u64::MAX, &mut data), 0);
        assert_eq!(
            read(&memory, &registers, 0x4000_0000 + (2 << 20), &mut data),
            0
        );
    }
}
