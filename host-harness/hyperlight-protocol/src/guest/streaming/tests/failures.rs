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
