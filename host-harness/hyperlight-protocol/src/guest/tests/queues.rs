//! What waits for the next batches, and in which of them it goes.

use super::*;

fn header(batch: &[u8]) -> BatchHeader {
    Batch::parse(batch).expect("it is sound").header
}

#[test]
fn a_wait_begins_when_all_is_sent() {
    let mut calls = Calls::new();
    for _ in 0..20 {
        calls.call("f", &[0; 10_000]).expect("there is room");
    }
    let (mut batches, mut sent) = (0, 0);
    while calls.has_news() {
        let bytes = batch(&mut calls);
        sent += records(&bytes).len();
        batches += 1;
        let wait = if sent == 20 { NO_DEADLINE } else { 0 };
        assert_eq!(header(&bytes).wait, wait, "{sent} calls were sent");
        assert!(Answer::to(&bytes, 1).take(&mut calls));
    }
    assert_eq!((batches, sent), (7, 20));
    // A batch that is sent again has none of what was queued since.
    let _ = batch(&mut calls);
    call(&mut calls, "since");
    assert_eq!(header(&batch(&mut calls)).wait, 0);
}

#[test]
fn all_cancellations_go_before_calls() {
    let mut calls = Calls::new();
    let old: Vec<_> = (0..900).map(|_| call(&mut calls, "")).collect();
    send(&mut calls);
    for id in old {
        calls.cancel(id);
    }
    let new = (0..100).map(|_| calls.call("f", &[0; 300]).expect("there is room"));
    let new: Vec<_> = new.collect();
    let bytes = batch(&mut calls);
    let sent = records(&bytes);
    assert_eq!(sent.len(), 900);
    assert!(sent.iter().all(|record| record.starts_with("cancel")));
    assert_eq!(header(&bytes).wait, 0);
    assert!(Answer::to(&bytes, 1).take(&mut calls));
    let bytes = batch(&mut calls);
    assert_eq!(records(&bytes).len(), 100);
    assert_eq!(header(&bytes).wait, NO_DEADLINE);
    // A few go beside a full batch.
    assert!(Answer::to(&bytes, 1).take(&mut calls));
    for id in &new[..30] {
        calls.cancel(*id);
    }
    calls.call("f", &[0; 36_000]).expect("it fits");
    assert_eq!(records(&batch(&mut calls)).len(), 31);
}

/// Batches in the making that have only calls that were dropped since are gone.
#[test]
fn dropped_calls_leave_no_batch() {
    let large = |calls: &mut Calls| calls.call("f", &[0; 20_000]).expect("there is room");
    let mut calls = Calls::new();
    let first = call(&mut calls, "first");
    let mut last = large(&mut calls);
    for _ in 0..1000 {
        let next = large(&mut calls);
        calls.cancel(last);
        last = next;
    }
    assert_eq!(calls.outboxes.len(), 2);
    calls.cancel(last);
    assert!(!calls.fills_a_batch() && calls.expects());
    // Only the first is left, and then none.
    let kept = large(&mut calls);
    let dropped = large(&mut calls);
    calls.cancel(dropped);
    let bytes = batch(&mut calls);
    assert_eq!(records(&bytes).len(), 2);
    assert!(Answer::to(&bytes, 1).result(first, b"").take(&mut calls));
    calls.cancel(kept);
    assert!(!calls.expects());
    assert_eq!(records(&batch(&mut calls)), ["cancel 1"]);
}

#[test]
fn several_pieces_of_a_result_are_followed_by_one_request() {
    let mut calls = Calls::new();
    let id = call(&mut calls, "");
    send(&mut calls);
    let bytes = batch(&mut calls);
    let mut answer = Answer::to(&bytes, 1);
    for (offset, piece) in [(0, "ab"), (2, "c"), (3, "de")] {
        answer = answer.piece(id, Status::Done, 9, offset, piece.as_bytes());
    }
    assert!(answer.take(&mut calls));
    assert_eq!(records(&batch(&mut calls)), ["more 0 5"]);
    let mut calls = calls.clone();
    let again = batch(&mut calls);
    let answer = Answer::to(&again, 1).piece(id, Status::Done, 9, 5, b"fgh");
    assert!(answer.piece(id, Status::Done, 9, 8, b"i").take(&mut calls));
    assert!(!calls.has_news());
    assert_eq!(ended(&mut calls, id), Some(Ok(b"abcdefghi".to_vec())));
}
