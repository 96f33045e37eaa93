use super::*;
use crate::{limits::Limits, threads::Threads};
use dormir_hyperlight_protocol::{
    NO_DEADLINE, Reply,
    guest::{CallError, CallResult, Calls, Progress},
};
use std::{convert::Infallible, sync::mpsc, task::Waker, thread, time::Instant};

mod budget;
mod queues;
mod repeats;
mod streams;

const SECOND: u64 = 1_000_000_000;

fn state() -> Arc<HostState> {
    let hour = Duration::from_secs(3600);
    let state = Arc::new(HostState::new(false, hour, Duration::from_micros(50)));
    state.set_runtime(Threads::new(100));
    state
}

/// A guest's side, with the flag of its first batch.
pub(super) struct Guest {
    pub(super) calls: Calls,
    pub(super) is_first: bool,
}

impl Guest {
    pub(super) fn new() -> Self {
        Self {
            calls: Calls::new(),
            is_first: true,
        }
    }

    pub(super) fn exchange(&mut self, state: &Arc<HostState>, wait: u64) -> ReplyHeader {
        let is_first = std::mem::take(&mut self.is_first);
        let batch = self.calls.batch(wait, is_first, false);
        let reply = state.exchange(&batch);
        let reply = Reply::parse(&reply).expect("it is sound");
        assert!(self.calls.take_reply(&reply));
        reply.header
    }

    pub(super) fn call(
        &mut self,
        state: &Arc<HostState>,
        name: &str,
        argument: &[u8],
    ) -> CallResult {
        let id = self.calls.call(name, argument)?;
        loop {
            if let Progress::Ended(result) = self.calls.poll(id, Waker::noop()) {
                return result;
            }
            self.exchange(state, NO_DEADLINE);
        }
    }
}

/// Waits until the runtime has dropped the tasks of calls that were ended.
fn no_calls_are_left(state: &HostState) {
    let start = Instant::now();
    while state.usage().calls > 0 {
        assert!(start.elapsed() < Duration::from_secs(30));
        thread::sleep(Duration::from_millis(1));
    }
}

fn generation(guest: &mut Guest, state: &Arc<HostState>) -> u64 {
    guest.exchange(state, 0).generation
}

#[test]
fn a_guest_that_is_as_it_was_left_has_the_same_generation() {
    let state = state();
    let mut guest = Guest::new();
    let first = generation(&mut guest, &state);
    assert_ne!(first, 0);
    assert_eq!(generation(&mut guest, &state), first);
    // Another guest, as if restored to its beginning.
    let mut restored = Guest::new();
    let second = generation(&mut restored, &state);
    assert_ne!(second, first);
    // The first one again, as if restored once more.
    let third = generation(&mut guest, &state);
    assert!(third != first && third != second);
    assert_eq!(generation(&mut guest, &state), third);
    // On another host.
    assert_ne!(generation(&mut guest, &self::state()), third);
}

#[test]
fn a_wait_is_never_short() {
    let start = Instant::now();
    let reply = Guest::new().exchange(&state(), 3_000_000);
    assert!(start.elapsed() >= Duration::from_millis(3));
    assert_eq!(reply.status, ReplyStatus::Done);
    assert!(reply.now >= 3_000_000);
}

#[test]
fn the_limit_is_kept_and_no_number_overflows() {
    let state = state();
    let mut guest = Guest::new();
    for nanos in [u64::MAX, u64::MAX - 1, 3600 * SECOND + 1] {
        assert_eq!(guest.exchange(&state, nanos).status, ReplyStatus::TooLong);
    }
    state.set_longest_wait(Duration::from_millis(1));
    assert_eq!(
        guest.exchange(&state, 1_000_001).status,
        ReplyStatus::TooLong
    );
    assert_eq!(guest.exchange(&state, 1_000_000).status, ReplyStatus::Done);
}

#[test]
fn a_cancelled_wait_ends_at_once() {
    let state = state();
    state.set_longest_wait(Duration::MAX);
    let waiting = {
        let state = Arc::clone(&state);
        thread::spawn(move || Guest::new().exchange(&state, NO_DEADLINE).status)
    };
    thread::sleep(Duration::from_millis(20));
    let cancelled = Instant::now();
    state.cancel();
    assert_eq!(waiting.join().expect("it ends"), ReplyStatus::Cancelled);
    assert!(cancelled.elapsed() < Duration::from_millis(500));
    // A later wait of the same call too. The next call does not wait in its first exchange, since
    // the cancellation may be its own.
    let mut guest = Guest::new();
    guest.is_first = false;
    assert_eq!(
        guest.exchange(&state, NO_DEADLINE).status,
        ReplyStatus::Cancelled
    );
    guest.is_first = true;
    assert_eq!(
        guest.exchange(&state, 100 * SECOND).status,
        ReplyStatus::Done
    );
    let start = Instant::now();
    assert_eq!(guest.exchange(&state, 3_000_000).status, ReplyStatus::Done);
    assert!(start.elapsed() >= Duration::from_millis(3));
}

