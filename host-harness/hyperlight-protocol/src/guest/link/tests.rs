use std::{
    string::{String, ToString},
    vec,
    vec::Vec,
};

use super::*;
use crate::{
    Batch, BatchHeader, CallId, MAX_MESSAGE,
    guest::{CallError, CallResult, InputProgress, Progress, tests::Answer, tests::records},
};
use core::task::Waker;
use proptest::prelude::*;

/// Sends the next batch, which must be due. Returns it without its length.
fn send(link: &mut Link, calls: &mut Calls) -> Vec<u8> {
    assert!(link.is_due(calls, false));
    let bytes = link.batch(calls, false);
    let (prefix, batch) = bytes.split_first_chunk().expect("it has a length");
    assert_eq!(frame::length(*prefix), Some(batch.len()));
    batch.to_vec()
}

fn header(batch: &[u8]) -> BatchHeader {
    Batch::parse(batch).expect("it is sound").header
}

/// Takes an answer to `batch`. Returns whether it was right.
fn take(link: &mut Link, calls: &mut Calls, answer: Answer) -> Result<(), LinkError> {
    link.take(calls, &answer.to_bytes()).map(drop)
}

fn call(calls: &mut Calls, argument: &str) -> CallId {
    calls.call("f", argument.as_bytes()).expect("there is room")
}

fn ended(calls: &mut Calls, id: CallId) -> Option<CallResult> {
    match calls.poll(id, Waker::noop()) {
        Progress::Ended(result) => Some(result),
        Progress::Waits(_) => None,
    }
}

#[test]
fn a_batch_goes_before_the_reply_to_the_one_before() {
    let (mut link, mut calls) = (Link::new(), Calls::new());
    assert!(!link.is_due(&calls, false) && link.is_due(&calls, true));
    let one = call(&mut calls, "1");
    let first = send(&mut link, &mut calls);
    assert!(header(&first).flags.is_first && !header(&first).flags.is_early);
    // Without a generation no other goes, so the host does not wait.
    assert_eq!(
        (header(&first).wait, header(&first).flags.expects),
        (0, true)
    );
    let two = call(&mut calls, "2");
    assert!(!link.is_due(&calls, false));
    assert_eq!(take(&mut link, &mut calls, Answer::to(&first, 5)), Ok(()));
    let second = send(&mut link, &mut calls);
    assert!(!header(&second).flags.is_first && !header(&second).flags.is_early);
    assert!(!link.is_due(&calls, false), "nothing is queued");
    call(&mut calls, "3");
    let third = send(&mut link, &mut calls);
    assert!(header(&third).flags.is_early);
    assert_eq!(header(&third).number, header(&second).number + 1);
    assert_eq!(header(&third).generation, 5);
    call(&mut calls, "4");
    assert!(!link.is_due(&calls, false), "two are not answered");
    let answer = Answer::to(&second, 5).result(one, b"one");
    assert_eq!(take(&mut link, &mut calls, answer), Ok(()));
    assert_eq!(ended(&mut calls, one), Some(Ok(b"one".into())));
    let fourth = send(&mut link, &mut calls);
    assert!(header(&fourth).flags.is_early);
    let answer = Answer::to(&third, 5).result(two, b"two");
    assert_eq!(take(&mut link, &mut calls, answer), Ok(()));
    assert_eq!(take(&mut link, &mut calls, Answer::to(&fourth, 5)), Ok(()));
    // It goes on waiting, for the others, and keeps what was not taken.
    let fifth = send(&mut link, &mut calls);
    assert!(header(&fifth).flags.expects && !header(&fifth).flags.is_early);
    assert_eq!(header(&fifth).wait, NO_DEADLINE);
    assert_eq!(records(&fifth), [std::format!("more {} 3", two.slot())]);
}

#[test]
fn a_wait_for_events_begins_with_the_second_batch() {
    let (mut link, mut calls) = (Link::new(), Calls::new());
    let mut wait = || {
        assert!(link.is_due(&calls, true));
        let batch = link
            .batch(&mut calls, true)
            .split_off(size_of::<frame::Prefix>());
        let answered = take(&mut link, &mut calls, Answer::to(&batch, 5));
        assert_eq!(answered, Ok(()));
        header(&batch).wait
    };
    assert_eq!([wait(), wait(), wait()], [0, NO_DEADLINE, NO_DEADLINE]);
}

