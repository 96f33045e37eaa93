//! Results that do not all fit into the guest's memory.

use super::*;

/// Waits for a call, as its task does.
fn wait_for(calls: &mut Calls, id: CallId) {
    assert_eq!(ended(calls, id), None);
    calls.set_waker(id, Waker::noop().clone());
}

/// Wakes the tasks whose calls have ended. Returns how many there were.
fn wake(calls: &mut Calls) -> usize {
    core::iter::from_fn(|| calls.next_woken()).count()
}

/// A guest with a budget of 10, whose calls are on their way.
fn guest(count: usize) -> (Calls, Vec<CallId>) {
    let mut calls = Calls::new();
    calls.set_budget(10);
    let ids = (0..count).map(|_| call(&mut calls, "")).collect();
    send(&mut calls);
    (calls, ids)
}

#[test]
fn a_result_larger_than_the_budget_ends_its_call() {
    let (mut calls, ids) = guest(2);
    let bytes = batch(&mut calls);
    let answer = Answer::to(&bytes, 1).result(ids[0], &[1; 11]);
    let answer = answer.piece(ids[1], Status::Done, 11, 0, b"piece");
    assert!(answer.take(&mut calls));
    for id in ids {
        assert_eq!(ended(&mut calls, id), Some(Err(CallError::TooLarge)));
    }
    // The host has forgotten the first by itself.
    assert_eq!(records(&batch(&mut calls)), ["cancel 1"]);
    // As large as the budget.
    let (mut calls, ids) = guest(1);
    let bytes = batch(&mut calls);
    let answer = Answer::to(&bytes, 1).piece(ids[0], Status::Done, 10, 0, &[1; 4]);
    assert!(answer.take(&mut calls));
    let bytes = batch(&mut calls);
    assert_eq!(records(&bytes), ["more 0 4"]);
    let answer = Answer::to(&bytes, 1).piece(ids[0], Status::Done, 10, 4, &[1; 6]);
    assert!(answer.take(&mut calls));
    assert_eq!(ended(&mut calls, ids[0]), Some(Ok(vec![1; 10])));
    // More than there can be.
    let (mut calls, ids) = guest(1);
    calls.set_budget(usize::MAX);
    let bytes = batch(&mut calls);
    let answer = Answer::to(&bytes, 1).piece(ids[0], Status::Done, u32::MAX, 0, &[]);
    assert!(answer.take(&mut calls));
    // This machine may have that much.
    calls.cancel(ids[0]);
    assert_eq!((calls.held(), calls.in_use()), (0, 0));
}

#[test]
fn what_does_not_fit_stays_on_the_host() {
    let (mut calls, ids) = guest(3);
    let bytes = batch(&mut calls);
    let answer = Answer::to(&bytes, 1).result(ids[0], b"01234567");
    let answer = answer.result(ids[1], b"abc");
    assert!(
        answer
            .piece(ids[2], Status::Done, 9, 0, b"A")
            .take(&mut calls)
    );
    assert_eq!(calls.held(), 8);
    assert!(!calls.has_news() && !calls.expects());
    // It keeps what it would forget, and what no task has taken.
    let bytes = batch(&mut calls);
    assert_eq!(records(&bytes), ["more 0 8", "more 1 3"]);
    assert!(Answer::to(&bytes, 1).take(&mut calls));
    assert!(!calls.has_news() && !calls.expects());
    // A task that waits for one gets it, and for it another goes back.
    wait_for(&mut calls, ids[1]);
    assert!(calls.has_news() && calls.expects());
    let bytes = batch(&mut calls);
    assert_eq!(records(&bytes), ["more 1 0"]);
    assert_eq!(calls.held(), 3);
    assert!(
        Answer::to(&bytes, 1)
            .result(ids[1], b"abc")
            .take(&mut calls)
    );
    assert_eq!(wake(&mut calls), 1);
    assert_eq!(ended(&mut calls, ids[1]), Some(Ok(b"abc".to_vec())));
    // It was taken at once, so the host need not keep it.
    wait_for(&mut calls, ids[0]);
    let bytes = batch(&mut calls);
    assert_eq!(records(&bytes), ["more 0 0"]);
    assert!(
        Answer::to(&bytes, 1)
            .result(ids[0], b"01234567")
            .take(&mut calls)
    );
    // Nothing takes it: the host keeps it, until it is taken.
    let bytes = batch(&mut calls);
    assert_eq!(records(&bytes), ["more 0 8"]);
    assert!(Answer::to(&bytes, 1).take(&mut calls));
    assert_eq!(ended(&mut calls, ids[0]), Some(Ok(b"01234567".to_vec())));
    calls.cancel(ids[2]);
    assert_eq!(records(&batch(&mut calls)), ["cancel 0", "cancel 2"]);
    assert_eq!((calls.in_use(), calls.held()), (0, 0));
}

