//! Calls with streams, on threads: each wait of the guest ends because a function went on.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use dormir_hyperlight_protocol::{
    STREAM_WINDOW,
    guest::{InputProgress, OutputProgress},
};
use futures_core::Stream;

use super::*;
use crate::{
    CallEndedError, Input, Output,
    streams::{erased, of_stream},
};

mod ends;

const LENGTH: usize = 300_000;

/// The streams of a call count for this.
const STREAMS: usize = crate::table::STREAMS;

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

fn add<R>(state: &HostState, name: &str, function: fn(Vec<u8>, Input, Output) -> R)
where
    R: Future<Output = Result<(), CallEndedError>> + Send + 'static,
{
    state.functions.add_streaming(name.into(), erased(function));
}

async fn echo(_: Vec<u8>, mut input: Input, mut output: Output) -> Result<(), CallEndedError> {
    while let Some(piece) = input.next().await {
        output.send(piece?).await?;
    }
    assert!(input.next().await.is_none());
    Ok(())
}

impl Guest {
    fn streaming_call(&mut self, name: &str) -> CallId {
        let call = self.calls.streaming_call(name, b"argument");
        call.expect("there is room")
    }

    /// Sends `input` and reads the output, both as far as they go, until the call ends.
    fn stream(&mut self, state: &Arc<HostState>, name: &str, mut input: &[u8]) -> CallResult {
        let id = self.streaming_call(name);
        let mut output = Vec::new();
        let mut is_over = false;
        loop {
            let sent = self.calls.poll_input(id, &mut input, Waker::noop());
            if sent == InputProgress::Queued && !is_over {
                self.calls.end_input(id);
                is_over = true;
            }
            match self.calls.poll_output(id, Waker::noop()) {
                OutputProgress::Piece(piece) => output.extend(piece),
                OutputProgress::Ended(end) => {
                    // The sender learns the same, also later.
                    let error = end.clone().err();
                    let sent = error.map_or(InputProgress::Queued, InputProgress::Ended);
                    if !is_over {
                        let now = self.calls.poll_input(id, &mut &b"x"[..], Waker::noop());
                        assert_eq!(now, sent);
                        self.calls.abandon_input(id);
                    }
                    return end.map(|()| output);
                }
                OutputProgress::Waits(_) => {
                    self.exchange(state, NO_DEADLINE);
                }
            }
            assert!(state.usage().bytes <= STREAMS + b"argument".len());
        }
    }
}

#[test]
fn bytes_go_both_ways_in_order() {
    let state = state();
    add(&state, "echo", echo);
    let mut guest = Guest::new();
    for length in [0, 1, 40_000, LENGTH] {
        let bytes = pattern(length);
        assert_eq!(guest.stream(&state, "echo", &bytes), Ok(bytes));
    }
    guest.exchange(&state, 0);
    let usage = state.usage();
    assert_eq!((usage.calls, usage.bytes), (0, 0));
    assert_eq!((guest.calls.in_use(), guest.calls.held()), (0, 0));
}

#[test]
fn a_function_may_return_a_stream() {
    let state = state();
    let count = of_stream(|argument: Vec<u8>| {
        let numbers = (0..argument.len()).map(|at| match at {
            7 => Err("seven"),
            at => Ok([at as u8; 10_000]),
        });
        futures_util::stream::iter(numbers)
    });
    state.functions.add_streaming("count".into(), count);
    let mut guest = Guest::new();
    let id = guest.streaming_call("count");
    let mut length = 0;
    let end = loop {
        match guest.calls.poll_output(id, Waker::noop()) {
            OutputProgress::Piece(piece) => length += piece.len(),
            OutputProgress::Ended(end) => break end,
            OutputProgress::Waits(_) => {
                guest.exchange(&state, NO_DEADLINE);
            }
        }
    };
    // What came before the error was read.
    let error = CallError::Host("seven".into());
    assert_eq!((length, end), (70_000, Err(error)));
}

#[test]
fn streams_end_with_their_function() {
    let state = state();
    add(&state, "ends at once", |_, _, mut output| async move {
        output.send(b"out").await
    });
    add(&state, "takes one", |_, mut input, output| async move {
        input.next().await;
        drop((input, output));
        Ok(())
    });
    add(&state, "panics", |argument, _, mut output| async move {
        output.send(b"out").await?;
        assert!(argument.is_empty(), "on purpose");
        Ok(())
    });
    let mut guest = Guest::new();
    let bytes = pattern(LENGTH);
    let out = guest.stream(&state, "ends at once", &bytes);
    assert_eq!(out, Ok(b"out".to_vec()));
    assert_eq!(guest.stream(&state, "takes one", &bytes), Ok(Vec::new()));
    let out = guest.stream(&state, "panics", &bytes);
    assert_eq!(out, Err(CallError::Panicked));
    let out = guest.stream(&state, "nothing", &bytes);
    assert_eq!(out, Err(CallError::Unknown));
    // Each kind of function is called in its own way.
    state.functions.add(
        "plain".into(),
        |bytes| async move { Ok::<_, Infallible>(bytes) },
    );
    for out in [
        guest.stream(&state, "plain", &bytes),
        guest.call(&state, "takes one", b""),
    ] {
        let Err(CallError::Host(sentence)) = out else {
            panic!("{out:?}");
        };
        assert!(sentence.contains("call it by"), "{sentence}");
    }
    guest.exchange(&state, 0);
    let usage = state.usage();
    assert_eq!((usage.calls, usage.bytes), (0, 0));
}

