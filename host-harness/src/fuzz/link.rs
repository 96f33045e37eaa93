//! The guest's side of async host calls, whose host answers anything over its connection.

use std::{mem, task::Waker};

use dormir_hyperlight_protocol::{
    Batch, CallId, FromHost, MAX_RECORDS, Reply, ReplyHeader, ReplyStatus,
    guest::{Calls, InputProgress, Link, OutputProgress, Progress},
};

const BUDGET: usize = 1000;

/// How many calls are made at most.
const CALLS: usize = 12;

/// Reads any bytes as the host's messages. Each begins with how it is, and with its length.
///
/// # Panics
///
/// Panics if a property does not hold: no more is held than the budget, each batch is sound, pieces
/// of streams are not empty, and after the connection's end every call has ended.
pub(super) fn link(bytes: &[u8]) {
    let mut world = World {
        calls: Calls::new(),
        link: Link::new(),
        ids: Vec::new(),
        generation: 1,
        number: None,
    };
    world.calls.set_budget(BUDGET);
    world.calls.connected();
    let mut rest = bytes;
    while let [how, length, more @ ..] = rest {
        let (records, after) = more.split_at(more.len().min(usize::from(*length)));
        rest = after;
        if !world.step(*how, records) {
            world.calls.disconnected();
            while world.calls.next_woken().is_some() {}
            world.all_have_ended();
            // Another connection.
            (world.link, world.number) = (Link::new(), None);
            world.calls.connected();
        }
    }
    for id in world.ids {
        world.calls.cancel(id.0);
    }
    assert_eq!((world.calls.in_use(), world.calls.held()), (0, 0));
}

struct World {
    calls: Calls,
    link: Link,
    /// The calls, and whether they have streams.
    ids: Vec<(CallId, bool)>,
    generation: u64,
    /// Of the oldest batch without a reply.
    number: Option<u64>,
}

impl World {
    /// Returns whether the connection goes on.
    fn step(&mut self, how: u8, records: &[u8]) -> bool {
        if how & 1 != 0 && self.ids.len() < CALLS {
            let has_streams = how & 2 != 0;
            let call = match has_streams {
                true => self.calls.streaming_call("s", b"argument"),
                false => self.calls.call("f", b"argument"),
            };
            self.ids.extend(call.ok().map(|id| (id, has_streams)));
        }
        if self.link.is_due(&self.calls, how & 4 != 0) {
            let sent = self.link.batch(&mut self.calls, how & 4 != 0);
            let batch = Batch::parse(&sent[4..]).expect("a guest's batch is sound");
            assert!(batch.records().count() <= MAX_RECORDS);
            self.number.get_or_insert(batch.header.number);
        }
        if how & 8 != 0 && self.take(how, records).is_none() {
            return false;
        }
        while self.calls.next_woken().is_some() {}
        assert!(self.calls.held() <= BUDGET);
        self.poll_all();
        if how & 0x40 != 0 && !self.ids.is_empty() {
            let (id, _) = self.ids.remove(usize::from(how >> 4) % self.ids.len());
            self.calls.cancel(id);
        }
        true
    }

    /// Takes a reply whose header is right, or any bytes.
    fn take(&mut self, how: u8, records: &[u8]) -> Option<()> {
        if how & 0x80 != 0 {
            return self.link.take(&mut self.calls, records).ok().map(drop);
        }
        let number = self.number?;
        let status = match how >> 4 & 3 {
            0 | 1 => ReplyStatus::Done,
            2 => ReplyStatus::TooLong,
            _ => ReplyStatus::Cancelled,
        };
        let header = ReplyHeader {
            status,
            interrupts: false,
            generation: self.generation,
            number,
            now: 0,
            tsc_hz: 1,
            longest_wait: 0,
        };
        let message = [&header.to_bytes()[..], records].concat();
        let is_sound = Reply::parse(&message).is_some();
        let taken = self.link.take(&mut self.calls, &message);
        assert!(taken.is_err() || is_sound);
        let reply = taken.ok()?;
        for record in reply.records() {
            if let FromHost::Result(result, piece) = record {
                assert!(u64::from(result.offset) + piece.len() as u64 <= result.total.into());
            }
        }
        // The next one's follows; whether there is one shows when it is taken.
        self.number = Some(number.wrapping_add(1));
        Some(())
    }

    /// Forgets the calls that have ended.
    fn poll_all(&mut self) {
        let calls = &mut self.calls;
        self.ids.retain(|(id, has_streams)| {
            if !has_streams {
                let waits = matches!(calls.poll(*id, Waker::noop()), Progress::Waits(_));
                if waits {
                    calls.set_waker(*id, Waker::noop().clone());
                }
                return waits;
            }
            let mut piece: &[u8] = &[7; 1000];
            let sent = calls.poll_input(*id, &mut piece, Waker::noop());
            assert!(sent != InputProgress::Queued || piece.is_empty());
            match calls.poll_output(*id, Waker::noop()) {
                OutputProgress::Piece(piece) => assert!(!piece.is_empty()),
                OutputProgress::Ended(_) => {
                    // Its input may still be open.
                    calls.cancel(*id);
                    return false;
                }
                OutputProgress::Waits(_) => {
                    calls.set_waker(*id, Waker::noop().clone());
                }
            }
            true
        });
        assert!(self.calls.held() <= BUDGET);
    }

    fn all_have_ended(&mut self) {
        for (id, has_streams) in mem::take(&mut self.ids) {
            if has_streams {
                // What has arrived comes first.
                let mut progress = self.calls.poll_output(id, Waker::noop());
                while let OutputProgress::Piece(_) = progress {
                    progress = self.calls.poll_output(id, Waker::noop());
                }
                assert!(matches!(progress, OutputProgress::Ended(_)));
                self.calls.cancel(id);
            } else {
                let progress = self.calls.poll(id, Waker::noop());
                assert!(matches!(progress, Progress::Ended(_)));
            }
        }
    }
}