#[test]
fn what_is_no_reply_is_refused() {
    let begin = || {
        let (mut link, mut calls) = (Link::new(), Calls::new());
        call(&mut calls, "1");
        let first = send(&mut link, &mut calls);
        take(&mut link, &mut calls, Answer::to(&first, 5)).expect("it is right");
        let second = send(&mut link, &mut calls);
        (link, calls, first, second)
    };
    for (generation, repeats_first, status, expected) in [
        (5, false, ReplyStatus::Done, Ok(())),
        (5, false, ReplyStatus::TooLong, Ok(())),
        (6, false, ReplyStatus::Done, Err(LinkError::Unsound)),
        (5, true, ReplyStatus::Done, Err(LinkError::Unsound)),
        (5, false, ReplyStatus::BadBatch, Err(LinkError::Unsound)),
        (5, false, ReplyStatus::Cancelled, Err(LinkError::Cancelled)),
        (5, false, ReplyStatus::Stalled, Err(LinkError::Stalled)),
    ] {
        let (mut link, mut calls, first, second) = begin();
        let to = if repeats_first { &first } else { &second };
        let answer = Answer::to(to, generation).with_status(status);
        assert_eq!(take(&mut link, &mut calls, answer), expected);
    }
    let (mut link, mut calls, _, second) = begin();
    assert_eq!(take(&mut link, &mut calls, Answer::to(&second, 5)), Ok(()));
    // One that answers nothing.
    let unasked = take(&mut link, &mut calls, Answer::to(&second, 5));
    assert_eq!(unasked, Err(LinkError::Unsound));
}

#[test]
fn the_end_loses_all_but_what_has_come() {
    let (mut link, mut calls) = (Link::new(), Calls::new());
    let [came, sent] = ["came", "sent"].map(|argument| call(&mut calls, argument));
    let stream = calls.streaming_call("f", b"").expect("there is room");
    let mut piece = &[7; 9000][..];
    let queued = calls.poll_input(stream, &mut piece, Waker::noop());
    assert!(matches!(
        queued,
        InputProgress::Waits(_) | InputProgress::Queued
    ));
    let first = send(&mut link, &mut calls);
    let answer = Answer::to(&first, 5).result(came, b"bytes");
    assert_eq!(take(&mut link, &mut calls, answer), Ok(()));
    let _ = send(&mut link, &mut calls);
    let queued = call(&mut calls, "queued");
    calls.disconnected();
    assert_eq!(ended(&mut calls, came), Some(Ok(b"bytes".into())));
    for id in [sent, queued, stream] {
        assert_eq!(ended(&mut calls, id), Some(Err(CallError::Lost)));
    }
    assert_eq!(calls.call("f", b""), Err(CallError::Lost));
    assert_eq!((calls.in_use(), calls.held()), (0, 0));
    // Another begins like the first.
    calls.connected();
    let mut link = Link::new();
    assert!(!link.is_due(&calls, false));
    call(&mut calls, "new");
    let again = send(&mut link, &mut calls);
    assert!(header(&again).flags.is_first);
    assert_eq!(header(&again).generation, 0);
    assert_eq!(records(&again), ["f new".to_string()]);
    assert_eq!(take(&mut link, &mut calls, Answer::to(&again, 9)), Ok(()));
}

fn vec_of_bytes() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..80)
}

proptest! {
    /// Whatever a host sends, nothing panics, and the calls end with the connection.
    #[test]
    fn any_bytes_are_taken_or_refused(
        messages in proptest::collection::vec(
            (vec_of_bytes(), any::<bool>(), 0_usize..90, any::<u8>()),
            1..20,
        ),
        calls_made in 1_usize..20,
    ) {
        let (mut link, mut calls) = (Link::new(), Calls::new());
        let mut ids = Vec::new();
        for _ in 0..calls_made {
            ids.push(call(&mut calls, "argument"));
        }
        for (bytes, is_sound, at, byte) in messages {
            let mut answered = vec![0; BatchHeader::LEN];
            if link.is_due(&calls, false) {
                answered = link.batch(&mut calls, false).split_off(4);
            }
            let mut message = bytes;
            if is_sound && Batch::parse(&answered).is_some() {
                message = Answer::to(&answered, 5).result(ids[0], b"one").to_bytes();
                if let Some(wrong) = message.get_mut(at) {
                    *wrong = byte;
                }
            }
            prop_assert!(message.len() <= MAX_MESSAGE);
            let _: Result<_, String> = link
                .take(&mut calls, &message)
                .map_err(|error| error.to_string());
        }
        calls.disconnected();
        for id in ids {
            prop_assert!(ended(&mut calls, id).is_some());
        }
        prop_assert_eq!((calls.in_use(), calls.held()), (0, 0));
    }
}
