//! Records: a guest's reports to the harness, on separate lines of its console.
//!
//! A record is one line that begins with [`MARK`], the run's [`Nonce`] and a space; the harness
//! removes it from the console's text. The kinds are `panic PLACE` [`SEPARATOR`] `MESSAGE`,
//! `exception MESSAGE`, `hang MESSAGE`, `stall MESSAGE`, `registers VALUES`, `interrupt FRAME RIP
//! RSP`, `stack WORDS`, `exit CODE`, `stat NAME VALUE`, `samples NAME VALUES`, `data NAME HEX`,
//! `time NANOS` and `input open`.
//!
//! The nonce is new in each run. Text that passes through a guest, such as a log of received data,
//! cannot contain it, and so cannot be mistaken for a record. A line that begins with [`MARK`] and
//! has another nonce, or none, is text.

use core::fmt;

use crate::backtrace::Registers;

/// The first byte of a record: ASCII's record separator.
pub const MARK: u8 = 0x1e;

/// The longest record in bytes, from mark to line feed; the guest cuts longer ones.
pub const MAX_LENGTH: usize = 1024;

/// The longest text of a [`Record::Panic`], [`Record::Exception`], [`Record::Hang`] or
/// [`Record::Stall`], in bytes.
pub const MAX_MESSAGE: usize = MAX_LENGTH - Nonce::DIGITS - "\x1e exception \n".len() - 1;

/// Replaces the end of a text that the guest cuts.
pub const DOTS: &str = "...";

/// Stands between the place of a panic and its message: ASCII's unit separator.
pub const SEPARATOR: char = '\x1f';

/// The kind of [`Record::Stack`].
pub const STACK: &str = "stack";

/// The longest name of data, in bytes.
pub const MAX_DATA_NAME: usize = 64;

/// The most names of data in one run. The harness drops what comes under further ones.
pub const MAX_DATA_NAMES: usize = 256;

/// The most bytes in one record of data, under the longest name.
pub const DATA_PIECE: usize =
    (MAX_LENGTH - Nonce::DIGITS - "\x1e data  \n".len() - MAX_DATA_NAME) / 2;

/// The beginning of the command line's first word, if the harness passes a nonce. The guest's
/// arguments follow that word and one space.
pub const NONCE_ARGUMENT: &str = "dormir.nonce=";

/// A number that only the harness and the guest's own code know: 64 bits, in hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nonce([u8; Self::DIGITS]);

impl Nonce {
    /// Its number of digits.
    pub const DIGITS: usize = 16;

    /// Makes the nonce with these bits.
    #[must_use]
    pub const fn new(bits: u64) -> Self {
        let mut digits = [0; Self::DIGITS];
        let mut at = 0;
        while at < Self::DIGITS {
            let digit = bits >> (4 * (Self::DIGITS - 1 - at)) & 0xf;
            digits[at] = b"0123456789abcdef"[digit as usize];
            at += 1;
        }
        Self(digits)
    }

    /// Returns its digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // The digits are always ASCII.
        core::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Splits a command line into the nonce, if there is one, and the guest's own arguments.
    #[must_use]
    pub fn split_off(command_line: &[u8]) -> (Option<Self>, &[u8]) {
        let nonce = || {
            let rest = command_line.strip_prefix(NONCE_ARGUMENT.as_bytes())?;
            let (digits, rest) = rest.split_first_chunk::<{ Self::DIGITS }>()?;
            let are_digits = digits
                .iter()
                .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
            let arguments = match rest {
                [] => rest,
                [b' ', arguments @ ..] => arguments,
                _ => return None,
            };
            are_digits.then_some((Self(*digits), arguments))
        };
        nonce().map_or((None, command_line), |(nonce, arguments)| {
            (Some(nonce), arguments)
        })
    }
}

