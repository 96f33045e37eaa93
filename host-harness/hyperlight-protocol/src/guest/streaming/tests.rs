use super::*;
use crate::{
    Batch, FromHost, STREAM_WINDOW,
    guest::{
        Progress,
        tests::{Answer, batch, records, send},
    },
};
use std::{string::String, vec, vec::Vec};

mod failures;
mod queues;

fn start(calls: &mut Calls) -> CallId {
    calls.streaming_call("s", b"a").expect("there is room")
}

fn output(calls: &mut Calls, id: CallId) -> Option<Result<Vec<u8>, Result<(), CallError>>> {
    match calls.poll_output(id, Waker::noop()) {
        OutputProgress::Piece(piece) => Some(Ok(piece)),
        OutputProgress::Ended(end) => Some(Err(end)),
        OutputProgress::Waits(_) => None,
    }
}

/// Queues a piece; returns how much of it was, or how the call ended.
fn input(calls: &mut Calls, id: CallId, piece: &[u8]) -> Result<usize, CallError> {
    let mut rest = piece;
    match calls.poll_input(id, &mut rest, Waker::noop()) {
        InputProgress::Ended(error) => Err(error),
        InputProgress::Queued => Ok(piece.len()),
        InputProgress::Waits(_) => Ok(piece.len() - rest.len()),
    }
}

/// Sends what is queued, which this returns, and takes an answer.
fn take(calls: &mut Calls, add: impl FnOnce(Answer) -> Answer) -> Vec<String> {
    let bytes = batch(calls);
    assert!(add(Answer::to(&bytes, 1)).take(calls));
    while calls.next_woken().is_some() {}
    records(&bytes)
}

/// Sends what is queued, which this returns.
fn sent(calls: &mut Calls) -> Vec<String> {
    take(calls, |answer| answer)
}

/// An answer with a piece of an output.
fn chunk(id: CallId, offset: u32, bytes: &[u8]) -> impl Fn(Answer) -> Answer {
    move |mut answer| {
        let header = chunk_header(id, offset, bytes.len() as u32);
        answer.records.extend_from_slice(&header);
        answer.records.extend_from_slice(bytes);
        answer
    }
}

fn was_taken(id: CallId, offset: u32) -> impl Fn(Answer) -> Answer {
    move |mut answer| {
        answer
            .records
            .extend_from_slice(&FromHost::more(id, offset));
        answer
    }
}

#[test]
fn an_output_comes_in_pieces_as_its_reader_asks() {
    let mut calls = Calls::new();
    let id = start(&mut calls);
    assert_eq!(output(&mut calls, id), None);
    assert_eq!(take(&mut calls, chunk(id, 0, b"one")), ["s a"]);
    assert_eq!(calls.held(), 3);
    // It is not asked for more until it was read and waits.
    assert!(sent(&mut calls).is_empty());
    assert_eq!(output(&mut calls, id), Some(Ok(b"one".to_vec())));
    assert!(!calls.has_news() && calls.held() == 0);
    assert_eq!(output(&mut calls, id), None);
    assert_eq!(output(&mut calls, id), None);
    let bytes = batch(&mut calls);
    assert_eq!(records(&bytes), ["more 0 3"]);
    let answer = chunk(id, 3, b"two")(Answer::to(&bytes, 1));
    assert!(answer.result(id, b"").take(&mut calls));
    assert_eq!(output(&mut calls, id), Some(Ok(b"two".to_vec())));
    assert_eq!(output(&mut calls, id), Some(Err(Ok(()))));
    assert_eq!(output(&mut calls, id), Some(Err(Err(CallError::Lost))));
    calls.abandon_input(id);
    assert_eq!(
        (calls.in_use(), calls.held(), calls.has_news()),
        (0, 0, false)
    );
}

#[test]
fn an_input_goes_as_the_function_takes_it() {
    let mut calls = Calls::new();
    calls.set_budget(8 * STREAM_WINDOW);
    let id = start(&mut calls);
    assert_eq!(input(&mut calls, id, b"one"), Ok(3));
    assert_eq!(input(&mut calls, id, b"two"), Ok(3));
    assert_eq!(sent(&mut calls), ["s a", "chunk 0 0 onetwo"]);
    let large = vec![b'x'; 2 * STREAM_WINDOW];
    assert_eq!(input(&mut calls, id, &large), Ok(STREAM_WINDOW - 6));
    assert_eq!(input(&mut calls, id, b"y"), Ok(0));
    send(&mut calls);
    assert_eq!(input(&mut calls, id, b"y"), Ok(0));
    // More than was sent, and less than before.
    take(&mut calls, was_taken(id, STREAM_WINDOW as u32 + 1));
    assert_eq!(input(&mut calls, id, b"y"), Ok(0));
    take(&mut calls, was_taken(id, 4));
    take(&mut calls, was_taken(id, 3));
    assert_eq!(input(&mut calls, id, b"abcdef"), Ok(4));
    calls.end_input(id);
    calls.end_input(id);
    assert_eq!(input(&mut calls, id, b"z"), Err(CallError::Lost));
    let last = take(&mut calls, |answer| answer.result(id, b""));
    assert_eq!(last, ["chunk 0 16384 abcd", "end 0"]);
    // The function did not want more.
    assert_eq!(input(&mut calls, id, b"z"), Ok(1));
    assert_eq!(output(&mut calls, id), Some(Err(Ok(()))));
    assert_eq!((calls.in_use(), calls.has_news()), (0, false));
}

