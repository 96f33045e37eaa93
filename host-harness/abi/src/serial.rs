//! How the harness sends a guest's standard input over the serial line, so that any bytes may be
//! in it, and its end can be told.
//!
//! A serial line has no end. So the harness sends [`ESCAPE`] and [`END`] for it, and [`ESCAPE`]
//! twice for a byte that is one. This is known as byte stuffing, with ASCII's "data link escape"
//! and "end of transmission". The word [`ARGUMENT`] on the guest's command line tells that it is
//! done.

/// Begins a pair that stands for something else.
pub const ESCAPE: u8 = 0x10;

/// Behind [`ESCAPE`]: the end of the input.
pub const END: u8 = 0x04;

/// The argument of a guest whose serial line carries standard input in this form.
pub const ARGUMENT: &str = "serial=escaped";

/// Undoes the escaping, piece by piece.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unescape {
    /// An [`ESCAPE`] came whose other half did not.
    is_escaped: bool,
    has_ended: bool,
}

impl Unescape {
    /// At the beginning of the input.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            is_escaped: false,
            has_ended: false,
        }
    }

    /// Whether the end has come. What comes behind it is dropped.
    #[must_use]
    pub const fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Replaces received bytes by what they stand for, and returns how many these are. A pair that
    /// stands for nothing is dropped.
    pub fn decode(&mut self, bytes: &mut [u8]) -> usize {
        let mut length = 0;
        for index in 0..bytes.len() {
            let byte = bytes[index];
            let is_escaped = core::mem::take(&mut self.is_escaped);
            match byte {
                _ if self.has_ended => {}
                END if is_escaped => self.has_ended = true,
                ESCAPE if !is_escaped => self.is_escaped = true,
                _ if is_escaped && byte != ESCAPE => {}
                _ => {
                    bytes[length] = byte;
                    length += 1;
                }
            }
        }
        length
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::{vec, vec::Vec};

    fn decoded(pieces: &[&[u8]]) -> (Vec<u8>, bool) {
        let mut unescape = Unescape::new();
        let mut all = Vec::new();
        for piece in pieces {
            let mut bytes = piece.to_vec();
            let length = unescape.decode(&mut bytes);
            all.extend_from_slice(&bytes[..length]);
        }
        (all, unescape.has_ended())
    }

    #[test]
    fn what_is_no_escape_stays() {
        let all: Vec<u8> = (0..=u8::MAX).filter(|byte| *byte != ESCAPE).collect();
        assert_eq!(decoded(&[&all]), (all, false));
    }

    #[test]
    fn pairs_may_come_in_pieces() {
        assert_eq!(
            decoded(&[&[1, ESCAPE], &[ESCAPE, 2, ESCAPE], &[], &[END, 3]]),
            (vec![1, ESCAPE, 2], true)
        );
        assert_eq!(
            decoded(&[&[ESCAPE, ESCAPE, END, ESCAPE, END]]),
            (vec![ESCAPE, END], true)
        );
    }

    #[test]
    fn other_pairs_are_dropped() {
        assert_eq!(decoded(&[&[ESCAPE, b'a', b'b']]), (vec![b'b'], false));
    }
}
