//! Messages on a stream of bytes: each after its length, four bytes, the lowest first.

use crate::MAX_MESSAGE;

/// What comes before a message.
pub type Prefix = [u8; 4];

/// Returns what comes before a message of `length` bytes, at most [`MAX_MESSAGE`].
#[must_use]
pub const fn prefix(length: usize) -> Prefix {
    debug_assert!(length <= MAX_MESSAGE);
    (length as u32).to_le_bytes()
}

/// Returns the length of the message that follows; `None` if no message is so long.
#[must_use]
pub const fn length(prefix: Prefix) -> Option<usize> {
    let length = u32::from_le_bytes(prefix) as usize;
    if length <= MAX_MESSAGE {
        Some(length)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_beyond_the_limit_is_none() {
        for expected in [0, 1, 0x1234, MAX_MESSAGE] {
            assert_eq!(length(prefix(expected)), Some(expected));
        }
        for wrong in [MAX_MESSAGE as u32 + 1, u32::MAX] {
            assert_eq!(length(wrong.to_le_bytes()), None);
        }
    }
}
