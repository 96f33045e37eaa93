//! The host's replies, as bytes. `reply.rs` of the crate dormir-hyperlight-host writes them.

/// The version of the format.
pub(super) const VERSION: u64 = 1;

/// The number of words in a reply: eight bytes each, little-endian.
const WORDS: usize = 8;

/// A reply to `dormir_entry` or `dormir_wait`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: Status,
    pub(super) interrupts: bool,
    /// The generation of the guest's memory, which changes when a snapshot is restored. Not zero.
    pub(super) generation: u64,
    /// Sent back by the guest at its next entry: it shows the host whether the memory was restored.
    pub(super) stamp: u64,
    /// The host's time, in nanoseconds since an epoch of its own.
    pub(super) now: u64,
    /// The frequency of the TSC. Not zero.
    pub(super) tsc_hz: u64,
    /// The longest wait that the host allows, in nanoseconds.
    pub(super) longest_wait: u64,
}

/// The result of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Done,
    /// The wait would be longer than the host allows, and has not begun.
    TooLong,
    Cancelled,
}

impl Reply {
    /// Parses a reply; `None` if it is not a valid reply of this version.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (words, rest) = bytes.as_chunks::<8>();
        let words: &[[u8; 8]; WORDS] = words.try_into().ok()?;
        let word = |index: usize| u64::from_le_bytes(words[index]);
        let status = match word(1) & 0xff {
            0 => Status::Done,
            1 => Status::TooLong,
            2 => Status::Cancelled,
            _ => return None,
        };
        let reply = Self {
            status,
            interrupts: match word(2) {
                0 => false,
                1 => true,
                _ => return None,
            },
            generation: word(3),
            stamp: word(4),
            now: word(5),
            tsc_hz: word(6),
            longest_wait: word(7),
        };
        let is_sound = rest.is_empty()
            && word(0) == VERSION
            && reply.generation != 0
            // The clock needs a frequency: one tick is at most a second.
            && reply.tsc_hz != 0;
        is_sound.then_some(reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn bytes(words: &[u64]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    const SOUND: [u64; WORDS] = [VERSION, 0, 1, 2, 3, 4, 5, 6];

    #[test]
    fn a_reply_is_parsed_word_by_word() {
        let expected = Reply {
            status: Status::Done,
            interrupts: true,
            generation: 2,
            stamp: 3,
            now: 4,
            tsc_hz: 5,
            longest_wait: 6,
        };
        assert_eq!(Reply::parse(&bytes(&SOUND)), Some(expected));
    }

    #[test]
    fn invalid_replies_are_rejected() {
        for (index, wrong) in [(0, 2), (1, 3), (2, 2), (3, 0), (6, 0)] {
            let mut words = SOUND;
            words[index] = wrong;
            assert_eq!(Reply::parse(&bytes(&words)), None, "word {index}");
        }
        let sound = bytes(&SOUND);
        assert_eq!(Reply::parse(&sound[..sound.len() - 1]), None);
        assert_eq!(Reply::parse(&[&sound[..], &[0]].concat()), None);
        assert_eq!(Reply::parse(&[]), None);
    }

    proptest! {
        #[test]
        fn no_bytes_cause_a_panic(bytes: Vec<u8>) {
            let _ = Reply::parse(&bytes);
        }
    }
}
