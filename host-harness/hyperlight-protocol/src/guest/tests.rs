use super::*;
use crate::{
    Batch, BatchHeader, MAX_MESSAGE, NO_DEADLINE, Reply, ReplyHeader, ReplyStatus, ResultHeader,
    Status, ToHost,
};
use proptest::prelude::*;
use std::{
    string::{String, ToString},
    vec,
    vec::Vec,
};

mod budget;
mod queues;

/// A host that answers as a test says.
pub(super) struct Answer {
    header: ReplyHeader,
    pub(super) records: Vec<u8>,
}

impl Answer {
    /// An answer to the batch `bytes`.
    pub(super) fn to(bytes: &[u8], generation: u64) -> Self {
        let batch = Batch::parse(bytes).expect("it is sound");
        Self {
            header: ReplyHeader {
                status: ReplyStatus::Done,
                interrupts: false,
                generation,
                number: batch.header.number,
                now: 1,
                tsc_hz: 1,
                longest_wait: 1,
            },
            records: Vec::new(),
        }
    }

    pub(super) fn piece(
        mut self,
        id: CallId,
        status: Status,
        total: u32,
        offset: u32,
        piece: &[u8],
    ) -> Self {
        let result = ResultHeader {
            id,
            status,
            total,
            offset,
        };
        self.records
            .extend_from_slice(&result.to_bytes(piece.len() as u32));
        self.records.extend_from_slice(piece);
        self
    }

    pub(super) fn result(self, id: CallId, bytes: &[u8]) -> Self {
        self.piece(id, Status::Done, bytes.len() as u32, 0, bytes)
    }

    pub(super) fn with_status(mut self, status: ReplyStatus) -> Self {
        self.header.status = status;
        self
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        [&self.header.to_bytes()[..], &self.records].concat()
    }

    pub(super) fn take(self, calls: &mut Calls) -> bool {
        let bytes = self.to_bytes();
        calls.take_reply(&Reply::parse(&bytes).expect("it is sound"))
    }
}

pub(super) fn batch(calls: &mut Calls) -> Vec<u8> {
    calls.batch(NO_DEADLINE, false, false)
}

/// The records of a batch, as text.
pub(super) fn records(bytes: &[u8]) -> Vec<String> {
    let batch = Batch::parse(bytes).expect("it is sound");
    let records = batch.records().map(|record| match record {
        ToHost::Call { name, argument, .. } => {
            std::format!("{name} {}", String::from_utf8_lossy(argument))
        }
        ToHost::Chunk { id, offset, bytes } => {
            let bytes = String::from_utf8_lossy(bytes);
            std::format!("chunk {} {offset} {bytes}", id.slot())
        }
        ToHost::End(id) => std::format!("end {}", id.slot()),
        ToHost::Void => "void".to_string(),
        ToHost::Cancel(id) => std::format!("cancel {}", id.slot()),
        ToHost::More { id, offset } => std::format!("more {} {offset}", id.slot()),
    });
    records.collect()
}

fn ended(calls: &mut Calls, id: CallId) -> Option<CallResult> {
    match calls.poll(id, Waker::noop()) {
        Progress::Ended(result) => Some(result),
        Progress::Waits(_) => None,
    }
}

fn call(calls: &mut Calls, argument: &str) -> CallId {
    calls.call("f", argument.as_bytes()).expect("there is room")
}

/// Sends what is queued, in generation 1.
pub(super) fn send(calls: &mut Calls) {
    let bytes = batch(calls);
    assert!(Answer::to(&bytes, 1).take(calls));
}

#[test]
fn a_call_goes_and_its_result_comes() {
    let mut calls = Calls::new();
    assert!(!calls.expects() && !calls.has_news());
    let (one, two) = (call(&mut calls, "1"), call(&mut calls, "2"));
    let bytes = batch(&mut calls);
    assert_eq!(records(&bytes), ["f 1", "f 2"]);
    assert!(Answer::to(&bytes, 1).result(two, b"22").take(&mut calls));
    assert!(calls.expects() && !calls.has_news());
    assert_eq!(ended(&mut calls, one), None);
    assert_eq!(ended(&mut calls, two), Some(Ok(b"22".to_vec())));
    let bytes = batch(&mut calls);
    assert!(records(&bytes).is_empty());
    let answer = Answer::to(&bytes, 1).piece(one, Status::Host, 2, 0, b"no");
    assert!(answer.take(&mut calls));
    let no = CallError::Host("no".to_string());
    assert_eq!(ended(&mut calls, one), Some(Err(no)));
    assert!(!calls.expects());
    assert_eq!((calls.in_use(), calls.held()), (0, 0));
}

