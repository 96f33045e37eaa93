//! Records: what a guest tells the harness, on lines of their own between those of its console.
//!
//! A record is one line that begins with [`MARK`], the run's [`Nonce`] and a blank; the harness takes it out of
//! the console's text. `panic MESSAGE`, `exception MESSAGE`, `exit CODE`, `stat NAME VALUE`,
//! `samples NAME VALUES` and `time NANOS` are known.
//!
//! The nonce is new in each run. Text that goes through a guest, such as a log of what others sent to it, does
//! not know it, and so cannot be taken for the guest's own word. A line that begins with [`MARK`] and has
//! another nonce, or none, is text.

use core::fmt;

/// The first byte of a record: ASCII's record separator.
pub const MARK: u8 = 0x1e;

/// The longest record in bytes, from mark to line feed; what is longer is cut by the guest.
pub const MAX_LENGTH: usize = 1024;

/// What the first word of the command line begins with where the harness gives a nonce. The guest's arguments
/// are what follows that word and one blank.
pub const NONCE_ARGUMENT: &str = "dormir.nonce=";

/// A number that only the harness and the guest's own code know: 64 bits, as hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nonce([u8; Self::DIGITS]);

impl Nonce {
    /// How many digits it has.
    pub const DIGITS: usize = 16;

    /// The nonce with these bits.
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

    /// Its digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // They are ASCII, whoever made it.
        core::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Takes the nonce off a command line: it, if there is one, and the guest's own arguments.
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
    /// The guest panicked, with this message and place.
    Panic(&'a str),
    /// A processor exception ended the guest.
    Exception(&'a str),
    /// The guest ends itself with this code. The exit port is written next.
    Exit(i32),
    /// A figure that the guest reports. The name ends in its unit: `halted_ns`, `polls`.
    Stat {
        /// What was counted: no white space.
        name: &'a str,
        /// The count.
        value: u64,
    },
    /// Figures of one kind, in their order. The records of one name make one series.
    Samples {
        /// What was measured: no white space.
        name: &'a str,
        /// Whole numbers, separated by single blanks: [`values`] reads them.
        values: &'a str,
    },
    /// What the guest's clock shows, in nanoseconds. The harness notes when it came.
    Time {
        /// Nanoseconds since any moment.
        nanos: u64,
    },
}

impl<'a> Record<'a> {
    /// Reads a record from what lies between its nonce's blank and its line feed; `None` if it is not one.
    #[must_use]
    pub fn parse(line: &'a str) -> Option<Self> {
        let (kind, rest) = line.split_once(' ')?;
        match kind {
            "panic" => Some(Self::Panic(rest)),
            "exception" => Some(Self::Exception(rest)),
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
            "time" => Some(Self::Time {
                nanos: rest.parse().ok()?,
            }),
            _ => None,
        }
    }
}

/// Writes the record without mark, nonce and line feed.
impl fmt::Display for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panic(message) => write!(f, "panic {message}"),
            Self::Exception(message) => write!(f, "exception {message}"),
            Self::Exit(code) => write!(f, "exit {code}"),
            Self::Stat { name, value } => write!(f, "stat {name} {value}"),
            Self::Samples { name, values } => write!(f, "samples {name} {values}"),
            Self::Time { nanos } => write!(f, "time {nanos}"),
        }
    }
}

/// The numbers in a [`Record::Samples`] that [was read](Record::parse).
pub fn values(text: &str) -> impl Iterator<Item = u64> {
    text.split(' ').filter_map(|value| value.parse().ok())
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;

    #[test]
    fn records_survive_the_console() {
        for record in [
            Record::Panic("src/main.rs:3:5: no such case"),
            Record::Exception("page fault at 0x0"),
            Record::Exit(0),
            Record::Exit(i32::MIN),
            Record::Stat {
                name: "halted_ns",
                value: u64::MAX,
            },
            Record::Samples {
                name: "timer/floor/poll",
                values: "1 0 18446744073709551615",
            },
            Record::Time { nanos: u64::MAX },
        ] {
            assert_eq!(Record::parse(&record.to_string()), Some(record));
        }
    }

    #[test]
    fn a_nonce_goes_through_the_command_line() {
        for (bits, digits) in [
            (0, "0000000000000000"),
            (0x0123_4567_89ab_cdef, "0123456789abcdef"),
            (u64::MAX, "ffffffffffffffff"),
        ] {
            let nonce = Nonce::new(bits);
            assert_eq!(nonce.as_str(), digits);
            for (behind, arguments) in [("", ""), (" ", ""), (" a=1  b", "a=1  b"), ("  c", " c")] {
                let line = std::format!("{NONCE_ARGUMENT}{nonce}{behind}");
                let split = Nonce::split_off(line.as_bytes());
                assert_eq!(split, (Some(nonce), arguments.as_bytes()), "{line:?}");
            }
        }
    }

    #[test]
    fn what_is_no_nonce_stays_an_argument() {
        for line in [
            "",
            "timer=pit",
            "dormir.nonce=",
            "dormir.nonce=0123456789abcde",
            "dormir.nonce=0123456789abcdef0",
            "dormir.nonce=0123456789ABCDEF",
            "dormir.nonce=0123456789abcde  x",
            " dormir.nonce=0123456789abcdef",
        ] {
            assert_eq!(
                Nonce::split_off(line.as_bytes()),
                (None, line.as_bytes()),
                "{line:?}"
            );
        }
    }

    #[test]
    fn samples_are_read_in_their_order() {
        assert!(values("3 1 18446744073709551615").eq([3, 1, u64::MAX]));
    }

    #[test]
    fn what_is_no_record_is_none() {
        for line in [
            "",
            "panic",
            "exit",
            "exit 2147483648",
            "exit 0 ",
            "stat polls",
            "stat polls many",
            "samples polls",
            "samples polls 1 many",
            "samples polls 1  2",
            "time 1 2",
            "noise 1 2",
        ] {
            assert_eq!(Record::parse(line), None, "{line:?}");
        }
    }
}
