//! Records: what a guest tells the harness, on lines of their own between those of its console.
//!
//! A record is one line that begins with [`MARK`]; the harness takes it out of the console's text.
//! `<MARK>panic MESSAGE`, `<MARK>exception MESSAGE`, `<MARK>stat NAME VALUE`, `<MARK>samples NAME VALUES` and
//! `<MARK>time NANOS` are known.

use core::fmt;

/// The first byte of a record: ASCII's record separator, which no text console prints.
pub const MARK: u8 = 0x1e;

/// The longest record in bytes, mark and line feed included; what is longer is cut by the guest.
pub const MAX_LENGTH: usize = 512;

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// The guest panicked, with this message and place.
    Panic(&'a str),
    /// A processor exception ended the guest.
    Exception(&'a str),
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
    /// Reads a record from a line without its [`MARK`] and line feed; `None` if it is not one.
    #[must_use]
    pub fn parse(line: &'a str) -> Option<Self> {
        let (kind, rest) = line.split_once(' ')?;
        match kind {
            "panic" => Some(Self::Panic(rest)),
            "exception" => Some(Self::Exception(rest)),
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

/// Writes the record without [`MARK`] and line feed.
impl fmt::Display for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panic(message) => write!(f, "panic {message}"),
            Self::Exception(message) => write!(f, "exception {message}"),
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
    fn samples_are_read_in_their_order() {
        assert!(values("3 1 18446744073709551615").eq([3, 1, u64::MAX]));
    }

    #[test]
    fn what_is_no_record_is_none() {
        for line in [
            "",
            "panic",
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
