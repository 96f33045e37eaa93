//! A guest's RAM, as its VMM's memory map says.

use core::ops::Range;

use heapless::Vec;

/// The I/O APIC and the local APIC: two large pages from 0xfec0_0000.
pub const APICS: Range<u64> = 0xfec0_0000..0xff00_0000;

/// Pieces of RAM: whole pages, ordered by address, without overlaps.
pub type Pieces = Vec<Range<u64>, 32>;

/// The end of the addresses that can be mapped one to one.
pub const CANONICAL_END: u64 = 1 << 47;

const PAGE: u64 = 4 << 10;

/// RAM that is being collected, in the memory map's order.
#[derive(Debug)]
pub struct Collected {
    start: u64,
    pieces: Pieces,
}

impl Collected {
    /// None yet. What lies below `start` is left out.
    #[must_use]
    pub const fn from(start: u64) -> Self {
        Self {
            start,
            pieces: Pieces::new(),
        }
    }

    /// Adds a piece, without the addresses of the interrupt controllers.
    ///
    /// # Errors
    ///
    /// There are too many.
    pub fn add(&mut self, range: Range<u64>) -> Result<(), &'static str> {
        let pieces = &mut self.pieces;
        for part in [self.start..APICS.start, APICS.end..CANONICAL_END] {
            let (first, end) = (range.start.max(part.start), range.end.min(part.end));
            if first >= end {
                // Among them are addresses that cannot be rounded up.
                continue;
            }
            let (first, end) = (first.next_multiple_of(PAGE), end & !(PAGE - 1));
            if first >= end {
                continue;
            }
            let is_behind = |piece: &Range<u64>| piece.start > first;
            let index = pieces.iter().position(is_behind).unwrap_or(pieces.len());
            if pieces.insert(index, first..end).is_err() {
                return Err("the VMM's memory map has more than 32 pieces of RAM");
            }
        }
        Ok(())
    }

    /// Merges overlaps.
    ///
    /// # Errors
    ///
    /// The first piece does not begin at the start.
    pub fn ordered(self) -> Result<Pieces, &'static str> {
        let Self { start, mut pieces } = self;
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
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGE: u64 = 0x20_0000;
    const HOME: Range<u64> = IMAGE..64 << 20;

    fn ordered(ram: &[Range<u64>]) -> Result<Pieces, &'static str> {
        let mut collected = Collected::from(IMAGE);
        ram.iter()
            .try_for_each(|range| collected.add(range.clone()))?;
        collected.ordered()
    }

    #[test]
    fn ram_at_the_end_of_all_addresses_is_no_other_ram() {
        for start in [
            CANONICAL_END - 1,
            CANONICAL_END,
            u64::MAX - 4096,
            u64::MAX - 1,
        ] {
            let pieces = ordered(&[HOME, start..u64::MAX]);
            assert_eq!(pieces.as_deref(), Ok(&[HOME][..]), "{start:#x}");
        }
    }

    #[test]
    fn pieces_are_whole_pages_around_the_interrupt_controllers() {
        let all = 1..(4 << 30) + 5000;
        let pieces = ordered(core::slice::from_ref(&all)).expect("the image is in it");
        let behind = APICS.end..(4 << 30) + 4096;
        assert_eq!(&pieces[..], [IMAGE..APICS.start, behind]);
    }

    #[test]
    fn overlaps_are_merged_in_any_order() {
        let page = |number: u64| IMAGE + number * PAGE;
        let ranges = [page(1)..page(3), page(0)..page(2), page(0)..page(9)];
        let pieces = ordered(&ranges).expect("the image is in it");
        assert!(pieces.is_sorted_by(|one, other| one.end <= other.start));
        let pages: u64 = pieces.iter().map(|piece| piece.end - piece.start).sum();
        assert_eq!(pages, 9 * PAGE);
    }
}