/// Writes its digits.
impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// The guest panicked: with this task and location, [`SEPARATOR`], and this message.
    /// [`panic_parts`] parses them.
    Panic(&'a str),
    /// A processor exception ended the guest.
    Exception(&'a str),
    /// What the guest was doing when an NMI without a handler of the program's came: the harness
    /// sends one at the time limit.
    Hang(&'a str),
    /// What the guest's watchdog found. The registers and the stack come before it. The guest goes
    /// on, or ends itself with [`STALLED`](crate::exit::STALLED).
    Stall(&'a str),
    /// The registers where a panic, an exception or a hang was noticed. [`Self::Stack`] follows.
    Registers(Registers),
    /// The registers are those of an interrupt's handler, and this is what it interrupted.
    Interrupt {
        /// The address of the frame that the processor pushed.
        frame: u64,
        /// The instruction pointer in the frame.
        rip: u64,
        /// The stack pointer in the frame.
        rsp: u64,
    },
    /// Words of the stack, separated by single spaces: [`stack_words`] parses them.
    ///
    /// [`stack_words`]: crate::backtrace::stack_words
    Stack(&'a str),
    /// The guest ends itself with this code. It writes to the exit port next.
    Exit(i32),
    /// A figure that the guest reports. The name ends in its unit: `halted_ns`, `polls`.
    Stat {
        /// What was counted; without white space.
        name: &'a str,
        /// The count.
        value: u64,
    },
    /// Figures of one kind, in order. All records with the same name form one series.
    Samples {
        /// What was measured; without white space.
        name: &'a str,
        /// Whole numbers, separated by single spaces: [`values`] parses them.
        values: &'a str,
    },
    /// Bytes for the harness's user. All records with the same name form one value, in order.
    Data {
        /// What they are; [a file's name](is_data_name).
        name: &'a str,
        /// The bytes, two lower-case digits each: [`data_bytes`] parses them.
        hex: &'a str,
    },
    /// The time of the guest's clock, in nanoseconds. The harness records when it arrives.
    Time {
        /// Nanoseconds since an arbitrary moment.
        nanos: u64,
    },
    /// The guest has opened its serial line, and its input can be sent. What comes before is lost:
    /// opening clears the line's FIFO.
    InputOpen,
}

/// The text of a [`Record::InputOpen`].
const OPEN: &str = "open";

impl<'a> Record<'a> {
    /// Parses a record, from after the nonce's space up to the line feed; returns `None` if it is
    /// not one.
    #[must_use]
    pub fn parse(line: &'a str) -> Option<Self> {
        let (kind, rest) = line.split_once(' ')?;
        match kind {
            "panic" => Some(Self::Panic(rest)),
            "exception" => Some(Self::Exception(rest)),
            "hang" => Some(Self::Hang(rest)),
            "stall" => Some(Self::Stall(rest)),
            "registers" => Some(Self::Registers(Registers::parse(rest)?)),
            "interrupt" => {
                let mut values = rest
                    .split(' ')
                    .map(|value| u64::from_str_radix(value, 16).ok());
                let interrupt = Self::Interrupt {
                    frame: values.next()??,
                    rip: values.next()??,
                    rsp: values.next()??,
                };
                values.next().is_none().then_some(interrupt)
            }
            STACK => Some(Self::Stack(rest)),
            "exit" => Some(Self::Exit(rest.parse().ok()?)),
            "stat" => {
                let (name, value) = rest.split_once(' ')?;
                Some(Self::Stat {
                    name,
                    value: value.parse().ok()?,
                })
            }
            "samples" => {
                let (name, values) = rest.split_once(' ')?;
                let are_numbers = values.split(' ').all(|value| value.parse::<u64>().is_ok());
                are_numbers.then_some(Self::Samples { name, values })
            }
            "data" => {
                let (name, hex) = rest.split_once(' ')?;
                let are_digits = hex
                    .bytes()
                    .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
                let is_data = is_data_name(name) && are_digits && hex.len() % 2 == 0;
                is_data.then_some(Self::Data { name, hex })
            }
            "time" => Some(Self::Time {
                nanos: rest.parse().ok()?,
            }),
            "input" => (rest == OPEN).then_some(Self::InputOpen),
            _ => None,
        }
    }
}

/// Writes the record without mark, nonce and line feed.
impl fmt::Display for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, text) = match self {
            Self::Panic(message) => ("panic", message),
            Self::Exception(message) => ("exception", message),
            Self::Hang(message) => ("hang", message),
            Self::Stall(message) => ("stall", message),
            Self::Stack(words) => (STACK, words),
            Self::Registers(registers) => return write!(f, "registers {registers}"),
            Self::Interrupt { frame, rip, rsp } => {
                return write!(f, "interrupt {frame:x} {rip:x} {rsp:x}");
            }
            Self::Exit(code) => return write!(f, "exit {code}"),
            Self::Stat { name, value } => return write!(f, "stat {name} {value}"),
            Self::Samples { name, values } => return write!(f, "samples {name} {values}"),
            Self::Data { name, hex } => return write!(f, "data {name} {hex}"),
            Self::Time { nanos } => return write!(f, "time {nanos}"),
            Self::InputOpen => ("input", &OPEN),
        };
        write!(f, "{kind} {text}")
    }
}

/// Parses the text of a [`Record::Panic`]: returns the task and location, and the message. Without
/// [`SEPARATOR`] all is the message.
#[must_use]
pub fn panic_parts(text: &str) -> (&str, &str) {
    text.split_once(SEPARATOR).unwrap_or(("", text))
}

/// Returns whether the guest has cut this text to fit into [`MAX_MESSAGE`].
#[must_use]
pub fn is_cut(text: &str) -> bool {
    /// One less than the longest character, which would not have fitted.
    const LEFT: usize = 3;
    text.ends_with(DOTS) && text.len() + LEFT >= MAX_MESSAGE
}

/// Parses the numbers in a [`Record::Samples`] that [was parsed](Record::parse).
pub fn values(text: &str) -> impl Iterator<Item = u64> {
    text.split(' ').filter_map(|value| value.parse().ok())
}

/// Returns whether data can have this name: one that is a file's name everywhere, and stays in its
/// folder. It has ASCII letters, digits, `.`, `_` and `-`, at most [`MAX_DATA_NAME`] of them, and
/// begins with a letter or a digit.
#[must_use]
pub fn is_data_name(name: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    name.len() <= MAX_DATA_NAME
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.bytes().all(is_inner)
}

/// Parses the bytes in a [`Record::Data`] that [was parsed](Record::parse).
pub fn data_bytes(hex: &str) -> impl Iterator<Item = u8> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => byte - b'0',
        byte => byte.wrapping_sub(b'a' - 10),
    };
    let (pairs, _) = hex.as_bytes().as_chunks::<2>();
    pairs
        .iter()
        .map(move |[high, low]| digit(*high) << 4 | digit(*low))
}

#[cfg(test)]
mod tests;
