use super::*;
use crate::chunk_header;
use proptest::prelude::*;
use std::vec::Vec;

const HEADER: ReplyHeader = ReplyHeader {
    status: ReplyStatus::Done,
    interrupts: true,
    generation: 2,
    number: 3,
    now: 4,
    tsc_hz: 5,
    longest_wait: 6,
};

fn write(header: ReplyHeader, records: &[FromHost<'_>]) -> Vec<u8> {
    let mut bytes = header.to_bytes().to_vec();
    for record in records {
        match record {
            FromHost::Result(result, piece) => {
                bytes.extend_from_slice(&result.to_bytes(piece.len() as u32));
                bytes.extend_from_slice(piece);
            }
            FromHost::Chunk {
                id,
                offset,
                bytes: chunk,
            } => {
                let header = chunk_header(*id, *offset, chunk.len() as u32);
                bytes.extend_from_slice(&header);
                bytes.extend_from_slice(chunk);
            }
            FromHost::More { id, offset } => {
                bytes.extend_from_slice(&FromHost::more(*id, *offset));
            }
            FromHost::Signal { event, count } => {
                bytes.extend_from_slice(&FromHost::signal(*event, *count));
            }
        }
    }
    bytes
}

#[test]
fn unsound_replies_are_refused() {
    let result = ResultHeader {
        id: CallId(9),
        status: Status::Done,
        total: 5,
        offset: 2,
    };
    let signal = FromHost::Signal { event: 3, count: 1 };
    let sound = write(HEADER, &[FromHost::Result(result, b"abc"), signal]);
    assert!(Reply::parse(&sound).is_some());
    let record = ReplyHeader::LEN;
    let second = record + RESULT_HEADER + 3;
    for (index, wrong) in [
        (0, 1),           // another version
        (4, 5),           // an unknown status
        (5, 2),           // neither with interrupts nor without
        (6, 1),           // a reserved byte
        (8, 0),           // no generation
        (32, 0),          // no frequency
        (record, 1),      // a kind that only the guest sends
        (record + 8, 11), // shorter than its numbers
        (record + 8, 60), // longer than the reply
        (record + 12, 7), // an unknown status
        (record + 16, 4), // a piece behind the result's end
        (record + 20, 3), // the same
        (second + 5, 1),  // an event beyond the last
        (second + 8, 3),  // cut short
    ] {
        let mut bytes = sound.clone();
        bytes[index] = wrong;
        assert!(Reply::parse(&bytes).is_none(), "byte {index} = {wrong}");
    }
    for length in 0..sound.len() {
        let is_whole = length == record || length == second;
        assert_eq!(Reply::parse(&sound[..length]).is_some(), is_whole);
    }
}

proptest! {
    #[test]
    fn a_reply_is_read_as_it_was_written(
        status in 0_u8..5,
        interrupts: bool,
        words in [1_u64.., 1.., 1.., 1.., 1..],
        results in proptest::collection::vec(
            (any::<u32>(), 0_u32..7, 0_u32..1000, 0_u32..1000, any::<Vec<u8>>()),
            0..20,
        ),
        signals: Vec<(u8, u32)>,
        chunks: Vec<(u32, u32, Vec<u8>)>,
    ) {
        let header = ReplyHeader {
            status: [
                ReplyStatus::Done,
                ReplyStatus::TooLong,
                ReplyStatus::Cancelled,
                ReplyStatus::BadBatch,
                ReplyStatus::Stalled,
            ][usize::from(status)],
            interrupts,
            generation: words[0],
            number: words[1],
            now: words[2],
            tsc_hz: words[3],
            longest_wait: words[4],
        };
        let results = results.iter().map(|(id, status, offset, rest, piece)| {
            let result = ResultHeader {
                id: CallId(*id),
                status: Status::from_word(*status).expect("it is in range"),
                total: offset + rest + piece.len() as u32,
                offset: *offset,
            };
            FromHost::Result(result, piece)
        });
        let signals = signals
            .iter()
            .map(|(event, count)| FromHost::Signal { event: *event, count: *count });
        let chunks = chunks.iter().flat_map(|(id, offset, bytes)| {
            let (id, offset) = (CallId(*id), *offset);
            [FromHost::Chunk { id, offset, bytes }, FromHost::More { id, offset }]
        });
        let records: Vec<_> = results.chain(signals).chain(chunks).collect();
        let bytes = write(header, &records);
        let reply = Reply::parse(&bytes).expect("it is sound");
        prop_assert_eq!(reply.header, header);
        prop_assert_eq!(reply.records().collect::<Vec<_>>(), records);
    }

    #[test]
    fn no_bytes_cause_a_panic(bytes: Vec<u8>) {
        let _ = Reply::parse(&bytes);
        let behind_a_header = [&HEADER.to_bytes()[..], &bytes].concat();
        if let Some(reply) = Reply::parse(&behind_a_header) {
            let length: usize = reply
                .records()
                .map(|record| match record {
                    FromHost::Result(_, piece) => piece.len(),
                    FromHost::Chunk { bytes, .. } => bytes.len(),
                    FromHost::More { .. } | FromHost::Signal { .. } => 0,
                })
                .sum();
            prop_assert!(length <= bytes.len());
        }
    }
}
