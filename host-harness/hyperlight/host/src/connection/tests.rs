use std::{convert::Infallible, sync::mpsc, task::Waker, time::Instant};

use dormir_hyperlight_protocol::{
    CallId, FromHost,
    guest::{CallError, CallResult, Calls, InputProgress, Link, OutputProgress, Progress},
};

use super::*;
use crate::CallEndedError;

mod hostile;
mod panics;

/// How long anything may take here.
const LIMIT: Duration = Duration::from_secs(30);

/// A guest's end.
struct Guest {
    calls: Calls,
    link: Link,
    socket: UnixStream,
    signals: u32,
}

impl Guest {
    fn new(socket: UnixStream) -> Self {
        socket.set_read_timeout(Some(LIMIT)).expect("it has one");
        Self {
            calls: Calls::new(),
            link: Link::new(),
            socket,
            signals: 0,
        }
    }

    /// Sends what is due.
    fn send(&mut self, awaits_events: bool) {
        while self.link.is_due(&self.calls, awaits_events) {
            let batch = self.link.batch(&mut self.calls, awaits_events);
            self.socket.write_all(&batch).expect("the host reads");
        }
    }

    /// Waits for a reply, and takes it.
    fn receive(&mut self) {
        let mut prefix = frame::Prefix::default();
        self.socket.read_exact(&mut prefix).expect("it answers");
        let length = frame::length(prefix).expect("it is in the limit");
        let mut message = vec![0; length];
        self.socket.read_exact(&mut message).expect("it answers");
        let reply = self.link.take(&mut self.calls, &message);
        for record in reply.expect("it is sound").records() {
            if let FromHost::Signal { count, .. } = record {
                self.signals += count;
            }
        }
    }

    fn call(&mut self, name: &str, argument: &[u8]) -> CallId {
        self.calls.call(name, argument).expect("there is room")
    }

    fn ended(&mut self, id: CallId) -> Option<CallResult> {
        match self.calls.poll(id, Waker::noop()) {
            Progress::Ended(result) => Some(result),
            Progress::Waits(_) => None,
        }
    }

    fn result(&mut self, id: CallId) -> CallResult {
        loop {
            if let Some(result) = self.ended(id) {
                return result;
            }
            self.send(false);
            self.receive();
        }
    }
}

/// Serves a guest, and returns how that ended and what its calls still hold.
fn serve(host: Host, guest: impl FnOnce(UnixStream)) -> (Result<(), ServeError>, usize) {
    let (ours, guests) = UnixStream::pair().expect("a socket");
    thread::scope(|scope| {
        let serving = scope.spawn(|| host.serve(ours));
        guest(guests);
        let end = serving.join().expect("it does not panic");
        (end, host.usage().bytes)
    })
}

fn echo() -> Host {
    Host::new().async_function("echo", |bytes| async { Ok::<_, Infallible>(bytes) })
}

/// A host whose function `gate` ends when something is sent.
fn gated() -> (Host, mpsc::Sender<()>) {
    let (sender, receiver) = mpsc::channel();
    let receiver = Arc::new(std::sync::Mutex::new(receiver));
    let host = echo().async_function("gate", move |bytes| {
        let receiver = Arc::clone(&receiver);
        async move {
            let gate = receiver.lock().expect("no panic");
            gate.recv_timeout(LIMIT).map(|()| bytes)
        }
    });
    (host, sender)
}

#[test]
fn a_thousand_calls_are_in_flight() {
    let (end, bytes) = serve(echo(), |socket| {
        let mut guest = Guest::new(socket);
        for round in 0..3_u32 {
            let calls: Vec<_> = (0..1024_u32)
                .map(|number| (guest.call("echo", &number.to_le_bytes()), number))
                .collect();
            for (id, number) in calls {
                assert_eq!(guest.result(id), Ok(number.to_le_bytes().into()), "{round}");
            }
        }
        assert_eq!(guest.calls.in_use(), 0);
    });
    assert!(end.is_ok(), "{end:?}");
    assert_eq!(bytes, 0);
}

#[test]
fn a_call_goes_while_another_waits() {
    let (host, gate) = gated();
    let (end, _) = serve(host, |socket| {
        let mut guest = Guest::new(socket);
        let slow = guest.call("gate", b"slow");
        for number in 0..100_u8 {
            // The host holds this batch, so that the next is early.
            guest.send(false);
            let quick = guest.call("echo", &[number]);
            assert_eq!(guest.result(quick), Ok(vec![number]));
            assert!(guest.ended(slow).is_none());
        }
        gate.send(()).expect("it waits");
        assert_eq!(guest.result(slow), Ok(b"slow".into()));
    });
    assert!(end.is_ok(), "{end:?}");
}