/// What a function has moved elsewhere sees that its call has ended.
#[test]
fn ends_that_outlive_their_call_say_so() {
    let state = state();
    let (sender, ends) = mpsc::channel();
    let function = move |_: Vec<u8>, input: Input, output: Output| {
        sender.send((input, output)).expect("it is received");
        std::future::pending::<Result<(), CallEndedError>>()
    };
    let function = std::sync::Mutex::new(function);
    let function = erased(move |argument, input, output| {
        function.lock().expect("no panic")(argument, input, output)
    });
    state.functions.add_streaming("moves".into(), function);
    let mut guest = Guest::new();
    let id = guest.streaming_call("moves");
    guest.exchange(&state, 0);
    let (mut input, mut output) = ends.recv().expect("it was called");
    let waiting = thread::spawn(move || {
        let mut cx = Context::from_waker(Waker::noop());
        let mut send = Box::pin(output.send(pattern(LENGTH)));
        for _ in 0..10_000 {
            if let Poll::Ready(sent) = send.as_mut().poll(&mut cx) {
                return (sent, Pin::new(&mut input).poll_next(&mut cx));
            }
            thread::sleep(Duration::from_millis(1));
        }
        panic!("it goes on");
    });
    thread::sleep(Duration::from_millis(5));
    guest.calls.cancel(id);
    guest.exchange(&state, 0);
    let (sent, next) = waiting.join().expect("no panic");
    assert_eq!(sent, Err(CallEndedError));
    assert_eq!(next, Poll::Ready(Some(Err(CallEndedError))));
}

#[test]
fn a_lost_reply_does_not_keep_the_guest_from_sending() {
    let state = state();
    let (sender, gate) = mpsc::channel();
    let gate = std::sync::Mutex::new(gate);
    let takes = erased(move |_, mut input: Input, output: Output| {
        gate.lock().expect("no panic").recv().expect("it is sent");
        async move {
            let _output = output;
            while let Some(piece) = input.next().await {
                piece?;
            }
            Ok::<_, CallEndedError>(())
        }
    });
    state.functions.add_streaming("takes".into(), takes);
    let mut guest = Guest::new();
    guest.calls.set_budget(1 << 20);
    let id = guest.streaming_call("takes");
    let bytes = pattern(2 * STREAM_WINDOW);
    let mut rest = bytes.as_slice();
    let mut send = |guest: &mut Guest| {
        let waits = guest.calls.poll_input(id, &mut rest, Waker::noop());
        (waits, rest.len())
    };
    let waits = InputProgress::Waits(false);
    assert_eq!(send(&mut guest), (waits, STREAM_WINDOW));
    guest.exchange(&state, 0);
    sender.send(()).expect("it is received");
    // The reply says that the function has taken all of it.
    let batch = guest.calls.batch(NO_DEADLINE, false, false);
    state.exchange(&batch);
    guest.calls.no_answer();
    guest.exchange(&state, 0);
    assert_eq!(send(&mut guest), (InputProgress::Queued, 0));
}

#[test]
fn limits_count_streams_from_their_start() {
    let state = state();
    state.set_limits(Limits::new().with_bytes(2 * STREAMS));
    add(&state, "forever", |_, _input, _output| {
        std::future::pending()
    });
    let mut guest = Guest::new();
    let ids = [0, 1].map(|_| guest.streaming_call("forever"));
    guest.exchange(&state, 0);
    assert_eq!(state.usage().bytes, STREAMS + b"argument".len());
    let busy = guest.calls.poll_output(ids[1], Waker::noop());
    let OutputProgress::Ended(busy) = busy else {
        panic!("{busy:?}");
    };
    assert_eq!(busy, Err(CallError::Busy));
    state.cancel();
    guest.is_first = true;
    guest.exchange(&state, 0);
    let lost = guest.calls.poll_output(ids[0], Waker::noop());
    assert!(matches!(lost, OutputProgress::Ended(Err(CallError::Lost))));
    assert_eq!(state.usage().bytes, 0);
}

/// No more news can come while all functions wait for the guest.
#[test]
fn a_stream_that_waits_for_the_guest_does_not_linger() {
    let state = state();
    state.set_linger(Duration::MAX);
    add(&state, "echo", echo);
    add(&state, "down", |_, _, mut output| async move {
        for _ in 0..LENGTH / 1000 {
            output.send([7; 1000]).await?;
        }
        Ok(())
    });
    let (sender, ends) = mpsc::channel();
    let waiting = thread::spawn(move || {
        let mut guest = Guest::new();
        let bytes = pattern(LENGTH);
        let echoed = guest.stream(&state, "echo", &bytes);
        let down = guest.stream(&state, "down", b"");
        let is_right = echoed == Ok(bytes) && down == Ok(vec![7; LENGTH]);
        sender.send(is_right).expect("it is received");
    });
    assert_eq!(ends.recv_timeout(Duration::from_secs(60)), Ok(true));
    waiting.join().expect("no panic");
}