#[test]
fn an_awaited_result_replaces_others_when_it_comes() {
    let (mut calls, ids) = guest(3);
    wait_for(&mut calls, ids[2]);
    let bytes = batch(&mut calls);
    let answer = Answer::to(&bytes, 1).result(ids[0], &[0; 4]);
    let answer = answer.piece(ids[1], Status::Done, 6, 0, &[1; 3]);
    assert!(answer.result(ids[2], &[2; 9]).take(&mut calls));
    assert_eq!((wake(&mut calls), calls.held()), (1, 9));
    assert_eq!(ended(&mut calls, ids[2]), Some(Ok(vec![2; 9])));
    // The one that came to its end is to be kept; the other is.
    let bytes = batch(&mut calls);
    assert_eq!(records(&bytes), ["more 0 4"]);
    assert!(Answer::to(&bytes, 1).take(&mut calls));
    for (id, result) in [(ids[1], [1; 6].as_slice()), (ids[0], &[0; 4])] {
        wait_for(&mut calls, id);
        let bytes = batch(&mut calls);
        assert_eq!(records(&bytes), [std::format!("more {} 0", id.slot())]);
        assert!(Answer::to(&bytes, 1).result(id, result).take(&mut calls));
        assert_eq!(ended(&mut calls, id), Some(Ok(result.to_vec())));
    }
    assert!(!calls.has_news());
}

#[test]
fn no_awaited_result_makes_way() {
    let (mut calls, ids) = guest(3);
    wait_for(&mut calls, ids[0]);
    wait_for(&mut calls, ids[2]);
    let bytes = batch(&mut calls);
    let answer = Answer::to(&bytes, 1).piece(ids[0], Status::Done, 4, 0, &[0; 1]);
    let answer = answer.result(ids[1], &[1; 4]);
    let answer = answer.piece(ids[2], Status::Done, 6, 0, &[2; 1]);
    assert!(answer.take(&mut calls));
    assert_eq!(calls.held(), 10);
    assert_eq!(
        records(&batch(&mut calls)),
        ["more 0 1", "more 2 1", "more 1 4"]
    );
}

/// The last piece comes after the result has made way: the host would forget all of it.
#[test]
fn a_last_piece_that_comes_late_is_kept_on_the_host() {
    let (mut calls, ids) = guest(2);
    let bytes = batch(&mut calls);
    let answer = Answer::to(&bytes, 1).piece(ids[0], Status::Done, 6, 0, &[0; 3]);
    assert!(answer.take(&mut calls));
    wait_for(&mut calls, ids[1]);
    let bytes = batch(&mut calls);
    assert_eq!(records(&bytes), ["more 0 3"]);
    let answer = Answer::to(&bytes, 1).piece(ids[1], Status::Done, 9, 0, &[1; 4]);
    let answer = answer.piece(ids[0], Status::Done, 6, 3, &[0; 3]);
    assert!(answer.take(&mut calls));
    assert_eq!(calls.held(), 9);
    assert_eq!(records(&batch(&mut calls)), ["more 1 4", "more 0 6"]);
}