#[test]
fn functions_end_in_every_way() {
    let state = state();
    state.functions.add(
        "echo".into(),
        |bytes| async move { Ok::<_, Infallible>(bytes) },
    );
    state
        .functions
        .add("fails".into(), |_| async move { Err("no") });
    state.functions.add("panics".into(), |_| async move {
        if true {
            panic!("on purpose");
        }
        Ok::<_, Infallible>(Vec::new())
    });
    state.functions.add("panics at once".into(), |bytes| {
        assert!(bytes.is_empty(), "on purpose");
        async { Ok::<_, Infallible>(Vec::new()) }
    });
    let mut guest = Guest::new();
    for length in [0, 1, 1000, 30_000] {
        let bytes = vec![7; length];
        assert_eq!(guest.call(&state, "echo", &bytes), Ok(bytes));
    }
    assert_eq!(
        guest.call(&state, "fails", &[]),
        Err(CallError::Host("no".into()))
    );
    assert_eq!(guest.call(&state, "panics", &[]), Err(CallError::Panicked));
    assert_eq!(
        guest.call(&state, "panics at once", &[1]),
        Err(CallError::Panicked)
    );
    assert_eq!(guest.call(&state, "nothing", &[]), Err(CallError::Unknown));
    guest.exchange(&state, 0);
    let usage = state.usage();
    assert_eq!((usage.calls, usage.bytes, usage.started), (0, 0, 7));
}

#[test]
fn a_large_result_comes_in_pieces() {
    let state = state();
    let whole: Vec<u8> = (0..300_000_u32).map(|at| (at % 251) as u8).collect();
    let result = whole.clone();
    state.functions.add("large".into(), move |_| {
        let result = result.clone();
        async move { Ok::<_, Infallible>(result) }
    });
    let mut guest = Guest::new();
    assert_eq!(guest.call(&state, "large", &[]), Err(CallError::TooLarge));
    guest.calls.set_budget(1 << 20);
    let before = state.usage().exchanges;
    assert_eq!(guest.call(&state, "large", &[]), Ok(whole));
    let exchanges = state.usage().exchanges - before;
    assert!(exchanges <= 8, "{exchanges}");
    guest.exchange(&state, 0);
    assert_eq!((state.usage().calls, state.usage().bytes), (0, 0));
}

#[test]
fn many_calls_take_few_exchanges() {
    let state = state();
    state.set_linger(Duration::from_millis(20));
    state.functions.add("slow".into(), |bytes| async move {
        thread::sleep(Duration::from_millis(50));
        Ok::<_, Infallible>(bytes)
    });
    let mut guest = Guest::new();
    let mut ids: Vec<_> = (0..100).map(|_| guest.calls.call("slow", &[])).collect();
    let start = Instant::now();
    while !ids.is_empty() {
        guest.exchange(&state, NO_DEADLINE);
        ids.retain(|id| {
            let id = *id.as_ref().expect("there is room");
            matches!(guest.calls.poll(id, Waker::noop()), Progress::Waits(_))
        });
    }
    let (elapsed, exchanges) = (start.elapsed(), state.usage().exchanges);
    assert!(elapsed < Duration::from_secs(2), "{elapsed:?}");
    assert!(exchanges < 50, "{exchanges}");
}

#[test]
fn a_linger_without_an_end_ends_with_the_calls() {
    let state = state();
    state.set_linger(Duration::MAX);
    state.functions.add("slow".into(), |bytes| async move {
        thread::sleep(Duration::from_millis(20));
        Ok::<_, Infallible>(bytes)
    });
    let mut guest = Guest::new();
    state.signal(1);
    assert_eq!(guest.call(&state, "slow", &[1]), Ok(vec![1]));
    state.signal(1);
    assert_eq!(guest.exchange(&state, 1000).status, ReplyStatus::Done);
}

#[test]
fn limits_count_everything() {
    let state = state();
    state.set_limits(Limits::new().with_calls(3).with_bytes(100));
    let (sender, receiver) = mpsc::channel::<()>();
    let receiver = std::sync::Mutex::new(Some(receiver));
    state.functions.add("waits".into(), move |_| {
        let receiver = receiver.lock().expect("no panic").take();
        async move {
            // The first one blocks its thread.
            let _ = receiver.map(|receiver| receiver.recv());
            std::future::pending::<Result<Vec<u8>, Infallible>>().await
        }
    });
    state.functions.add("large".into(), |_| async {
        Ok::<_, Infallible>(vec![0; 101])
    });
    let mut guest = Guest::new();
    assert_eq!(guest.call(&state, "waits", &[0; 101]), Err(CallError::Busy));
    assert_eq!(guest.call(&state, "large", &[]), Err(CallError::TooLarge));
    let mut waits: Vec<_> = (0..3)
        .map(|_| guest.calls.call("waits", &[]).expect("there is room"))
        .collect();
    assert_eq!(guest.call(&state, "large", &[]), Err(CallError::Busy));
    // A call that was cancelled counts while its function holds on.
    thread::sleep(Duration::from_millis(50));
    guest.calls.cancel(waits.remove(0));
    assert_eq!(guest.call(&state, "large", &[]), Err(CallError::Busy));
    drop(sender);
    let start = Instant::now();
    while guest.call(&state, "large", &[]) == Err(CallError::Busy) {
        assert!(start.elapsed() < Duration::from_secs(30));
    }
    // The sandbox goes.
    state.close();
    assert_eq!(state.usage().bytes, 0);
    no_calls_are_left(&state);
}