#[test]
fn inputs_share_a_batch_and_the_rest_of_them_follows() {
    let mut calls = Calls::new();
    calls.set_budget(1 << 20);
    let ids: Vec<_> = (0..4).map(|_| start(&mut calls)).collect();
    for id in &ids {
        let piece = vec![b'x'; STREAM_WINDOW];
        assert_eq!(input(&mut calls, *id, &piece), Ok(STREAM_WINDOW));
        calls.end_input(*id);
    }
    let mut ends = 0;
    for _ in 0..2 {
        assert!(calls.has_news());
        let bytes = batch(&mut calls);
        assert!(bytes.len() <= 9 * 4096);
        let records = records(&bytes);
        ends += records.iter().filter(|it| it.starts_with("end")).count();
        assert!(Answer::to(&bytes, 1).take(&mut calls));
    }
    assert_eq!((ends, calls.has_news()), (4, false));
}

#[test]
fn a_guest_with_little_memory_sends_little_at_once() {
    let mut calls = Calls::new();
    calls.set_budget(20_000);
    let id = start(&mut calls);
    let piece = vec![b'x'; STREAM_WINDOW];
    assert_eq!(input(&mut calls, id, &piece), Ok(3750));
    calls.set_writer(id, Waker::noop().clone());
    let bytes = batch(&mut calls);
    assert!(bytes.len() < 3850);
    // The wait would be in vain: there is space for more.
    assert_eq!(Batch::parse(&bytes).expect("it is sound").header.wait, 0);
    assert!(Answer::to(&bytes, 1).take(&mut calls));
    assert!(calls.next_woken().is_some());
    assert_eq!(input(&mut calls, id, &piece), Ok(3750));
}

#[test]
fn a_stream_whose_piece_was_in_a_lost_batch_is_lost() {
    let mut calls = Calls::new();
    let (one, two) = (start(&mut calls), start(&mut calls));
    send(&mut calls);
    assert_eq!(input(&mut calls, one, b"x"), Ok(1));
    assert_eq!(records(&batch(&mut calls)), ["chunk 0 0 x"]);
    calls.no_answer();
    assert_eq!(input(&mut calls, one, b"y"), Err(CallError::Lost));
    assert_eq!(output(&mut calls, one), Some(Err(Err(CallError::Lost))));
    // Of the other one nothing goes in the repeated batch.
    assert_eq!(input(&mut calls, two, b"z"), Ok(1));
    let again = batch(&mut calls);
    assert!(records(&again).is_empty());
    assert!(Answer::to(&again, 1).take(&mut calls));
    assert_eq!(sent(&mut calls), ["cancel 0", "chunk 1 0 z"]);
    // A restored guest has lost the other one too.
    let bytes = batch(&mut calls);
    assert!(Answer::to(&bytes, 2).take(&mut calls));
    assert_eq!(output(&mut calls, two), Some(Err(Err(CallError::Lost))));
    for id in [one, two] {
        calls.abandon_input(id);
    }
    assert_eq!(calls.in_use(), 0);
}

#[test]
fn dropped_streams_leave_nothing() {
    let mut calls = Calls::new();
    for _ in 0..10_000 {
        let id = start(&mut calls);
        assert_eq!(input(&mut calls, id, b"x"), Ok(1));
        calls.cancel(id);
    }
    assert!(!calls.has_news() && calls.inputs.is_empty());
    // An input that is not complete ends its call, before it is sent and later.
    let id = start(&mut calls);
    calls.abandon_input(id);
    assert_eq!(output(&mut calls, id), Some(Err(Err(CallError::Lost))));
    let id = start(&mut calls);
    send(&mut calls);
    calls.abandon_input(id);
    assert_eq!(output(&mut calls, id), Some(Err(Err(CallError::Lost))));
    assert_eq!(sent(&mut calls), ["cancel 0"]);
    // One that is complete does not.
    let id = start(&mut calls);
    calls.end_input(id);
    calls.abandon_input(id);
    assert_eq!(output(&mut calls, id), None);
}