/// None of them replaces another: they come one after the other, the large ones too.
#[test]
fn awaited_results_come_in_their_order() {
    let (mut calls, ids) = guest(3);
    ids.iter().for_each(|id| wait_for(&mut calls, *id));
    let bytes = batch(&mut calls);
    let mut answer = Answer::to(&bytes, 1);
    for (id, total) in [(ids[0], 6), (ids[1], 10), (ids[2], 1)] {
        answer = answer.piece(id, Status::Done, total, 0, &[7; 1]);
    }
    assert!(answer.take(&mut calls));
    assert_eq!(calls.held(), 6);
    assert!(!calls.can_fetch() && calls.expects());
    // The third one came to its end.
    let bytes = batch(&mut calls);
    assert_eq!(records(&bytes), ["more 0 1", "more 2 1"]);
    let answer = Answer::to(&bytes, 1).piece(ids[0], Status::Done, 6, 1, &[7; 5]);
    assert!(answer.take(&mut calls));
    assert_eq!(wake(&mut calls), 1);
    assert_eq!(ended(&mut calls, ids[0]), Some(Ok(vec![7; 6])));
    for (id, total) in [(ids[1], 10), (ids[2], 1)] {
        let bytes = batch(&mut calls);
        assert_eq!(records(&bytes), [std::format!("more {} 0", id.slot())]);
        assert!(
            Answer::to(&bytes, 1)
                .result(id, &vec![7; total])
                .take(&mut calls)
        );
        assert_eq!(wake(&mut calls), 1);
        assert_eq!(ended(&mut calls, id), Some(Ok(vec![7; total])));
    }
    assert!(!calls.has_news() && !calls.expects());
}

#[test]
fn a_restore_loses_what_the_host_kept() {
    let (mut calls, ids) = guest(4);
    let bytes = batch(&mut calls);
    let mut answer = Answer::to(&bytes, 1).result(ids[0], &[0; 5]);
    for id in &ids[1..3] {
        answer = answer.result(*id, &[1; 6]);
    }
    assert!(answer.take(&mut calls));
    let bytes = batch(&mut calls);
    assert!(Answer::to(&bytes, 1).take(&mut calls));
    wait_for(&mut calls, ids[1]);
    calls.set_budget(5);
    calls.cancel(ids[3]);
    let new = call(&mut calls, "");
    // What was asked for, and is now larger than the budget.
    let bytes = batch(&mut calls);
    assert_eq!(records(&bytes), ["f ", "cancel 3", "cancel 1"]);
    let wait = Batch::parse(&bytes).expect("it is sound").header.wait;
    assert_eq!(wait, 0, "its task is to be woken");
    assert_eq!(ended(&mut calls, ids[1]), Some(Err(CallError::TooLarge)));
    assert!(Answer::to(&bytes, 2).take(&mut calls));
    assert_eq!(ended(&mut calls, ids[2]), Some(Err(CallError::Lost)));
    // What it has itself remains, until there is need for its memory.
    assert_eq!(calls.held(), 5);
    wait_for(&mut calls, new);
    let bytes = batch(&mut calls);
    assert!(Answer::to(&bytes, 2).result(new, &[2; 1]).take(&mut calls));
    assert_eq!(ended(&mut calls, ids[0]), Some(Err(CallError::Lost)));
    assert_eq!(ended(&mut calls, new), Some(Ok(vec![2; 1])));
    assert_eq!((calls.in_use(), calls.held()), (0, 0));
    assert!(!calls.has_news());
}

#[test]
fn a_result_that_went_back_may_be_lost_or_dropped() {
    let (mut calls, ids) = guest(2);
    let bytes = batch(&mut calls);
    let answer = Answer::to(&bytes, 1).result(ids[0], &[0; 8]);
    assert!(answer.result(ids[1], &[1; 8]).take(&mut calls));
    wait_for(&mut calls, ids[1]);
    // The batch that asks for it has no answer: it is asked for again.
    let first = batch(&mut calls);
    assert_eq!(records(&first), ["more 1 0", "more 0 8"]);
    calls.no_answer();
    let again = batch(&mut calls);
    assert_eq!(records(&again), records(&first));
    calls.cancel(ids[1]);
    assert!(
        Answer::to(&again, 1)
            .result(ids[1], &[1; 8])
            .take(&mut calls)
    );
    assert_eq!(records(&batch(&mut calls)), ["cancel 1"]);
    assert_eq!((calls.in_use(), calls.held()), (1, 0));
}
