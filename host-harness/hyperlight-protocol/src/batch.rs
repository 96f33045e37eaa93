//! Batches: from the guest to the host.

use crate::{
    MAX_MESSAGE, VERSION, join,
    record::{CallId, Kind, RecordHeader, are_sound, records},
    take, take_u32, take_u64,
};

/// What a batch announces, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// The first batch of this call of a guest function.
    pub is_first: bool,
    /// The batch was sent before, without an answer.
    pub is_repeated: bool,
    /// Something else than the end of the wait can make the guest go on: calls are in flight, or
    /// events are awaited. So a wait that is too long is cut short, and is no error.
    pub expects: bool,
    /// The batch was sent before the reply to the one before it had arrived: over a connection
    /// alone.
    pub is_early: bool,
}

impl Flags {
    fn to_word(self) -> u32 {
        u32::from(self.is_first)
            | u32::from(self.is_repeated) << 1
            | u32::from(self.expects) << 2
            | u32::from(self.is_early) << 3
    }

    fn from_word(word: u32) -> Option<Self> {
        (word < 16).then_some(Self {
            is_first: word & 1 != 0,
            is_repeated: word & 2 != 0,
            expects: word & 4 != 0,
            is_early: word & 8 != 0,
        })
    }
}

/// The header of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// What the batch announces.
    pub flags: Flags,
    /// The generation of the last reply; 0 before the first.
    pub generation: u64,
    /// The number of this batch: 1 more than that of the last batch that was acknowledged.
    pub number: u64,
    /// How long to wait at most, in nanoseconds; [`NO_DEADLINE`](crate::NO_DEADLINE) if there is no
    /// limit.
    pub wait: u64,
    /// The most bytes of records in the reply.
    pub room: u32,
    /// A digest of the records of the batch's first attempt. The guest chooses how it is computed.
    pub digest: u64,
}

impl BatchHeader {
    /// The header's length, in bytes.
    pub const LEN: usize = 48;

    /// Writes the header.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        join(&[
            &VERSION.to_le_bytes(),
            &self.flags.to_word().to_le_bytes(),
            &self.generation.to_le_bytes(),
            &self.number.to_le_bytes(),
            &self.wait.to_le_bytes(),
            &self.room.to_le_bytes(),
            &[0; 4],
            &self.digest.to_le_bytes(),
        ])
    }

    fn take(bytes: &mut &[u8]) -> Option<Self> {
        if take_u32(bytes)? != VERSION {
            return None;
        }
        let flags = Flags::from_word(take_u32(bytes)?)?;
        let generation = take_u64(bytes)?;
        let number = take_u64(bytes)?;
        let wait = take_u64(bytes)?;
        let room = take_u32(bytes)?;
        if take_u32(bytes)? != 0 {
            return None;
        }
        Some(Self {
            flags,
            generation,
            number,
            wait,
            room,
            digest: take_u64(bytes)?,
        })
    }
}

/// A record of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToHost<'a> {
    /// Call the async function `name`.
    Call {
        /// The call's number.
        id: CallId,
        /// The function.
        name: &'a str,
        /// Its argument.
        argument: &'a [u8],
        /// Whether it has an input and an output.
        has_streams: bool,
    },
    /// End a call whose result the guest does not want any more.
    Cancel(CallId),
    /// Keep a result that was sent, although it was sent to its end, and send what follows. Or send
    /// the next piece of an output.
    More {
        /// The call's number.
        id: CallId,
        /// Where to go on: behind what has arrived, or from the beginning. At the result's end,
        /// nothing is sent until the guest asks again.
        offset: u32,
    },
    /// A piece of a call's input.
    Chunk {
        /// The call's number.
        id: CallId,
        /// How much of the input was sent before.
        offset: u32,
        /// The piece.
        bytes: &'a [u8],
    },
    /// The end of a call's input.
    End(CallId),
    /// Nothing: a call that was ended before it was sent.
    Void,
}

impl<'a> ToHost<'a> {
    fn parse(header: RecordHeader, mut payload: &'a [u8]) -> Option<Self> {
        let id = CallId(header.cid);
        let record = match header.kind {
            Kind::Request | Kind::StreamRequest => {
                let [length] = *take(&mut payload)?;
                let (name, argument) = payload.split_at_checked(length.into())?;
                payload = &[];
                let name = core::str::from_utf8(name).ok()?;
                Self::Call {
                    id,
                    name,
                    argument,
                    has_streams: header.kind == Kind::StreamRequest,
                }
            }
            Kind::StreamChunk => Self::Chunk {
                id,
                offset: take_u32(&mut payload)?,
                bytes: core::mem::take(&mut payload),
            },
            Kind::StreamEnd => Self::End(id),
            Kind::Cancel => Self::Cancel(id),
            Kind::Void => {
                payload = &[];
                Self::Void
            }
            Kind::More => Self::More {
                id,
                offset: take_u32(&mut payload)?,
            },
            _ => return None,
        };
        (header.cid != 0 && payload.is_empty()).then_some(record)
    }
}

/// A batch that was checked as a whole.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Its header.
    pub header: BatchHeader,
    records: &'a [u8],
}

impl<'a> Batch<'a> {
    /// Reads a batch; `None` if it is not sound, or of another version.
    #[must_use]
    pub fn parse(mut bytes: &'a [u8]) -> Option<Self> {
        if bytes.len() > MAX_MESSAGE {
            return None;
        }
        let header = BatchHeader::take(&mut bytes)?;
        are_sound(records(bytes, ToHost::parse)).then_some(Self {
            header,
            records: bytes,
        })
    }

    /// Returns the records, in their order.
    pub fn records(&self) -> impl Iterator<Item = ToHost<'a>> {
        records(self.records, ToHost::parse).map_while(|record| record)
    }
}

#[cfg(test)]
mod tests;