#[test]
fn results_for_which_the_guest_has_no_memory_wait() {
    let large = |bytes: Vec<u8>| async move { Ok::<_, Infallible>(vec![bytes[0]; 9000]) };
    let (end, bytes) = serve(Host::new().async_function("large", large), |socket| {
        let mut guest = Guest::new(socket);
        guest.calls.set_budget(10_000);
        let calls: Vec<_> = (0..20_u8)
            .map(|number| (guest.call("large", &[number]), number))
            .collect();
        for (id, number) in calls.into_iter().rev() {
            assert_eq!(guest.result(id), Ok(vec![number; 9000]));
        }
        assert_eq!((guest.calls.in_use(), guest.calls.held()), (0, 0));
    });
    assert!(end.is_ok(), "{end:?}");
    assert_eq!(bytes, 0);
}

/// A guest that asks its host without a connection, so that a test says when a reply arrives.
struct Direct<'a> {
    state: &'a Arc<HostState>,
    calls: Calls,
    link: Link,
}

impl Direct<'_> {
    /// Sends the next batch. Returns the reply, which has not arrived.
    fn ask(&mut self) -> Vec<u8> {
        assert!(self.link.is_due(&self.calls, false));
        let batch = self.link.batch(&mut self.calls, false);
        self.state.exchange(&batch[size_of::<frame::Prefix>()..])
    }

    fn take(&mut self, reply: &[u8]) {
        let taken = self.link.take(&mut self.calls, reply);
        taken.expect("it is sound");
    }

    fn call(&mut self, number: u8) -> CallId {
        self.calls.call("large", &[number]).expect("there is room")
    }

    fn result(&mut self, id: CallId) -> CallResult {
        // Each wait is short, so that one that is in vain ends.
        for _ in 0..100 {
            if let Progress::Ended(result) = self.calls.poll(id, Waker::noop()) {
                return result;
            }
            let reply = self.ask();
            self.take(&reply);
        }
        panic!("it does not come");
    }
}

#[test]
fn an_early_batch_acknowledges_one_reply_less() {
    let large = |bytes: Vec<u8>| async move { Ok::<_, Infallible>(vec![bytes[0]; 3000]) };
    let host = Host::new()
        .with_longest_wait(Duration::from_millis(50))
        .async_function("large", large);
    let mut guest = Direct {
        state: &host.shared.state,
        calls: Calls::new(),
        link: Link::new(),
    };
    // Memory for one of them.
    guest.calls.set_budget(4000);
    let held = guest.call(1);
    let reply = guest.ask();
    guest.take(&reply);
    let late = guest.call(2);
    let reply = guest.ask();
    let other = guest.call(3);
    // The reply has not arrived, so the host keeps what is in it.
    let next_reply = guest.ask();
    guest.take(&reply);
    guest.take(&next_reply);
    for (id, number) in [(late, 2), (other, 3), (held, 1)] {
        assert_eq!(guest.result(id), Ok(vec![number; 3000]), "{number}");
    }
    assert_eq!((guest.calls.in_use(), guest.calls.held()), (0, 0));
    // With the next batch, which cancels nothing, the host has forgotten all.
    assert!(guest.calls.call("absent", &[]).is_ok());
    let reply = guest.ask();
    guest.take(&reply);
    assert_eq!(host.usage().bytes, 0);
}

#[test]
fn streams_go_both_ways() {
    const LENGTH: usize = 200_000;
    let double = |_, mut input: crate::Input, mut output: crate::Output| async move {
        while let Some(piece) = input.next().await {
            output.send(piece?).await?;
        }
        Ok::<_, CallEndedError>(())
    };
    let host = Host::new().streaming_function("copy", double);
    let (end, bytes) = serve(host, |socket| {
        let mut guest = Guest::new(socket);
        let id = guest.calls.streaming_call("copy", b"").expect("room");
        let sent: Vec<u8> = (0..LENGTH).map(|at| (at / 7) as u8).collect();
        let (mut rest, mut is_sent, mut got) = (&sent[..], false, Vec::new());
        loop {
            if !is_sent {
                let progress = guest.calls.poll_input(id, &mut rest, Waker::noop());
                is_sent = progress == InputProgress::Queued;
                if is_sent {
                    guest.calls.end_input(id);
                }
            }
            match guest.calls.poll_output(id, Waker::noop()) {
                OutputProgress::Piece(piece) => got.extend(piece),
                OutputProgress::Ended(end) => break assert_eq!(end, Ok(())),
                OutputProgress::Waits(_) => {
                    guest.send(false);
                    guest.receive();
                }
            }
        }
        assert!(got == sent, "{} bytes came back", got.len());
    });
    assert!(end.is_ok(), "{end:?}");
    assert_eq!(bytes, 0);
}