/// The runtime's tasks are bounded too, whatever the guest starts and cancels.
#[test]
fn a_cancelled_call_counts_until_its_task_is_gone() {
    let (state, steps) = model::host(&Arc::new(()));
    state.set_limits(Limits::new().with_calls(3));
    let mut guest = Guest::new();
    for round in 0..100 {
        let id = guest.calls.call("wish", &[0; 10]).expect("there is room");
        guest.exchange(&state, 0);
        guest.calls.cancel(id);
        guest.exchange(&state, 0);
        let tasks = steps.0.lock().expect("no panic").len();
        assert_eq!(
            (state.usage().calls, tasks),
            (3.min(round + 1), 3.min(round + 1))
        );
        assert_eq!(state.usage().bytes, 0);
    }
    assert_eq!(guest.call(&state, "wish", &[0; 10]), Err(CallError::Busy));
    steps.poll_one(&mut model::Random(1));
    let _ = guest.calls.call("wish", &[0; 10]);
    guest.exchange(&state, 0);
    assert_eq!(state.usage().started, 4);
}

#[test]
fn a_reply_that_is_lost_is_repeated() {
    let state = state();
    state.functions.add("slow".into(), |bytes| async move {
        thread::sleep(Duration::from_millis(20));
        Ok::<_, Infallible>(bytes)
    });
    let mut guest = Guest::new();
    guest.exchange(&state, 0);
    let first = guest.calls.call("slow", b"once").expect("there is room");
    guest.exchange(&state, 0);
    thread::sleep(Duration::from_millis(200));
    state.signal(4);
    let lost = guest.calls.call("slow", b"lost").expect("there is room");
    for _ in 0..3 {
        let batch = guest.calls.batch(NO_DEADLINE, false, false);
        let reply = state.exchange(&batch);
        let reply = Reply::parse(&reply).expect("it is sound");
        assert!(reply.records().count() >= 2, "the signal and the result");
        guest.calls.no_answer();
    }
    guest.exchange(&state, SECOND);
    let ended = guest.calls.poll(first, Waker::noop());
    assert!(matches!(ended, Progress::Ended(Ok(bytes)) if bytes == b"once"));
    let ended = guest.calls.poll(lost, Waker::noop());
    assert!(matches!(ended, Progress::Ended(Err(CallError::Lost))));
    // It was started once, and is cancelled.
    assert_eq!(state.usage().started, 2);
    guest.exchange(&state, 0);
    guest.exchange(&state, 0);
    no_calls_are_left(&state);
}

#[test]
fn a_restore_ends_what_was_in_flight() {
    let state = state();
    let (sender, receiver) = mpsc::channel::<()>();
    state.functions.add("waits".into(), move |_| {
        let held = sender.clone();
        async move {
            let _held = held;
            std::future::pending::<Result<Vec<u8>, Infallible>>().await
        }
    });
    let mut guest = Guest::new();
    let id = guest.calls.call("waits", &[]).expect("there is room");
    guest.exchange(&state, 1000);
    // Another guest's batch, as of a snapshot.
    let mut other = Guest::new();
    other.exchange(&state, 0);
    no_calls_are_left(&state);
    // It is told at once.
    guest.exchange(&state, NO_DEADLINE);
    let ended = guest.calls.poll(id, Waker::noop());
    assert!(matches!(ended, Progress::Ended(Err(CallError::Lost))));
    // All that is left is the function itself.
    assert!(
        receiver
            .try_recv()
            .is_err_and(|error| error == mpsc::TryRecvError::Empty)
    );
}

#[test]
fn a_cancellation_loses_calls() {
    let state = state();
    state.functions.add("waits".into(), |_| {
        std::future::pending::<Result<Vec<u8>, Infallible>>()
    });
    let mut guest = Guest::new();
    let id = guest.calls.call("waits", &[]).expect("there is room");
    guest.exchange(&state, 1000);
    state.cancel();
    assert_eq!(state.usage().calls, 1, "its end was not collected");
    guest.is_first = true;
    guest.exchange(&state, NO_DEADLINE);
    let ended = guest.calls.poll(id, Waker::noop());
    assert!(matches!(ended, Progress::Ended(Err(CallError::Lost))));
}
