//! What a guest reports of its stack, from which the harness makes a backtrace.
//!
//! The guest does not unwind. It reports its registers and the words of its stack that can be
//! return addresses or saved stack pointers. The harness unwinds these by the call frame
//! information in the ELF file's debug information. So a guest needs no frame pointers, no unwind
//! tables and no code in its functions.

use core::fmt;

/// The registers that a called function preserves, the stack pointer and the instruction pointer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Registers {
    /// The address of the instruction.
    pub rip: u64,
    /// The stack pointer.
    pub rsp: u64,
    /// A preserved register; in some functions it points to their frame.
    pub rbp: u64,
    /// A preserved register.
    pub rbx: u64,
    /// R12 to R15, which are preserved.
    pub r12_to_r15: [u64; 4],
}

impl Registers {
    /// Parses what [`Display`](fmt::Display) writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut values = [0; 8];
        let mut words = text.split(' ');
        for value in &mut values {
            *value = u64::from_str_radix(words.next()?, 16).ok()?;
        }
        let [rip, rsp, rbp, rbx, r12_to_r15 @ ..] = values;
        words.next().is_none().then_some(Self {
            rip,
            rsp,
            rbp,
            rbx,
            r12_to_r15,
        })
    }
}

/// Writes the values as hexadecimal numbers, in the order of the fields.
impl fmt::Display for Registers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            rip,
            rsp,
            rbp,
            rbx,
            r12_to_r15: [r12, r13, r14, r15],
        } = self;
        write!(
            f,
            "{rip:x} {rsp:x} {rbp:x} {rbx:x} {r12:x} {r13:x} {r14:x} {r15:x}"
        )
    }
}

/// The most stack words that a guest reports, innermost first: enough for some fifty calls. A
/// report stays shorter than 8 KiB.
pub const MAX_STACK_WORDS: usize = 320;

/// A word of a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackWord {
    /// Its address.
    pub address: u64,
    /// Its value.
    pub value: u64,
}

impl StackWord {
    /// The longest that [`Display`](fmt::Display) writes.
    pub const MAX_LENGTH: usize = 2 * 16 + 1;

    /// Parses what [`Display`](fmt::Display) writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, value) = text.split_once('=')?;
        Some(Self {
            address: u64::from_str_radix(address, 16).ok()?,
            value: u64::from_str_radix(value, 16).ok()?,
        })
    }
}

/// Writes address and value as hexadecimal numbers: `2140f8=20013c`.
impl fmt::Display for StackWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}={:x}", self.address, self.value)
    }
}

/// Parses the words in a [`Record::Stack`](crate::record::Record::Stack). What is not a word is
/// left out.
pub fn stack_words(text: &str) -> impl Iterator<Item = StackWord> {
    text.split(' ').filter_map(StackWord::parse)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::{format, string::ToString};

    #[test]
    fn registers_survive_the_console() {
        let registers = Registers {
            rip: 0x20_0000,
            rsp: u64::MAX,
            rbp: 0,
            rbx: 1,
            r12_to_r15: [12, 13, 14, 15],
        };
        let text = registers.to_string();
        assert_eq!(Registers::parse(&text), Some(registers));
        assert_eq!(Registers::parse(&format!("{text} 0")), None);
        assert_eq!(Registers::parse("1 2 3"), None);
        assert_eq!(Registers::parse("1 2 3 4 5 6 7 x"), None);
    }

    #[test]
    fn stack_words_survive_the_console() {
        let word = StackWord {
            address: u64::MAX,
            value: u64::MAX,
        };
        assert_eq!(word.to_string().len(), StackWord::MAX_LENGTH);
        let other = StackWord {
            address: 0x21_40f8,
            value: 0,
        };
        let text = format!("{word} {other}");
        assert!(stack_words(&text).eq([word, other]), "{text}");
        assert!(stack_words("1 =2 3= 4=5g").next().is_none());
    }
}