#[test]
fn a_dropped_call_is_not_sent_or_is_cancelled() {
    let mut calls = Calls::new();
    let (one, two) = (call(&mut calls, "1"), call(&mut calls, "2"));
    let last = call(&mut calls, "last");
    calls.cancel(one);
    calls.cancel(last);
    let bytes = batch(&mut calls);
    assert_eq!(records(&bytes), ["void", "f 2"]);
    assert!(Answer::to(&bytes, 1).take(&mut calls));
    calls.cancel(two);
    // In the same slot, of another age.
    let three = call(&mut calls, "3");
    assert_eq!(three.slot(), two.slot());
    let bytes = batch(&mut calls);
    assert_eq!(records(&bytes), ["f 3", "cancel 1"]);
    assert!(Answer::to(&bytes, 1).result(two, b"late").take(&mut calls));
    assert_eq!(ended(&mut calls, three), None);
    assert!(!calls.has_news());
}

#[test]
fn a_result_comes_in_pieces() {
    let mut calls = Calls::new();
    let id = call(&mut calls, "");
    send(&mut calls);
    for (offset, piece) in [(0, "abc"), (3, "de")] {
        let bytes = batch(&mut calls);
        let answer = Answer::to(&bytes, 1).piece(id, Status::Done, 6, offset, piece.as_bytes());
        assert!(answer.take(&mut calls));
        assert_eq!((ended(&mut calls, id), calls.held()), (None, 6));
    }
    let bytes = batch(&mut calls);
    assert_eq!(records(&bytes), ["more 0 5"]);
    let answer = Answer::to(&bytes, 1).piece(id, Status::Done, 6, 5, b"f");
    assert!(answer.take(&mut calls));
    assert_eq!(ended(&mut calls, id), Some(Ok(b"abcdef".to_vec())));
    assert_eq!(calls.held(), 0);
}

#[test]
fn pieces_that_do_not_fit_together_end_the_call() {
    for (status, total, offset) in [(0, 7, 3), (0, 6, 4), (0, 6, 0), (1, 6, 3)] {
        let mut calls = Calls::new();
        let id = call(&mut calls, "");
        send(&mut calls);
        let bytes = batch(&mut calls);
        let answer = Answer::to(&bytes, 1).piece(id, Status::Done, 6, 0, b"abc");
        assert!(answer.take(&mut calls));
        let bytes = batch(&mut calls);
        let status = [Status::Done, Status::Host][status];
        let answer = Answer::to(&bytes, 1).piece(id, status, total, offset, b"d");
        assert!(answer.take(&mut calls));
        assert_eq!(ended(&mut calls, id), Some(Err(CallError::Lost)));
        assert_eq!(records(&batch(&mut calls)), ["cancel 0"]);
    }
}

#[test]
fn a_restore_loses_what_was_in_flight_and_nothing_else() {
    let mut calls = Calls::new();
    let sent = call(&mut calls, "sent");
    send(&mut calls);
    let queued = call(&mut calls, "queued");
    let bytes = batch(&mut calls);
    assert_eq!(records(&bytes), ["f queued"]);
    assert!(Answer::to(&bytes, 2).result(queued, b"q").take(&mut calls));
    assert_eq!(ended(&mut calls, sent), Some(Err(CallError::Lost)));
    assert_eq!(ended(&mut calls, queued), Some(Ok(b"q".to_vec())));
}

#[test]
fn a_batch_without_an_answer_is_sent_again_without_its_calls() {
    let mut calls = Calls::new();
    let old = call(&mut calls, "old");
    send(&mut calls);
    calls.cancel(old);
    let lost = call(&mut calls, "lost");
    let first = batch(&mut calls);
    assert_eq!(records(&first), ["f lost", "cancel 0"]);
    calls.no_answer();
    assert!(calls.next_woken().is_none(), "there is no waker");
    assert_eq!(ended(&mut calls, lost), Some(Err(CallError::Lost)));
    let new = call(&mut calls, "new");
    let header = |bytes: &[u8]| Batch::parse(bytes).expect("it is sound").header;
    for _ in 0..2 {
        let again = batch(&mut calls);
        assert_eq!(records(&again), ["cancel 0"]);
        assert!(!header(&first).flags.is_repeated && header(&again).flags.is_repeated);
        assert_eq!(header(&first).number, header(&again).number);
    }
    let again = batch(&mut calls);
    assert!(Answer::to(&again, 1).take(&mut calls));
    assert_eq!(ended(&mut calls, new), None);
    // The host may have the call after all.
    let next = batch(&mut calls);
    assert_eq!(records(&next), ["f new", "cancel 0"]);
    assert!(Answer::to(&next, 1).take(&mut calls));
    assert!(!calls.has_news());
}

