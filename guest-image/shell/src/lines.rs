//! Lines of text from a reader of bytes.

use core::convert::Infallible;

use embedded_io_async::Read;
use heapless::Vec;

/// The longest line, in bytes.
const LONGEST: usize = 256;

/// What [`Lines::next`] returns.
pub(crate) enum Line<'a> {
    /// A line, without its end. Bytes that are not UTF-8 end it.
    Text(&'a str),
    /// A line that was longer, and is dropped.
    TooLong,
    /// The end of the input.
    End,
}

/// Splits what a reader returns into lines, which end in a line feed or a carriage return.
pub(crate) struct Lines<R> {
    reader: R,
    read: [u8; 64],
    /// What of `read` was not used.
    start: usize,
    end: usize,
    line: Vec<u8, LONGEST>,
    is_too_long: bool,
    /// A carriage return came last: a line feed behind it ends no other line.
    ends_in_return: bool,
}

impl<R: Read<Error = Infallible>> Lines<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self {
            reader,
            read: [0; 64],
            start: 0,
            end: 0,
            line: Vec::new(),
            is_too_long: false,
            ends_in_return: false,
        }
    }

    /// Waits for the next line.
    pub(crate) async fn next(&mut self) -> Line<'_> {
        self.line.clear();
        self.is_too_long = false;
        loop {
            while self.start < self.end {
                let byte = self.read[self.start];
                self.start += 1;
                let ends_in_return = core::mem::replace(&mut self.ends_in_return, byte == b'\r');
                match byte {
                    b'\n' if ends_in_return => {}
                    b'\n' | b'\r' if self.is_too_long => return Line::TooLong,
                    b'\n' | b'\r' => return self.text(),
                    byte => self.is_too_long |= self.line.push(byte).is_err(),
                }
            }
            let Ok(length) = self.reader.read(&mut self.read).await;
            (self.start, self.end) = (0, length);
            if length == 0 && self.line.is_empty() {
                return Line::End;
            }
            if length == 0 {
                // A last line without an end; the end itself comes again.
                return self.text();
            }
        }
    }

    fn text(&self) -> Line<'_> {
        let text = match core::str::from_utf8(&self.line) {
            Ok(text) => text,
            Err(error) => {
                let valid = &self.line[..error.valid_up_to()];
                core::str::from_utf8(valid).unwrap_or_default()
            }
        };
        Line::Text(text)
    }
}
