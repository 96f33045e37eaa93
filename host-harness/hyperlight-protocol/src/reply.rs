//! Replies: from the host to the guest.

use crate::{
    MAX_MESSAGE, VERSION, join,
    record::{CallId, Kind, RECORD_HEADER, RecordHeader, are_sound, records},
    take, take_u32, take_u64,
};

/// How the exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ReplyStatus {
    /// The wait is over.
    Done = 0,
    /// The wait would be longer than the host allows, and has not begun.
    TooLong = 1,
    /// The host has cancelled the guest's call.
    Cancelled = 2,
    /// The host does not understand the batch, and has taken nothing of it.
    BadBatch = 3,
    /// The host's runtime does not run the guest's calls, so the wait would not end.
    Stalled = 4,
}

/// The header of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyHeader {
    /// How the exchange ended.
    pub status: ReplyStatus,
    /// Whether the sandbox has interrupts, so that an idle guest may halt.
    pub interrupts: bool,
    /// The generation of the guest's memory, which changes when a snapshot is restored. Not zero.
    pub generation: u64,
    /// The number of the batch that is answered.
    pub number: u64,
    /// The host's time, in nanoseconds since an epoch of its own.
    pub now: u64,
    /// The frequency of the TSC. Not zero.
    pub tsc_hz: u64,
    /// The longest wait that the host allows, in nanoseconds.
    pub longest_wait: u64,
}

impl ReplyHeader {
    /// The header's length, in bytes.
    pub const LEN: usize = 48;

    /// Writes the header.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        join(&[
            &VERSION.to_le_bytes(),
            &[self.status as u8, self.interrupts.into(), 0, 0],
            &self.generation.to_le_bytes(),
            &self.number.to_le_bytes(),
            &self.now.to_le_bytes(),
            &self.tsc_hz.to_le_bytes(),
            &self.longest_wait.to_le_bytes(),
        ])
    }

    fn take(bytes: &mut &[u8]) -> Option<Self> {
        if take_u32(bytes)? != VERSION {
            return None;
        }
        let [status, interrupts @ (0 | 1), 0, 0] = *take(bytes)? else {
            return None;
        };
        let header = Self {
            status: match status {
                0 => ReplyStatus::Done,
                1 => ReplyStatus::TooLong,
                2 => ReplyStatus::Cancelled,
                3 => ReplyStatus::BadBatch,
                4 => ReplyStatus::Stalled,
                _ => return None,
            },
            interrupts: interrupts == 1,
            generation: take_u64(bytes)?,
            number: take_u64(bytes)?,
            now: take_u64(bytes)?,
            tsc_hz: take_u64(bytes)?,
            longest_wait: take_u64(bytes)?,
        };
        // The clock needs a frequency: one tick is at most a second.
        (header.generation != 0 && header.tsc_hz != 0).then_some(header)
    }
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Status {
    /// The bytes are the function's result. Of a call with streams there are none.
    Done = 0,
    /// The function returned an error, whose message the bytes are.
    Host = 1,
    /// The function panicked.
    Panicked = 2,
    /// There is no function of that name.
    Unknown = 3,
    /// Too many calls are in flight.
    Busy = 4,
    /// The result is too large.
    TooLarge = 5,
    /// The call was ended. It may have had its effect.
    Lost = 6,
}

impl Status {
    fn from_word(word: u32) -> Option<Self> {
        Some(match word {
            0 => Self::Done,
            1 => Self::Host,
            2 => Self::Panicked,
            3 => Self::Unknown,
            4 => Self::Busy,
            5 => Self::TooLarge,
            6 => Self::Lost,
            _ => return None,
        })
    }
}

/// The length of a result's record without its bytes.
pub const RESULT_HEADER: usize = RECORD_HEADER + 12;

/// The length of the record by which the host asks for more of an input.
pub const MORE_LEN: usize = RECORD_HEADER + 4;

/// The length of a signal's record.
pub const SIGNAL_LEN: usize = RECORD_HEADER + 4;