#[test]
fn calls_that_are_made_and_dropped_leave_nothing() {
    let mut calls = Calls::new();
    let kept = call(&mut calls, "kept");
    for _ in 0..10_000 {
        let dropped = call(&mut calls, "dropped");
        calls.cancel(dropped);
    }
    assert_eq!((calls.outboxes.len(), calls.in_use()), (1, 1));
    // Out of order, over several batches.
    let ids: Vec<_> = (0..6)
        .map(|_| calls.call("f", &[0; 20_000]).expect("there is room"))
        .collect();
    assert!(calls.fills_a_batch());
    calls.cancel(kept);
    for id in ids {
        calls.cancel(id);
    }
    assert_eq!((calls.outboxes.len(), calls.in_use()), (0, 0));
}

#[test]
fn another_batchs_reply_is_refused() {
    let mut calls = Calls::new();
    call(&mut calls, "1");
    let bytes = batch(&mut calls);
    let mut answer = Answer::to(&bytes, 1);
    answer.header.number += 1;
    assert!(!answer.take(&mut calls));
    let mut answer = Answer::to(&bytes, 1);
    answer.header.status = ReplyStatus::BadBatch;
    assert!(!answer.take(&mut calls));
    assert!(Answer::to(&bytes, 1).take(&mut calls));
    // Nothing was asked since.
    assert!(!Answer::to(&bytes, 1).take(&mut calls));
}

#[test]
fn limits_end_calls_and_not_the_guest() {
    let mut calls = Calls::new();
    let large = vec![0; MAX_MESSAGE];
    assert_eq!(calls.call("f", &large), Err(CallError::TooLarge));
    let name = "n".repeat(300);
    assert_eq!(calls.call(&name, &[]), Err(CallError::TooLarge));
    for _ in 0..CallId::SLOTS {
        call(&mut calls, "");
    }
    assert_eq!(calls.call("f", &[]), Err(CallError::Busy));
    assert!(calls.fills_a_batch());
    let mut sent = 0;
    while calls.has_news() {
        let bytes = batch(&mut calls);
        sent += records(&bytes).len();
        assert!(Answer::to(&bytes, 1).take(&mut calls));
    }
    assert_eq!(sent, CallId::SLOTS);
    // All are cancelled at once.
    for slot in 0..CallId::SLOTS {
        calls.cancel(CallId::new(slot, 1));
    }
    let bytes = batch(&mut calls);
    assert_eq!(records(&bytes).len(), CallId::SLOTS);
    // Large arguments take several batches, each with room for results.
    let mut calls = Calls::new();
    let large = vec![b'x'; 30_000];
    for _ in 0..3 {
        calls.call("f", &large).expect("it fits");
    }
    for _ in 0..3 {
        let bytes = batch(&mut calls);
        assert_eq!(records(&bytes).len(), 1);
        let room = Batch::parse(&bytes).expect("it is sound").header.room as usize;
        assert!(room >= 4096 && room + bytes.len() <= MAX_MESSAGE + 4096);
        assert!(Answer::to(&bytes, 1).take(&mut calls));
    }
    assert!(!calls.has_news());
}

proptest! {
    /// Whatever a host replies: nothing panics, memory stays within the budget, and each call ends
    /// at most once.
    #[test]
    fn a_host_may_reply_anything(
        rounds in proptest::collection::vec(
            (
                0_u64..3,
                proptest::collection::vec(
                    (0_usize..4, 1_u32..3, 0_u32..7, 0_u32..200, 0_u32..20, 0_usize..40),
                    0..8,
                ),
                any::<bool>(),
            ),
            1..30,
        ),
    ) {
        let mut calls = Calls::new();
        calls.set_budget(100);
        let mut waiting: Vec<CallId> = Vec::new();
        for (generation, results, drops) in rounds {
            if waiting.len() < 4 {
                waiting.push(call(&mut calls, "x"));
            }
            let bytes = batch(&mut calls);
            let mut answer = Answer::to(&bytes, generation + 1);
            for (slot, age, status, total, offset, length) in results {
                let status = [Status::Done, Status::Host, Status::Panicked, Status::Unknown,
                    Status::Busy, Status::TooLarge, Status::Lost][status as usize];
                let length = length.min((total.saturating_sub(offset)) as usize);
                let offset = offset.min(total);
                let id = CallId::new(slot, age);
                answer = answer.piece(id, status, total, offset, &vec![7; length]);
            }
            prop_assert!(answer.take(&mut calls));
            while calls.next_woken().is_some() {}
            prop_assert!(calls.held() <= 100);
            waiting.retain(|id| ended(&mut calls, *id).is_none());
            if let Some(id) = waiting.first() {
                calls.set_waker(*id, Waker::noop().clone());
            }
            if drops && let Some(id) = waiting.pop() {
                calls.cancel(id);
            }
            prop_assert_eq!(calls.in_use(), waiting.len());
        }
        for id in waiting {
            calls.cancel(id);
        }
        prop_assert_eq!((calls.in_use(), calls.held(), calls.expects()), (0, 0, false));
    }
}
