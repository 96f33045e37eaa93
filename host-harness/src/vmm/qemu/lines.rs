//! Reads what QEMU writes, line by line and within bounds.

use std::io::{BufRead, BufReader, Read};

/// The longest line that is read as one, in bytes.
const LIMIT: u64 = 64 << 10;

/// Calls `on_line` with each line of `stream`, line feed included, up to its end. A longer line
/// comes in pieces.
///
/// An error is treated as the end: QEMU may have ended, and there is no one to tell.
pub(super) fn for_each(stream: impl Read, mut on_line: impl FnMut(&[u8])) {
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    while stream
        .by_ref()
        .take(LIMIT)
        .read_until(b'\n', &mut line)
        .is_ok_and(|length| length > 0)
    {
        on_line(&line);
        line.clear();
    }
}