/// What stands before the bytes of a result, or of a piece of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResultHeader {
    /// The call's number.
    pub id: CallId,
    /// How it ended.
    pub status: Status,
    /// The length of the whole result.
    pub total: u32,
    /// How much of it came before this piece.
    pub offset: u32,
}

impl ResultHeader {
    /// Writes the record's header for a piece of `length` bytes, which follow it.
    #[must_use]
    pub fn to_bytes(self, length: u32) -> [u8; RESULT_HEADER] {
        let header = RecordHeader {
            kind: Kind::Response,
            cid: self.id.0,
            payload_len: length.saturating_add(12),
        };
        join(&[
            &header.to_bytes(),
            &(self.status as u32).to_le_bytes(),
            &self.total.to_le_bytes(),
            &self.offset.to_le_bytes(),
        ])
    }
}

/// A record of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FromHost<'a> {
    /// A call has ended: its result, or the next piece of it.
    Result(ResultHeader, &'a [u8]),
    /// A piece of a call's output.
    Chunk {
        /// The call's number.
        id: CallId,
        /// How much of the output was sent before.
        offset: u32,
        /// The piece.
        bytes: &'a [u8],
    },
    /// The function has taken the first `offset` bytes of its input, so there is room for more.
    More {
        /// The call's number.
        id: CallId,
        /// How much it has taken.
        offset: u32,
    },
    /// An event was signalled.
    Signal {
        /// The event's number.
        event: u8,
        /// How often.
        count: u32,
    },
}

impl<'a> FromHost<'a> {
    /// Writes a signal.
    #[must_use]
    pub fn signal(event: u8, count: u32) -> [u8; SIGNAL_LEN] {
        let header = RecordHeader {
            kind: Kind::Signal,
            cid: event.into(),
            payload_len: 4,
        };
        join(&[&header.to_bytes(), &count.to_le_bytes()])
    }

    /// Writes a [`More`](Self::More).
    #[must_use]
    pub fn more(id: CallId, offset: u32) -> [u8; MORE_LEN] {
        let header = RecordHeader {
            kind: Kind::More,
            cid: id.0,
            payload_len: 4,
        };
        join(&[&header.to_bytes(), &offset.to_le_bytes()])
    }

    fn parse(header: RecordHeader, mut payload: &'a [u8]) -> Option<Self> {
        let id = CallId(header.cid);
        match header.kind {
            Kind::StreamChunk => Some(Self::Chunk {
                id,
                offset: take_u32(&mut payload)?,
                bytes: payload,
            }),
            Kind::More => {
                let offset = take_u32(&mut payload)?;
                payload.is_empty().then_some(Self::More { id, offset })
            }
            Kind::Response => {
                let result = ResultHeader {
                    id,
                    status: Status::from_word(take_u32(&mut payload)?)?,
                    total: take_u32(&mut payload)?,
                    offset: take_u32(&mut payload)?,
                };
                let end = u64::from(result.offset) + payload.len() as u64;
                (end <= result.total.into()).then_some(Self::Result(result, payload))
            }
            Kind::Signal => {
                let count = take_u32(&mut payload)?;
                let event = u8::try_from(header.cid).ok()?;
                payload.is_empty().then_some(Self::Signal { event, count })
            }
            _ => None,
        }
    }
}

/// A reply that was checked as a whole.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    /// Its header.
    pub header: ReplyHeader,
    records: &'a [u8],
}

impl<'a> Reply<'a> {
    /// Reads a reply; `None` if it is not sound, or of another version.
    #[must_use]
    pub fn parse(mut bytes: &'a [u8]) -> Option<Self> {
        if bytes.len() > MAX_MESSAGE {
            return None;
        }
        let header = ReplyHeader::take(&mut bytes)?;
        are_sound(records(bytes, FromHost::parse)).then_some(Self {
            header,
            records: bytes,
        })
    }

    /// Returns the records, in their order.
    pub fn records(&self) -> impl Iterator<Item = FromHost<'a>> {
        records(self.records, FromHost::parse).map_while(|record| record)
    }
}

#[cfg(test)]
mod tests;