/// Sets a waker, as a task that waits does.
fn awaits(calls: &mut Calls, id: CallId) {
    calls.set_waker(id, Waker::noop().clone());
}

/// Whether a call goes on. If not, this takes its result.
fn waits(calls: &mut Calls, id: CallId) -> bool {
    matches!(calls.poll(id, Waker::noop()), Progress::Waits(_))
}

#[test]
fn a_piece_and_a_result_make_way_for_what_tasks_wait_for() {
    let mut calls = Calls::new();
    calls.set_budget(10);
    let plain = calls.call("f", b"").expect("there is room");
    let id = start(&mut calls);
    send(&mut calls);
    take(&mut calls, |answer| answer.result(plain, &[1; 6]));
    // No task waits for either: there is room for a part of it.
    assert_eq!(take(&mut calls, chunk(id, 0, b"123456")), ["more 0 6"]);
    assert_eq!(output(&mut calls, id), Some(Ok(b"1234".to_vec())));
    // One waits for the output: the result goes back to the host.
    assert_eq!(output(&mut calls, id), None);
    awaits(&mut calls, id);
    let large = b"56789abcdef";
    assert_eq!(take(&mut calls, chunk(id, 4, large)), ["more 1 4"]);
    assert_eq!(calls.held(), 10);
    // One waits for the result: the piece goes back.
    assert!(waits(&mut calls, plain));
    awaits(&mut calls, plain);
    let asked = take(&mut calls, |answer| answer.result(plain, &[1; 6]));
    assert_eq!((asked, calls.held()), (vec!["more 0 0".into()], 6));
    assert!(!waits(&mut calls, plain));
    assert_eq!(output(&mut calls, id), None);
    awaits(&mut calls, id);
    let again = take(&mut calls, chunk(id, 4, large));
    assert_eq!(again, ["more 1 4"]);
    assert_eq!(output(&mut calls, id), Some(Ok(large[..10].to_vec())));
    calls.cancel(id);
    assert_eq!((calls.in_use(), calls.held()), (0, 0));
}

#[test]
fn a_piece_waits_until_there_is_memory() {
    let mut calls = Calls::new();
    calls.set_budget(8);
    let plain = calls.call("f", b"").expect("there is room");
    let id = start(&mut calls);
    send(&mut calls);
    take(&mut calls, |answer| answer.result(plain, &[1; 8]));
    // Its task is about to take it.
    awaits(&mut calls, plain);
    assert_eq!(output(&mut calls, id), None);
    awaits(&mut calls, id);
    assert_eq!(take(&mut calls, chunk(id, 0, b"12")), ["more 0 8"]);
    assert!(!calls.has_news());
    assert_eq!(output(&mut calls, id), None);
    assert!(sent(&mut calls).is_empty());
    assert!(!waits(&mut calls, plain));
    assert!(calls.has_news());
    let asked = take(&mut calls, chunk(id, 0, b"12"));
    assert_eq!(asked, ["cancel 0", "more 1 0"]);
    assert_eq!(output(&mut calls, id), Some(Ok(b"12".to_vec())));
    calls.cancel(id);
    assert_eq!((calls.in_use(), calls.held()), (0, 0));
    // There never is.
    calls.set_budget(0);
    let id = start(&mut calls);
    send(&mut calls);
    take(&mut calls, chunk(id, 0, b"x"));
    assert_eq!(output(&mut calls, id), Some(Err(Err(CallError::TooLarge))));
}

#[test]
fn a_piece_that_does_not_follow_ends_its_call() {
    for (asks, offset) in [(true, 1), (true, 3), (false, 2)] {
        let mut calls = Calls::new();
        let id = start(&mut calls);
        send(&mut calls);
        take(&mut calls, chunk(id, 0, b"ab"));
        assert_eq!(output(&mut calls, id), Some(Ok(b"ab".to_vec())));
        if asks {
            assert_eq!(output(&mut calls, id), None);
            send(&mut calls);
        }
        take(&mut calls, chunk(id, offset, b"cd"));
        assert_eq!(output(&mut calls, id), Some(Err(Err(CallError::Lost))));
        assert_eq!(sent(&mut calls), ["cancel 0"]);
    }
    // Of a call that has no output.
    let mut calls = Calls::new();
    let id = calls.call("f", b"").expect("there is room");
    send(&mut calls);
    take(&mut calls, chunk(id, 0, b"ab"));
    let result = calls.poll(id, Waker::noop());
    assert!(matches!(result, Progress::Ended(Err(CallError::Lost))));
}
