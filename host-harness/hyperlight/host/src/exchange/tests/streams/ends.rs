//! What both sides of a stream learn of its end, and who is woken.

use super::*;
use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
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
    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

fn wakes() -> (Arc<Wakes>, Waker) {
    let wakes = Arc::<Wakes>::default();
    (Arc::clone(&wakes), Waker::from(wakes))
}

/// Waits for what another thread does soon.
fn soon(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(30), "{what}");
        thread::sleep(Duration::from_millis(1));
    }
}

impl Guest {
    /// Waits for the host for a while, and wakes what that wakes.
    fn go_on(&mut self, state: &Arc<HostState>) {
        self.exchange(state, SECOND / 50);
        while let Some(waker) = self.calls.next_woken() {
            waker.wake();
        }
    }
}

/// The guest's memory is full of a result that no task has taken, and no task reads the output.
#[test]
fn a_sender_learns_of_a_failure_although_memory_is_full() {
    let state = state();
    state.functions.add("big".into(), |_| async {
        Ok::<_, Infallible>(vec![7; 10_000])
    });
    let (gate, opened) = mpsc::channel();
    let opened = Mutex::new(opened);
    let fails = erased(move |_, input: Input, output: Output| {
        opened.lock().expect("no panic").recv().expect("it is sent");
        async move {
            let _streams = (input, output);
            Err::<(), _>("disk full")
        }
    });
    state.functions.add_streaming("fails".into(), fails);
    let mut guest = Guest::new();
    guest.calls.set_budget(10_000);
    guest.calls.call("big", b"").expect("there is room");
    while guest.calls.held() == 0 {
        guest.go_on(&state);
    }
    let id = guest.streaming_call("fails");
    let bytes = pattern(LENGTH);
    let mut rest = bytes.as_slice();
    let mut gate = Some(gate);
    let (woken, waker) = wakes();
    loop {
        match guest.calls.poll_input(id, &mut rest, &waker) {
            InputProgress::Waits(_) => drop(guest.calls.set_writer(id, waker.clone())),
            end => {
                let error = CallError::Host("disk full".into());
                assert_eq!(end, InputProgress::Ended(error));
                break;
            }
        }
        let before = woken.count();
        soon("the sender is woken", || {
            guest.go_on(&state);
            let waits_for_grants = bytes.len() - rest.len() == STREAM_WINDOW;
            if waits_for_grants && let Some(gate) = gate.take() {
                gate.send(()).expect("it is received");
            }
            woken.count() > before
        });
    }
}

type Ends = mpsc::Receiver<(Input, Output)>;

