//! What a VMM tells a guest when it starts, as `dormir-guest` reads it.

use std::ops::Range;

use dormir_abi::{
    MAX_COMMAND_LINE,
    ram::{APICS, CANONICAL_END, Collected, Pieces},
    record::Nonce,
    start_info::{COMMAND_LINE_BYTES, Memory, StartInfo, arguments},
};

/// Where the bytes are in memory, and where the image begins.
const ADDRESS: u64 = 0x10_0000;
const IMAGE: u64 = 0x20_0000;

/// Memory that has these bytes, and no others.
struct Bytes<'a>(&'a [u8]);

impl Memory for Bytes<'_> {
    fn read(&self, address: u64, bytes: &mut [u8]) -> bool {
        let from = address.checked_sub(ADDRESS).map(|from| from as usize);
        let found = from.and_then(|from| self.0.get(from..)?.get(..bytes.len()));
        found.map(|found| bytes.copy_from_slice(found)).is_some()
    }
}

/// Reads any bytes as a start info, with its command line and its memory map.
pub(super) fn start_info(bytes: &[u8]) {
    let memory = Bytes(bytes);
    let Ok(info) = StartInfo::read(&memory, ADDRESS) else {
        return;
    };
    let mut buffer = [0; COMMAND_LINE_BYTES];
    if let Ok(Some(line)) = info.command_line(&memory, &mut buffer) {
        assert!(!line.contains(&0));
        let (_, line) = Nonce::split_off(line);
        let is_text = str::from_utf8(line).is_ok() && line.len() <= MAX_COMMAND_LINE;
        let found = arguments(line).map(str::as_bytes);
        assert_eq!(found.ok(), is_text.then_some(line));
    }
    let (mut ram, mut collected) = (Vec::new(), Collected::from(IMAGE));
    let read = info.for_each_ram(&memory, |range| {
        ram.push(range.clone());
        collected.add(range)
    });
    if read.is_ok()
        && let Ok(pieces) = collected.ordered()
    {
        check(&pieces, &ram);
    }
}

/// The pieces are whole pages in order, and an address is in one if and only if it is in a whole
/// page of RAM, not below the image, and not an interrupt controller's.
fn check(pieces: &Pieces, ram: &[Range<u64>]) {
    const PAGE: u64 = 4096;
    assert_eq!(pieces[0].start, IMAGE);
    assert!(pieces.is_sorted_by(|one, other| one.end <= other.start));
    for piece in pieces {
        assert!(piece.start < piece.end && piece.end <= CANONICAL_END);
        assert!((piece.start | piece.end).is_multiple_of(PAGE));
        assert!(piece.end <= APICS.start || piece.start >= APICS.end);
    }
    // What can differ are the pages at the ends of pieces.
    let ends = |range: &Range<u64>| [range.start, range.end];
    for end in ram.iter().chain(pieces).flat_map(ends) {
        for page in [end.saturating_sub(PAGE), end, end.saturating_add(PAGE)] {
            let page = page & !(PAGE - 1);
            let is_whole = |range: &Range<u64>| {
                range.start <= page && page.checked_add(PAGE).is_some_and(|end| end <= range.end)
            };
            let is_usable = (IMAGE..CANONICAL_END).contains(&page) && !APICS.contains(&page);
            let expected = is_usable && ram.iter().any(is_whole);
            let found = pieces.iter().any(|piece| piece.contains(&page));
            assert_eq!(found, expected, "{page:#x}");
        }
    }
}
