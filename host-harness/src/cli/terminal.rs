//! Filters a guest's console for a terminal: only text, line feeds, tabs and colours pass.
//!
//! Other control characters and sequences (which could move the cursor, overwrite the harness's own
//! messages, or type for the user) are shown escaped as in Rust: `\\u{1b}`, `\\r`, and `\\xff` for
//! a byte that is not UTF-8.

use std::io::Write;

/// The longest colour sequence that is recognised.
const LONGEST: usize = 64;

const ESCAPE: u8 = 0x1b;

/// A filter for a stream of bytes, in whatever pieces it arrives.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    /// The beginning of an incomplete character or sequence.
    held: Vec<u8>,
    /// The guest has set a colour or another rendition, and has not reset it.
    is_coloured: bool,
}

/// What to do with the first bytes that are held.
enum FilterStep {
    /// Wait for more.
    Wait,
    /// Pass this many bytes.
    Pass(usize),
    /// Show this many bytes escaped.
    Show(usize),
    /// Drop this many bytes.
    Drop(usize),
}

impl Filter {
    /// Filters `bytes`, after those that were held, and appends the result to `out`.
    pub(crate) fn pass(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        for &byte in bytes {
            self.held.push(byte);
            self.settle(out, false);
        }
    }

    /// Ends the stream: appends what was held, and resets the colours.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        self.settle(out, true);
        if std::mem::take(&mut self.is_coloured) {
            out.extend(b"\x1b[0m");
        }
    }

    fn settle(&mut self, out: &mut Vec<u8>, is_end: bool) {
        while !self.held.is_empty() {
            let length = match judge(&self.held) {
                FilterStep::Wait if is_end => show(&self.held[..1], out),
                FilterStep::Wait => return,
                FilterStep::Pass(length) => {
                    let passed = &self.held[..length];
                    if passed[0] == ESCAPE {
                        self.is_coloured = sets_rendition(passed);
                    }
                    out.extend(passed);
                    length
                }
                FilterStep::Show(length) => show(&self.held[..length], out),
                FilterStep::Drop(length) => length,
            };
            self.held.drain(..length);
        }
    }
}

fn judge(bytes: &[u8]) -> FilterStep {
    match bytes {
        [b'\n' | b'\t' | b' '..=b'~', ..] => FilterStep::Pass(1),
        [ESCAPE, ..] => judge_sequence(bytes),
        // The line ending of other systems.
        [b'\r', b'\n', ..] => FilterStep::Drop(1),
        [b'\r'] => FilterStep::Wait,
        _ => judge_character(bytes),
    }
}

/// Passes a sequence that sets colours or other renditions, such as `ESC [ 1 ; 31 m` (SGR, ECMA-48
/// 8.3.117).
fn judge_sequence(bytes: &[u8]) -> FilterStep {
    let Some(second) = bytes.get(1) else {
        return FilterStep::Wait;
    };
    let is_parameter = |byte: &u8| matches!(byte, b'0'..=b'9' | b';' | b':');
    let end = bytes.iter().skip(2).position(|byte| !is_parameter(byte));
    match end.map(|at| at + 2) {
        _ if *second != b'[' => FilterStep::Show(1),
        Some(end) if bytes[end] == b'm' => FilterStep::Pass(end + 1),
        None if bytes.len() < LONGEST => FilterStep::Wait,
        _ => FilterStep::Show(1),
    }
}

fn judge_character(bytes: &[u8]) -> FilterStep {
    let valid = match str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => match (error.valid_up_to(), error.error_len()) {
            (0, None) => return FilterStep::Wait,
            (0, Some(length)) => return FilterStep::Show(length),
            (valid, _) => str::from_utf8(&bytes[..valid]).unwrap_or_default(),
        },
    };
    match valid.chars().next() {
        Some(character) if character.is_control() => FilterStep::Show(character.len_utf8()),
        Some(character) => FilterStep::Pass(character.len_utf8()),
        None => FilterStep::Wait,
    }
}

/// Returns whether a colour sequence sets a rendition other than the default.
fn sets_rendition(sequence: &[u8]) -> bool {
    let parameters = &sequence[2..sequence.len() - 1];
    !parameters.iter().all(|byte| matches!(byte, b'0' | b';'))
}

/// Shows a character or invalid bytes escaped. Returns their number of bytes.
fn show(bytes: &[u8], out: &mut Vec<u8>) -> usize {
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            // Writing to a vector never fails.
            let _ = write!(out, "{}", character.escape_default());
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(pieces: &[&[u8]]) -> String {
        let (mut filter, mut out) = (Filter::default(), Vec::new());
        for piece in pieces {
            filter.pass(piece, &mut out);
        }
        filter.finish(&mut out);
        String::from_utf8(out).expect("text")
    }

    const CASES: &[(&[u8], &str)] = &[
        (b"plain\n\ttext ~", "plain\n\ttext ~"),
        (
            "größe 日本 e\u{301} \u{1f600}".as_bytes(),
            "größe 日本 e\u{301} \u{1f600}",
        ),
        (b"\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m"),
        (
            b"\x1b[1;38;5;200m\x1b[4:3mx\x1b[m",
            "\x1b[1;38;5;200m\x1b[4:3mx\x1b[m",
        ),
        (b"\x1b[31mred", "\x1b[31mred\x1b[0m"),
        (b"\x1b[2J\x1b[1;1Hx", "\\u{1b}[2J\\u{1b}[1;1Hx"),
        (b"\x1b[?25l\x1b[>4;2m", "\\u{1b}[?25l\\u{1b}[>4;2m"),
        (
            b"\x1b]0;title\x07\x1b]52;c;eA==\x1b\\",
            "\\u{1b}]0;title\\u{7}\\u{1b}]52;c;eA==\\u{1b}\\",
        ),
        (
            b"\x1bc\x1b\x1b[32mx\x1b[m",
            "\\u{1b}c\\u{1b}\x1b[32mx\x1b[m",
        ),
        (b"\x1b[3\n1m", "\\u{1b}[3\n1m"),
        (b"10%\r20%\r\n\0\x08\x7f", "10%\\r20%\n\\u{0}\\u{8}\\u{7f}"),
        // The control sequence introducer as one character, and as one byte.
        ("\u{9b}2J".as_bytes(), "\\u{9b}2J"),
        (
            b"\x9b2J \xff \xc3( \xe2\x82",
            "\\x9b2J \\xff \\xc3( \\xe2\\x82",
        ),
        (b"\x1b", "\\u{1b}"),
        (b"\x1b[31", "\\u{1b}[31"),
        (b"x\r", "x\\r"),
    ];

    #[test]
    fn a_terminal_is_given_text_and_colours_wherever_they_are_cut() {
        for (bytes, expected) in CASES {
            for cut in 0..=bytes.len() {
                let (head, tail) = bytes.split_at(cut);
                assert_eq!(&passed(&[head, tail]), expected, "cut at {cut}");
            }
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(&passed(&single), expected);
        }
    }

    #[test]
    fn a_sequence_without_end_is_not_waited_for() {
        let mut filter = Filter::default();
        let mut out = Vec::new();
        filter.pass(format!("\x1b[{}", "1".repeat(1 << 12)).as_bytes(), &mut out);
        assert!(out.starts_with(b"\\u{1b}[111"));
        assert!(filter.held.len() < LONGEST);
    }

    #[test]
    fn text_is_not_held() {
        let mut out = Vec::new();
        Filter::default().pass("a line, and a promp\u{fc}t> ".as_bytes(), &mut out);
        assert_eq!(out, "a line, and a promp\u{fc}t> ".as_bytes());
    }
}
