//! A guest that is not this library's.

use std::sync::atomic::{AtomicUsize, Ordering};

use dormir_hyperlight_protocol::{Flags, Reply, STREAM_WINDOW};

use super::{
    model::{LIMITS, Random, Wish, host},
    *,
};
use crate::streams::{CallEndedError, Input, Output, erased};

/// What a guest sends that is none of this library's: any records with sound headers, in any order.
fn hostile_batch(random: &mut Random, state: &HostState) -> Vec<u8> {
    let changing = state.changing();
    let (generation, number) = (changing.generation, changing.number);
    drop(changing);
    let header = BatchHeader {
        flags: Flags {
            is_first: random.below(4) == 0,
            is_repeated: random.below(4) == 0,
            expects: random.below(2) == 0,
            is_early: random.below(4) == 0,
        },
        generation: if random.below(20) == 0 { 0 } else { generation },
        number: number.wrapping_add(u64::from(random.below(3) < 2)),
        wait: [0, 1000, u64::MAX][random.below(20) / 18 * random.below(2)],
        room: [0, 10, 64, 100, 5000, u32::MAX][random.below(6)],
        digest: random.below(3) as u64,
    };
    let mut batch = header.to_bytes().to_vec();
    for _ in 0..random.below(60) {
        let kind = [0x01, 0x01, 0x83, 0x03, 0x03, 0x04, 0x05, 0x80, 0x82][random.below(9)];
        let id = 1 + random.below(90) as u32;
        let wish = Wish::new(id, random);
        let name = if random.below(9) == 0 {
            "nothing"
        } else {
            ["wish", "copy"][usize::from((kind == 0x83) != (random.below(9) == 0))]
        };
        let payload = match kind {
            0x03 => {
                let offset = [0, 100, random.below(70_000) as u32][random.below(3)];
                let length = [0, 100, random.below(20_000)][random.below(3)];
                [&offset.to_le_bytes()[..], &vec![7; length]].concat()
            }
            0x01 | 0x83 => [&[name.len() as u8], name.as_bytes(), &wish.argument()].concat(),
            0x80 => (random.below(70_000) as u32).to_le_bytes().to_vec(),
            _ => Vec::new(),
        };
        if batch.len() + payload.len() > MAX_MESSAGE - 12 {
            break;
        }
        batch.extend([kind, 0, 0, 0]);
        batch.extend(id.to_le_bytes());
        batch.extend((payload.len() as u32).to_le_bytes());
        batch.extend(payload);
    }
    batch
}

/// What [`copy`] has seen.
#[derive(Default)]
struct Seen {
    pieces: AtomicUsize,
    /// Pieces that are too long, or empty. A panic would be but another end of a call.
    wrong: AtomicUsize,
}

/// Sends what it reads twice, and counts it.
async fn copy(mut input: Input, mut output: Output, seen: Arc<Seen>) -> Result<(), CallEndedError> {
    while let Some(piece) = input.next().await {
        let piece = piece?;
        if piece.is_empty() || piece.capacity() > STREAM_WINDOW {
            seen.wrong.fetch_add(1, Ordering::Relaxed);
        }
        output.send(&piece).await?;
        output.send(&piece).await?;
        seen.pieces.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Whatever a guest sends, nothing panics, what it holds is within the limits, and the reply within
/// its room.
#[test]
fn a_guest_may_send_anything() {
    let mut random = Random(7);
    let (state, steps) = host(&Arc::new(()));
    let seen = Arc::<Seen>::default();
    let of_copy = Arc::clone(&seen);
    let copy = erased(move |_, input, output| copy(input, output, Arc::clone(&of_copy)));
    state.functions.add_streaming("copy".into(), copy);
    state.set_longest_wait(Duration::from_micros(10));
    let limits = LIMITS.with_bytes(400_000);
    state.set_limits(limits);
    let mut most = 0;
    for _ in 0..3000 {
        let batch = hostile_batch(&mut random, &state);
        let room = Batch::parse(&batch).expect("its form is sound").header.room;
        let reply = state.exchange(&batch);
        assert!(reply.len() - ReplyHeader::LEN <= room as usize);
        assert!(Reply::parse(&reply).is_some());
        for _ in 0..random.below(40) {
            steps.poll_one(&mut random);
        }
        let usage = state.usage();
        assert!(
            usage.calls <= limits.calls && usage.bytes <= limits.bytes,
            "{usage:?}"
        );
        let (streaming, capacity) = state.changing().calls.memory_of_streams();
        assert!(capacity <= streaming * STREAMS && streaming * STREAMS <= usage.bytes);
        most = most.max(capacity / streaming.max(1));
        // Those of calls that were ended count too.
        let tasks = steps.0.lock().expect("no panic").len();
        assert!(tasks <= usage.calls, "{tasks} tasks, {usage:?}");
    }
    let [pieces, wrong] = [&seen.pieces, &seen.wrong].map(|it| it.load(Ordering::Relaxed));
    assert!(pieces > 20 && wrong == 0, "{pieces} pieces, {wrong} wrong");
    assert!(most > STREAM_WINDOW / 2, "the streams are filled: {most}");
    state.close();
    assert_eq!(state.usage().bytes, 0);
    // All of them are woken.
    for _ in 0..10 * limits.calls {
        steps.poll_one(&mut random);
    }
    assert!(steps.is_empty());
    assert_eq!(state.usage().calls, 0);
}