/// The thread that serves is none of the runtime's, and the functions run there.
#[cfg(feature = "tokio")]
#[test]
fn a_runtime_of_one_thread_runs_the_functions() {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().build().expect("it is made");
    let nap = |bytes| async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        Ok::<_, Infallible>(bytes)
    };
    let host = Host::new()
        .with_runtime(runtime.handle().clone())
        .async_function("nap", nap);
    let (end, bytes) = serve(host, |socket| {
        let calling = runtime.spawn_blocking(|| {
            let mut guest = Guest::new(socket);
            for number in 0..20 {
                let call = guest.call("nap", &[number]);
                assert_eq!(guest.result(call), Ok(vec![number]));
            }
        });
        runtime.block_on(calling).expect("it does not panic");
    });
    assert!(end.is_ok(), "{end:?}");
    assert_eq!(bytes, 0);
}

#[test]
fn signals_arrive_while_the_guest_waits() {
    let host = echo();
    let signaller = host.signaller();
    let (end, _) = serve(host, |socket| {
        let mut guest = Guest::new(socket);
        guest.send(true);
        signaller.signal(7);
        while guest.signals == 0 {
            guest.receive();
            guest.send(true);
        }
    });
    assert!(end.is_ok(), "{end:?}");
}

#[test]
fn a_call_goes_while_an_event_is_awaited() {
    let host = echo();
    let signaller = host.signaller();
    let (end, _) = serve(host, |socket| {
        let mut guest = Guest::new(socket);
        guest.send(true);
        let call = guest.call("echo", b"call");
        let result = loop {
            guest.send(true);
            guest.receive();
            if let Some(result) = guest.ended(call) {
                break result;
            }
        };
        assert_eq!((result, guest.signals), (Ok(b"call".into()), 0));
        signaller.signal(3);
        while guest.signals == 0 {
            guest.send(true);
            guest.receive();
        }
    });
    assert!(end.is_ok(), "{end:?}");
}

#[test]
fn the_end_of_the_connection_ends_the_calls() {
    let (host, _gate) = gated();
    let begun = Instant::now();
    let host = host.async_function("forever", |_| {
        std::future::pending::<Result<Vec<u8>, Infallible>>()
    });
    let (end, bytes) = serve(host, |socket| {
        let mut guest = Guest::new(socket);
        let call = guest.call("forever", b"argument");
        let queued = guest.call("echo", b"");
        guest.send(false);
        guest.calls.disconnected();
        assert_eq!(guest.ended(call), Some(Err(CallError::Lost)));
        assert_eq!(guest.ended(queued), Some(Err(CallError::Lost)));
        assert_eq!(guest.calls.call("echo", b""), Err(CallError::Lost));
        guest.calls.connected();
        assert!(guest.calls.call("echo", b"").is_ok());
    });
    assert!(end.is_ok() && begun.elapsed() < LIMIT, "{end:?}");
    assert_eq!(bytes, 0);
}

#[test]
fn a_host_serves_one_guest_after_another() {
    let host = echo();
    for _ in 0..3 {
        let (ours, guests) = UnixStream::pair().expect("a socket");
        thread::scope(|scope| {
            let serving = scope.spawn(|| host.serve(ours));
            let mut guest = Guest::new(guests);
            let call = guest.call("echo", b"1");
            assert_eq!(guest.result(call), Ok(b"1".into()));
            let (other, mut end) = UnixStream::pair().expect("a socket");
            let _open = other.try_clone().expect("a second handle");
            end.set_nonblocking(true).expect("it is a socket");
            assert!(matches!(host.serve(other), Err(ServeError::InUse)));
            assert!(matches!(end.read(&mut [0]), Ok(0)), "it is shut down");
            drop(guest);
            assert!(serving.join().expect("it does not panic").is_ok());
        });
    }
}
