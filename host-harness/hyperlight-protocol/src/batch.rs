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
}

impl Flags {
    fn to_word(self) -> u32 {
        u32::from(self.is_first) | u32::from(self.is_repeated) << 1 | u32::from(self.expects) << 2
    }

    fn from_word(word: u32) -> Option<Self> {
        (word < 8).then_some(Self {
            is_first: word & 1 != 0,
            is_repeated: word & 2 != 0,
            expects: word & 4 != 0,
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
    },
    /// End a call whose result the guest does not want any more.
    Cancel(CallId),
    /// Keep a result that was sent, although it was sent to its end, and send what follows.
    More {
        /// The call's number.
        id: CallId,
        /// Where to go on: behind what has arrived, or from the beginning. At the result's end,
        /// nothing is sent until the guest asks again.
        offset: u32,
    },
    /// Nothing: a call that was ended before it was sent.
    Void,
}

impl<'a> ToHost<'a> {
    fn parse(header: RecordHeader, mut payload: &'a [u8]) -> Option<Self> {
        let id = CallId(header.cid);
        let record = match header.kind {
            Kind::Request => {
                let [length] = *take(&mut payload)?;
                let (name, argument) = payload.split_at_checked(length.into())?;
                payload = &[];
                let name = core::str::from_utf8(name).ok()?;
                Self::Call { id, name, argument }
            }
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
mod tests {
    use super::*;
    use crate::{MAX_RECORDS, RECORD_HEADER};
    use proptest::prelude::*;
    use std::{string::String, vec, vec::Vec};

    const HEADER: BatchHeader = BatchHeader {
        flags: Flags {
            is_first: true,
            is_repeated: false,
            expects: true,
        },
        generation: 1,
        number: 2,
        wait: 3,
        room: 4,
        digest: 5,
    };

    fn write(header: BatchHeader, records: &[ToHost<'_>]) -> Vec<u8> {
        let mut bytes = header.to_bytes().to_vec();
        for record in records {
            let mut payload = Vec::new();
            let (kind, id) = match *record {
                ToHost::Call { id, name, argument } => {
                    payload.push(name.len() as u8);
                    payload.extend_from_slice(name.as_bytes());
                    payload.extend_from_slice(argument);
                    (Kind::Request, id)
                }
                ToHost::Cancel(id) => (Kind::Cancel, id),
                ToHost::More { id, offset } => {
                    payload.extend_from_slice(&offset.to_le_bytes());
                    (Kind::More, id)
                }
                ToHost::Void => {
                    payload.extend_from_slice(b"anything");
                    (Kind::Void, CallId(1))
                }
            };
            let header = RecordHeader {
                kind,
                cid: id.0,
                payload_len: payload.len() as u32,
            };
            bytes.extend_from_slice(&header.to_bytes());
            bytes.extend_from_slice(&payload);
        }
        bytes
    }

    #[derive(Clone, Debug)]
    enum Owned {
        Call(u32, String, Vec<u8>),
        Cancel(u32),
        More(u32, u32),
        Void,
    }

    impl Owned {
        fn borrow(&self) -> ToHost<'_> {
            match self {
                Self::Call(id, name, argument) => ToHost::Call {
                    id: CallId(*id),
                    name,
                    argument,
                },
                Self::Cancel(id) => ToHost::Cancel(CallId(*id)),
                Self::More(id, offset) => ToHost::More {
                    id: CallId(*id),
                    offset: *offset,
                },
                Self::Void => ToHost::Void,
            }
        }
    }

    fn record() -> impl Strategy<Value = Owned> {
        let bytes = proptest::collection::vec(any::<u8>(), 0..40);
        prop_oneof![
            (1_u32.., "[a-zé]{0,9}", bytes)
                .prop_map(|(id, name, bytes)| Owned::Call(id, name, bytes)),
            (1_u32..).prop_map(Owned::Cancel),
            (1_u32.., any::<u32>()).prop_map(|(id, offset)| Owned::More(id, offset)),
            Just(Owned::Void),
        ]
    }

    #[test]
    fn unsound_batches_are_refused() {
        let call = ToHost::Call {
            id: CallId(9),
            name: "fetch",
            argument: b"abc",
        };
        let sound = write(HEADER, &[call]);
        assert!(Batch::parse(&sound).is_some());
        let record = BatchHeader::LEN;
        for (index, wrong) in [
            (0, 1),              // another version
            (4, 8),              // an unknown flag
            (36, 1),             // a reserved byte
            (record, 2),         // a kind that only the host sends
            (record, 3),         // a kind that is reserved
            (record + 1, 1),     // a reserved byte
            (record + 4, 0),     // no number
            (record + 8, 8),     // cut short
            (record + 8, 10),    // longer than the batch
            (record + 12, 9),    // a name longer than the payload
            (record + 13, 0xff), // a name that is not UTF-8
        ] {
            let mut bytes = sound.clone();
            bytes[index] = wrong;
            assert!(Batch::parse(&bytes).is_none(), "byte {index} = {wrong}");
        }
        for length in 0..sound.len() {
            let is_header = length == BatchHeader::LEN;
            assert_eq!(Batch::parse(&sound[..length]).is_some(), is_header);
        }
        let mut with_payload = write(HEADER, &[ToHost::Cancel(CallId(1))]);
        with_payload[record + 8] = 1;
        with_payload.push(0);
        assert!(Batch::parse(&with_payload).is_none());
    }

    #[test]
    fn limits_are_kept() {
        let cancels = |count| write(HEADER, &vec![ToHost::Cancel(CallId(1)); count]);
        assert!(Batch::parse(&cancels(MAX_RECORDS)).is_some());
        assert!(Batch::parse(&cancels(MAX_RECORDS + 1)).is_none());
        let fits = MAX_MESSAGE - BatchHeader::LEN - RECORD_HEADER - "\x05fetch".len();
        let argument = vec![0; fits];
        let call = ToHost::Call {
            id: CallId(1),
            name: "fetch",
            argument: &argument,
        };
        let mut largest = write(HEADER, &[call]);
        assert_eq!(largest.len(), MAX_MESSAGE);
        assert!(Batch::parse(&largest).is_some());
        largest.push(0);
        assert!(Batch::parse(&largest).is_none());
    }

    proptest! {
        #[test]
        fn a_batch_is_read_as_it_was_written(
            flags in 0_u32..8,
            words: [u64; 4],
            room: u32,
            records in proptest::collection::vec(record(), 0..20),
        ) {
            let header = BatchHeader {
                flags: Flags::from_word(flags).expect("it is in range"),
                generation: words[0],
                number: words[1],
                wait: words[2],
                room,
                digest: words[3],
            };
            let records: Vec<_> = records.iter().map(Owned::borrow).collect();
            let bytes = write(header, &records);
            let batch = Batch::parse(&bytes).expect("it is sound");
            prop_assert_eq!(batch.header, header);
            prop_assert_eq!(batch.records().collect::<Vec<_>>(), records);
        }

        #[test]
        fn no_bytes_cause_a_panic(bytes: Vec<u8>) {
            let _ = Batch::parse(&bytes);
            let behind_a_header = [&HEADER.to_bytes()[..], &bytes].concat();
            if let Some(batch) = Batch::parse(&behind_a_header) {
                prop_assert!(batch.records().count() <= MAX_RECORDS);
            }
        }

        #[test]
        fn one_changed_byte_causes_no_panic(
            records in proptest::collection::vec(record(), 1..5),
            at: prop::sample::Index,
            byte: u8,
        ) {
            let records: Vec<_> = records.iter().map(Owned::borrow).collect();
            let mut bytes = write(HEADER, &records);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Some(batch) = Batch::parse(&bytes) {
                let length: usize = batch
                    .records()
                    .map(|record| match record {
                        ToHost::Call { name, argument, .. } => name.len() + argument.len(),
                        _ => 0,
                    })
                    .sum();
                prop_assert!(length <= bytes.len());
            }
        }
    }
}
