//! What waits for the next batches, and in which of them it goes.

use super::*;

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
