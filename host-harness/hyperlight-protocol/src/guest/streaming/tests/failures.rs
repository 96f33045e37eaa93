//! What the sender and the reader of a call learn of how it ended.

use super::*;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Wake,
};

/// Counts wakes.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Wakes {
    fn take(&self) -> usize {
        self.0.swap(0, Ordering::Relaxed)
    }
}

fn wakes() -> (Arc<Wakes>, Waker) {
    let wakes = Arc::<Wakes>::default();
    (Arc::clone(&wakes), Waker::from(wakes))
}

/// An answer by which a call has failed, in the whole or in the beginning of it.
fn failed(id: CallId, message: &[u8]) -> impl Fn(Answer) -> Answer {
    move |answer| answer.piece(id, Status::Host, message.len() as u32, 0, message)
}

/// Sends what is queued, takes an answer, and wakes what it wakes.
fn take_and_wake(calls: &mut Calls, add: impl FnOnce(Answer) -> Answer) -> Vec<String> {
    let bytes = batch(calls);
    assert!(add(Answer::to(&bytes, 1)).take(calls));
    while let Some(waker) = calls.next_woken() {
        waker.wake();
    }
    records(&bytes)
}

/// The memory is full of results that no task has taken, and no task reads the output.
#[test]
fn a_sender_learns_of_a_failure_although_memory_is_full() {
    for waits_at_first in [true, false] {
        let mut calls = Calls::new();
        calls.set_budget(8);
        let (woken, waker) = wakes();
        let plain = calls.call("f", b"").expect("there is room");
        let id = start(&mut calls);
        send(&mut calls);
        take_and_wake(&mut calls, |answer| answer.result(plain, &[1; 8]));
        let waits = |calls: &mut Calls| {
            let mut rest = &[0; 2 * STREAM_WINDOW][..];
            let sent = calls.poll_input(id, &mut rest, &waker);
            if matches!(sent, InputProgress::Waits(_)) {
                calls.set_writer(id, waker.clone());
            }
            sent
        };
        if waits_at_first {
            assert_eq!(waits(&mut calls), InputProgress::Waits(false));
        }
        take_and_wake(&mut calls, failed(id, b"full"));
        if !waits_at_first {
            // The result is left on the host, until it is asked for.
            assert_eq!(waits(&mut calls), InputProgress::Waits(false));
            assert!(calls.has_news());
            let asked = take_and_wake(&mut calls, failed(id, b"full"));
            assert!(asked.contains(&"more 1 0".into()), "{asked:?}");
        }
        assert_eq!(woken.take(), 1);
        let error = CallError::Host("full".into());
        assert_eq!(waits(&mut calls), InputProgress::Ended(error.clone()));
        assert_eq!(output(&mut calls, id), Some(Err(Err(error))));
    }
}

/// Whether the reader or the sender is the first to learn of it.
#[test]
fn sender_and_reader_learn_the_same_in_any_order() {
    let error = CallError::Host("full".into());
    for (message, end) in [(&b""[..], Ok(())), (b"full", Err(error))] {
        let sends = match &end {
            Ok(()) => Ok(1),
            Err(error) => Err(error.clone()),
        };
        for order in 0..8 {
            let [reads_first, is_finished, is_lost] = [1, 2, 4].map(|bit| order & bit != 0);
            let mut calls = Calls::new();
            let id = start(&mut calls);
            send(&mut calls);
            take(&mut calls, |answer| match &end {
                Ok(()) => answer.result(id, b""),
                Err(_) => failed(id, message)(answer),
            });
            if reads_first {
                assert_eq!(output(&mut calls, id), Some(Err(end.clone())));
            }
            for _ in 0..3 {
                assert_eq!(input(&mut calls, id, b"x"), sends);
                send(&mut calls);
            }
            if is_finished {
                calls.end_input(id);
            } else {
                calls.abandon_input(id);
            }
            if !reads_first {
                assert_eq!(output(&mut calls, id), Some(Err(end.clone())));
            }
            assert_eq!((calls.in_use(), calls.held()), (0, 0));
            let lost = Some(Err(Err(CallError::Lost)));
            assert_eq!(output(&mut calls, id), lost);
            if is_lost {
                assert_eq!(input(&mut calls, id, b"x"), Err(CallError::Lost));
            }
            sent(&mut calls);
            assert!(!calls.has_news() && !calls.expects());
        }
    }
}

