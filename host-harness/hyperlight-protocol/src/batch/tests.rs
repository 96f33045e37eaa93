use super::*;
use crate::{MAX_RECORDS, RECORD_HEADER};
use proptest::prelude::*;
use std::{string::String, vec, vec::Vec};

const HEADER: BatchHeader = BatchHeader {
    flags: Flags {
        is_first: true,
        is_repeated: false,
        expects: true,
        is_early: false,
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
            ToHost::Call {
                id,
                name,
                argument,
                has_streams,
            } => {
                payload.push(name.len() as u8);
                payload.extend_from_slice(name.as_bytes());
                payload.extend_from_slice(argument);
                let kinds = [Kind::Request, Kind::StreamRequest];
                (kinds[usize::from(has_streams)], id)
            }
            ToHost::Chunk { id, offset, bytes } => {
                payload.extend_from_slice(&offset.to_le_bytes());
                payload.extend_from_slice(bytes);
                (Kind::StreamChunk, id)
            }
            ToHost::End(id) => (Kind::StreamEnd, id),
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
    Call(u32, String, Vec<u8>, bool),
    Chunk(u32, u32, Vec<u8>),
    End(u32),
    Cancel(u32),
    More(u32, u32),
    Void,
}

impl Owned {
    fn borrow(&self) -> ToHost<'_> {
        match self {
            Self::Call(id, name, argument, has_streams) => ToHost::Call {
                id: CallId(*id),
                name,
                argument,
                has_streams: *has_streams,
            },
            Self::Chunk(id, offset, bytes) => ToHost::Chunk {
                id: CallId(*id),
                offset: *offset,
                bytes,
            },
            Self::End(id) => ToHost::End(CallId(*id)),
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
    let bytes = || proptest::collection::vec(any::<u8>(), 0..40);
    prop_oneof![
        (1_u32.., "[a-zé]{0,9}", bytes(), any::<bool>())
            .prop_map(|(id, name, bytes, has)| Owned::Call(id, name, bytes, has)),
        (1_u32.., any::<u32>(), bytes())
            .prop_map(|(id, offset, bytes)| Owned::Chunk(id, offset, bytes)),
        (1_u32..).prop_map(Owned::End),
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
        has_streams: false,
    };
    let sound = write(HEADER, &[call]);
    assert!(Batch::parse(&sound).is_some());
    let record = BatchHeader::LEN;
    for (index, wrong) in [
        (0, 1),              // another version
        (4, 16),             // an unknown flag
        (36, 1),             // a reserved byte
        (record, 2),         // a kind that only the host sends
        (record, 4),         // a kind without a payload
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
    for bare in [ToHost::Cancel(CallId(1)), ToHost::End(CallId(1))] {
        let mut with_payload = write(HEADER, &[bare]);
        with_payload[record + 8] = 1;
        with_payload.push(0);
        assert!(Batch::parse(&with_payload).is_none());
    }
    let chunk = ToHost::Chunk {
        id: CallId(1),
        offset: 0,
        bytes: &[],
    };
    let mut without_offset = write(HEADER, &[chunk]);
    without_offset[record + 8] = 3;
    without_offset.pop();
    assert!(Batch::parse(&without_offset).is_none());
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
        has_streams: true,
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
        flags in 0_u32..16,
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
                    ToHost::Chunk { bytes, .. } => bytes.len(),
                    _ => 0,
                })
                .sum();
            prop_assert!(length <= bytes.len());
        }
    }
}