/// Adds the function `moves`, which moves its streams elsewhere, and returns `end` when the gate is
/// opened.
fn add_moves(state: &HostState, end: Result<(), CallEndedError>) -> (Ends, Arc<AtomicBool>) {
    let (sender, ends) = mpsc::channel();
    let sender = Mutex::new(sender);
    let gate = Arc::<AtomicBool>::default();
    let opened = Arc::clone(&gate);
    let moves = erased(move |_, input: Input, output: Output| {
        let sender = sender.lock().expect("no panic");
        sender.send((input, output)).expect("it is received");
        let opened = Arc::clone(&opened);
        std::future::poll_fn(move |cx| {
            if opened.load(Ordering::Relaxed) {
                return Poll::Ready(end);
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
    });
    state.functions.add_streaming("moves".into(), moves);
    (ends, gate)
}

/// A function may return before what it has moved its output to has sent all of it.
#[test]
fn an_output_that_was_moved_is_sent_to_its_end() {
    let state = state();
    let (ends, gate) = add_moves(&state, Ok(()));
    let mut guest = Guest::new();
    let id = guest.streaming_call("moves");
    guest.exchange(&state, 0);
    let (_input, mut output) = ends.recv().expect("it was called");
    let (woken, waker) = wakes();
    let mut cx = Context::from_waker(&waker);
    let bytes = pattern(LENGTH);
    let mut send = Box::pin(output.send(&bytes));
    assert!(send.as_mut().poll(&mut cx).is_pending());
    gate.store(true, Ordering::Relaxed);
    // Its task waits for the guest too.
    thread::sleep(Duration::from_millis(20));
    let mut send = Some(send);
    let mut before = 0;
    let mut received = Vec::new();
    let start = Instant::now();
    let end = loop {
        match guest.calls.poll_output(id, Waker::noop()) {
            OutputProgress::Piece(piece) => received.extend(piece),
            OutputProgress::Ended(end) => break end,
            OutputProgress::Waits(_) => guest.go_on(&state),
        }
        if let Some(sending) = &mut send
            && woken.count() > before
        {
            before = woken.count();
            if sending.as_mut().poll(&mut cx).is_ready() {
                send = None;
            }
        }
        // When all of it was sent, the output is dropped.
        assert!(start.elapsed() < Duration::from_secs(30));
        if send.is_none() && received.len() == LENGTH {
            break Ok(());
        }
    };
    assert_eq!(
        (end, send.is_none(), received == bytes),
        (Ok(()), true, true)
    );
    // The guest has all of it, and the host knows.
    for _ in 0..3 {
        let progress = guest.calls.poll_output(id, Waker::noop());
        assert!(matches!(progress, OutputProgress::Waits(_)));
        guest.go_on(&state);
    }
    assert!(state.usage().bytes >= STREAMS);
    drop(send);
    drop(output);
    soon("the call ends", || {
        guest.go_on(&state);
        let progress = guest.calls.poll_output(id, Waker::noop());
        matches!(progress, OutputProgress::Ended(Ok(())))
    });
}

/// After an error, the guest gets no more than what was sent before.
#[test]
fn an_error_ends_an_output_that_was_moved() {
    let state = state();
    let (ends, gate) = add_moves(&state, Err(CallEndedError));
    let mut guest = Guest::new();
    let id = guest.streaming_call("moves");
    guest.exchange(&state, 0);
    let (_input, mut output) = ends.recv().expect("it was called");
    let (woken, waker) = wakes();
    let mut cx = Context::from_waker(&waker);
    let bytes = pattern(LENGTH);
    let mut send = Box::pin(output.send(&bytes));
    assert!(send.as_mut().poll(&mut cx).is_pending());
    gate.store(true, Ordering::Relaxed);
    soon("the sender is woken", || woken.count() > 0);
    let sent = send.as_mut().poll(&mut cx);
    assert_eq!(sent, Poll::Ready(Err(CallEndedError)));
    let mut length = 0;
    let end = loop {
        match guest.calls.poll_output(id, Waker::noop()) {
            OutputProgress::Piece(piece) => length += piece.len(),
            OutputProgress::Ended(end) => break end,
            OutputProgress::Waits(_) => guest.go_on(&state),
        }
    };
    assert_eq!(length, STREAM_WINDOW);
    assert_eq!(end, Err(CallError::Host(CallEndedError.to_string())));
}

/// The memory itself counts, whatever the pieces' lengths are.
#[test]
fn streams_hold_no_more_than_they_count_for() {
    let state = state();
    add(&state, "fills", |_, input, mut output| async move {
        let _input = input;
        while output.send([7; 1000]).await.is_ok() {}
        Ok(())
    });
    let mut guest = Guest::new();
    let id = guest.streaming_call("fills");
    let mut rest = &*vec![7; STREAM_WINDOW];
    while !rest.is_empty() {
        let mut piece = &rest[..rest.len().min(1000)];
        rest = &rest[piece.len()..];
        let sent = guest.calls.poll_input(id, &mut piece, Waker::noop());
        assert_eq!(sent, InputProgress::Queued);
        guest.exchange(&state, 0);
    }
    soon("the output is full", || {
        let (calls, capacity) = state.changing().calls.memory_of_streams();
        assert!(calls == 1 && capacity <= STREAMS, "{capacity}");
        capacity == STREAMS
    });
}

/// What a function has moved elsewhere is woken when its call ends.
#[test]
fn the_end_of_a_call_wakes_both_ends() {
    let state = state();
    let (ends, _gate) = add_moves(&state, Ok(()));
    let mut guest = Guest::new();
    let id = guest.streaming_call("moves");
    guest.exchange(&state, 0);
    let (mut input, mut output) = ends.recv().expect("it was called");
    let ((sender, of_sender), (reader, of_reader)) = (wakes(), wakes());
    let bytes = pattern(LENGTH);
    let mut send = Box::pin(output.send(&bytes));
    let mut of_sender = Context::from_waker(&of_sender);
    let mut of_reader = Context::from_waker(&of_reader);
    assert!(send.as_mut().poll(&mut of_sender).is_pending());
    let mut next = Pin::new(&mut input);
    assert!(next.as_mut().poll_next(&mut of_reader).is_pending());
    guest.calls.cancel(id);
    guest.exchange(&state, 0);
    assert_eq!((sender.count(), reader.count()), (1, 1));
    let sent = send.as_mut().poll(&mut of_sender);
    assert_eq!(sent, Poll::Ready(Err(CallEndedError)));
    let ended = Poll::Ready(Some(Err(CallEndedError)));
    assert_eq!(next.as_mut().poll_next(&mut of_reader), ended);
    assert_eq!(next.poll_next(&mut of_reader), Poll::Ready(None));
}

/// The end of an input wakes its reader.
#[test]
fn the_end_of_an_input_wakes_its_reader() {
    let state = state();
    let (ends, _gate) = add_moves(&state, Ok(()));
    let mut guest = Guest::new();
    let id = guest.streaming_call("moves");
    guest.exchange(&state, 0);
    let (mut input, _output) = ends.recv().expect("it was called");
    let (reader, waker) = wakes();
    let mut cx = Context::from_waker(&waker);
    let mut next = Pin::new(&mut input);
    assert!(next.as_mut().poll_next(&mut cx).is_pending());
    guest.calls.end_input(id);
    guest.exchange(&state, 0);
    assert_eq!(reader.count(), 1);
    assert_eq!(next.poll_next(&mut cx), Poll::Ready(None));
}

/// A guest sends all of its input before it reads, although the function wants none of it.
#[test]
fn an_input_that_no_function_takes_is_dropped() {
    let state = state();
    let (ends, _gate) = add_moves(&state, Ok(()));
    let mut guest = Guest::new();
    let id = guest.streaming_call("moves");
    guest.exchange(&state, 0);
    let (input, _output) = ends.recv().expect("it was called");
    drop(input);
    let bytes = pattern(LENGTH);
    let mut rest = bytes.as_slice();
    let mut exchanges = 0;
    while guest.calls.poll_input(id, &mut rest, Waker::noop()) != InputProgress::Queued {
        guest.exchange(&state, 0);
        exchanges += 1;
        assert!(exchanges < 1000, "{} bytes are left", rest.len());
        assert_eq!(state.changing().calls.memory_of_streams(), (1, 0));
    }
}

/// Its output is not read, so it could not end otherwise.
#[test]
fn a_sender_learns_that_its_function_has_failed() {
    let state = state();
    let fails = erased(|_, input: Input, mut output: Output| async move {
        let _ = output.send(b"warning").await;
        drop(input);
        Err::<(), _>("disk full")
    });
    state.functions.add_streaming("fails".into(), fails);
    let mut guest = Guest::new();
    let id = guest.streaming_call("fails");
    let bytes = pattern(10 * LENGTH);
    let mut rest = bytes.as_slice();
    let end = loop {
        match guest.calls.poll_input(id, &mut rest, Waker::noop()) {
            InputProgress::Waits(_) => guest.go_on(&state),
            end => break end,
        }
    };
    let error = CallError::Host("disk full".into());
    assert_eq!(end, InputProgress::Ended(error));
}