/// An error that was read, and that the sender may ask for, makes way as others do.
#[test]
fn an_error_that_was_read_makes_way() {
    let mut calls = Calls::new();
    calls.set_budget(8);
    let plain = calls.call("f", b"").expect("there is room");
    awaits(&mut calls, plain);
    let id = start(&mut calls);
    send(&mut calls);
    take_and_wake(&mut calls, failed(id, b"full"));
    let error = CallError::Host("full".into());
    let end = Some(Err(Err(error.clone())));
    assert_eq!(output(&mut calls, id), end);
    let kept = take(&mut calls, |answer| answer.result(plain, &[1; 8]));
    assert_eq!((kept, calls.held()), (vec!["more 1 4".into()], 8));
    assert!(!waits(&mut calls, plain));
    assert_eq!(input(&mut calls, id, b"x"), Ok(0));
    let asked = take(&mut calls, failed(id, b"full"));
    assert_eq!(asked, ["more 1 0"]);
    assert_eq!(input(&mut calls, id, b"x"), Err(error));
    calls.abandon_input(id);
    assert_eq!((calls.in_use(), calls.held()), (0, 0));
    // It was sent to its end, so the host forgets it.
    assert!(sent(&mut calls).is_empty());
}

#[test]
fn a_sender_is_woken_when_the_output_is_dropped() {
    let mut calls = Calls::new();
    let (woken, waker) = wakes();
    let id = start(&mut calls);
    send(&mut calls);
    calls.set_writer(id, waker);
    calls.cancel(id);
    while let Some(waker) = calls.next_woken() {
        waker.wake();
    }
    assert_eq!(woken.take(), 1);
    assert_eq!(input(&mut calls, id, b"x"), Err(CallError::Lost));
}

/// A piece that waits for memory is not overtaken by one that comes when there is some.
#[test]
fn a_piece_does_not_overtake_one_that_waits() {
    let mut calls = Calls::new();
    calls.set_budget(8);
    let plain = calls.call("f", b"").expect("there is room");
    let [one, two] = [0, 1].map(|_| start(&mut calls));
    send(&mut calls);
    take(&mut calls, |answer| answer.result(plain, &[1; 8]));
    awaits(&mut calls, plain);
    awaits(&mut calls, one);
    take(&mut calls, chunk(one, 0, b"12"));
    // Its memory is free only after the batch.
    let bytes = batch(&mut calls);
    assert!(!waits(&mut calls, plain));
    awaits(&mut calls, two);
    assert!(chunk(two, 0, b"34")(Answer::to(&bytes, 1)).take(&mut calls));
    assert_eq!((output(&mut calls, two), calls.held()), (None, 0));
    let asked = take(&mut calls, chunk(one, 0, b"12"));
    assert_eq!(asked, ["cancel 0", "more 1 0", "more 2 0"]);
    assert_eq!(output(&mut calls, one), Some(Ok(b"12".to_vec())));
}

/// A call with streams has no result but an error.
#[test]
fn a_host_that_sends_a_result_beside_an_output_is_refused() {
    let mut calls = Calls::new();
    let id = start(&mut calls);
    send(&mut calls);
    take(&mut calls, |answer| answer.result(id, &[1; 1000]));
    assert_eq!(calls.held(), 0);
    assert_eq!(input(&mut calls, id, b"x"), Err(CallError::Lost));
    assert_eq!(output(&mut calls, id), Some(Err(Err(CallError::Lost))));
    assert_eq!(sent(&mut calls), ["cancel 0"]);
}

/// The host does not send the last piece again when the call has ended. An error remains one; an
/// output that is not complete becomes one.
#[test]
fn an_error_stays_when_the_last_piece_makes_way() {
    let ends = [
        (Status::Panicked, &b""[..], CallError::Panicked),
        (Status::Host, b"no", CallError::Host("no".into())),
        (Status::Done, b"", CallError::Lost),
    ];
    for (status, message, error) in ends {
        let mut calls = Calls::new();
        calls.set_budget(8);
        let plain = calls.call("f", b"").expect("there is room");
        let id = start(&mut calls);
        send(&mut calls);
        let result = |answer: Answer| answer.piece(id, status, message.len() as u32, 0, message);
        take(&mut calls, |answer| result(chunk(id, 0, b"last")(answer)));
        assert_eq!(calls.held(), 4 + message.len());
        awaits(&mut calls, plain);
        take(&mut calls, |answer| answer.result(plain, &[1; 8]));
        assert_eq!(calls.held(), 8);
        assert!(!waits(&mut calls, plain));
        let end = output(&mut calls, id).or_else(|| {
            assert_eq!(take(&mut calls, result), ["more 1 0"]);
            output(&mut calls, id)
        });
        assert_eq!(end, Some(Err(Err(error))));
    }
}

/// What lets one task go on does not wake the other.
#[test]
fn a_piece_wakes_its_reader_and_a_grant_its_sender() {
    let mut calls = Calls::new();
    let ((reader, of_reader), (writer, of_writer)) = (wakes(), wakes());
    let id = start(&mut calls);
    input(&mut calls, id, &[b'x'; 1000]).expect("it goes on");
    send(&mut calls);
    calls.set_waker(id, of_reader);
    calls.set_writer(id, of_writer.clone());
    take_and_wake(&mut calls, was_taken(id, 1000));
    assert_eq!((reader.take(), writer.take()), (0, 1));
    calls.set_writer(id, of_writer.clone());
    take_and_wake(&mut calls, chunk(id, 0, b"x"));
    assert_eq!((reader.take(), writer.take()), (1, 0));
    input(&mut calls, id, &[b'x'; 1000]).expect("it goes on");
    take_and_wake(&mut calls, |answer| answer);
    assert_eq!((reader.take(), writer.take()), (0, 1));
    calls.set_writer(id, of_writer);
    take_and_wake(&mut calls, |answer| answer.result(id, b""));
    assert_eq!((reader.take(), writer.take()), (0, 1));
}

/// A function may fail while a piece of its output waits for memory.
#[test]
fn an_error_comes_in_place_of_a_piece_that_waits() {
    let mut calls = Calls::new();
    calls.set_budget(2000);
    let plain = calls.call("f", b"").expect("there is room");
    let id = start(&mut calls);
    send(&mut calls);
    take(&mut calls, chunk(id, 0, b"ab"));
    assert_eq!(output(&mut calls, id), Some(Ok(b"ab".to_vec())));
    assert_eq!(output(&mut calls, id), None);
    awaits(&mut calls, id);
    take(&mut calls, |answer| answer.result(plain, &[1; 2000]));
    awaits(&mut calls, plain);
    take(&mut calls, chunk(id, 2, b"cd"));
    take(&mut calls, failed(id, b"full"));
    assert!(!waits(&mut calls, plain));
    let asked = take(&mut calls, failed(id, b"full"));
    assert_eq!(asked, ["cancel 0", "more 1 0"]);
    let error = CallError::Host("full".into());
    assert_eq!(output(&mut calls, id), Some(Err(Err(error))));
    calls.end_input(id);
    assert!(calls.waiting.is_empty() && calls.held() == 0);
}

/// Its error is left on the host, beside a piece that was not read.
#[test]
fn a_piece_makes_way_whose_error_is_on_the_host() {
    let mut calls = Calls::new();
    calls.set_budget(8);
    let plain = calls.call("f", b"").expect("there is room");
    let id = start(&mut calls);
    send(&mut calls);
    take(&mut calls, |answer| {
        failed(id, b"full!")(chunk(id, 0, b"last")(answer))
    });
    assert_eq!(calls.held(), 4);
    awaits(&mut calls, plain);
    take(&mut calls, |answer| answer.result(plain, &[1; 8]));
    assert_eq!(calls.held(), 8);
    assert!(!waits(&mut calls, plain));
    assert_eq!(output(&mut calls, id), None);
    assert_eq!(take(&mut calls, failed(id, b"full!")), ["more 1 0"]);
    let error = CallError::Host("full!".into());
    assert_eq!(output(&mut calls, id), Some(Err(Err(error))));
}
