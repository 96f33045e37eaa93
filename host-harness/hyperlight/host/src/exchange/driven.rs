//! Guests that are driven: their turns, without sandboxes.

use super::{
    model::{Random, host},
    tests::Guest,
    *,
};
use crate::{drive::drive, threads::Threads};
use dormir_hyperlight_protocol::{
    NO_DEADLINE, TASKS_ENDED, TASKS_STUCK,
    guest::{CallError, Calls, Progress},
};
use hyperlight_host::HyperlightError;
use std::{
    cell::Cell,
    convert::Infallible,
    future::{Future, pending},
    pin::pin,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread,
    time::Instant,
};

const LIMIT: Duration = Duration::from_secs(30);

#[derive(Default)]
struct CountsWakes(AtomicUsize);

impl Wake for CountsWakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Runs a future on this thread, which must end.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unparks(thread::Thread);
    impl Wake for Unparks {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unparks(thread::current())));
    let mut future = pin!(future);
    let start = Instant::now();
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        let left = LIMIT.checked_sub(start.elapsed());
        thread::park_timeout(left.expect("it does not end"));
    }
}

/// A turn of a guest that takes `room` bytes of results.
fn bare_turn(state: &Arc<HostState>, room: u32) {
    let changing = state.changing();
    let batch = Calls::new().batch(0, true, true);
    let mut header = Batch::parse(&batch).expect("it is sound").header;
    header.generation = changing.generation;
    header.number = changing.number.wrapping_add(1);
    header.room = room;
    drop(changing);
    state.exchange(&header.to_bytes());
}

/// The turns of a guest that has room for nothing, and of one whose timer is always due.
#[test]
fn each_turn_lets_other_tasks_run() {
    for (room, word, all) in [(0, NO_DEADLINE, 1), (0, 0, 100), (5000, 0, 100)] {
        let (state, _steps) = host(&Arc::new(()));
        state.signal(1);
        let turns = Cell::new(0);
        let wakes = Arc::new(CountsWakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let mut driven = pin!(drive(&state, || {
            turns.set(turns.get() + 1);
            bare_turn(&state, room);
            Ok(word)
        }));
        for poll in 1..=100 {
            let polled = driven.as_mut().poll(&mut Context::from_waker(&waker));
            assert!(polled.is_pending());
            assert_eq!(turns.get(), poll.min(all));
            assert_eq!(wakes.0.load(Ordering::Relaxed), poll.min(all));
        }
    }
}

/// A guest whose next timer is always due, and its call, on one thread.
#[test]
fn a_call_goes_on_beside_a_busy_guest() {
    let (state, steps) = host(&Arc::new(()));
    let mut guest = Guest::new();
    let call = guest.calls.call("wish", &[0; 10]).expect("there is room");
    let mut driven = pin!(drive(&state, || {
        guest.exchange(&state, 0);
        match guest.calls.poll(call, Waker::noop()) {
            Progress::Ended(result) => {
                assert_eq!(result, Ok(Vec::new()));
                Ok(TASKS_ENDED)
            }
            Progress::Waits(_) => Ok(0),
        }
    }));
    let mut cx = Context::from_waker(Waker::noop());
    let mut polls = 0;
    while driven.as_mut().poll(&mut cx).is_pending() {
        steps.poll_one(&mut Random(1));
        polls += 1;
        assert!(polls < 10);
    }
}

/// At any instant: before or in a turn, between turns, or in the wait; and the guest makes its call
/// again when that is lost.
#[test]
fn a_cancellation_always_ends_it() {
    let state = HostState::new(false, LIMIT, Duration::ZERO);
    let state = Arc::new(state);
    state.set_runtime(Threads::new(4));
    state.functions.add("forever".into(), |_| {
        pending::<std::result::Result<Vec<u8>, Infallible>>()
    });
    let guest = Mutex::new(Guest::new());
    let mut random = Random(5);
    for round in 0..300 {
        let mut guest = guest.lock().expect("no panic");
        let mut call = None;
        let mut turns = 0;
        let until = random.below(600) as u64;
        let begun = Arc::new(AtomicUsize::new(0));
        let canceller = {
            let (state, begun) = (Arc::clone(&state), Arc::clone(&begun));
            thread::spawn(move || {
                while begun.load(Ordering::Relaxed) == 0 {
                    thread::yield_now();
                }
                thread::sleep(Duration::from_micros(until));
                state.cancel();
            })
        };
        let driven = drive(&state, || {
            begun.store(1, Ordering::Relaxed);
            turns += 1;
            // The way into the guest takes its time.
            thread::sleep(Duration::from_micros(50));
            // As each call of a guest function.
            guest.is_first = true;
            for _ in 0..2 {
                let mut new = || guest.calls.call("forever", &[]).expect("there is room");
                let id = *call.get_or_insert_with(&mut new);
                if guest.exchange(&state, 0).status == ReplyStatus::Cancelled {
                    break;
                }
                while guest.calls.next_woken().is_some() {}
                if let Progress::Ended(result) = guest.calls.poll(id, Waker::noop()) {
                    assert!(matches!(result, Err(CallError::Lost | CallError::Busy)));
                    call = None;
                }
            }
            Ok(if round % 2 == 0 { NO_DEADLINE } else { 20_000 })
        });
        let ended = block_on(driven);
        let is_cancelled = matches!(ended, Err(HyperlightError::ExecutionCanceledByHost()));
        assert!(is_cancelled, "round {round}, turn {turns}: {ended:?}");
        canceller.join().expect("no panic");
        if let Some(id) = call {
            guest.calls.cancel(id);
        }
    }
}

#[test]
fn tasks_that_nothing_wakes_are_an_error() {
    let (state, _steps) = host(&Arc::new(()));
    let ended = block_on(drive(&state, || Ok(TASKS_STUCK)));
    let sentence = ended.expect_err("they are left").to_string();
    assert!(sentence.contains("nothing can wake"), "{sentence}");
}

/// Dropping the future forgets its waker, and ends no call.
#[test]
fn a_drive_that_is_dropped_leaves_the_guest_as_it_is() {
    let (state, _steps) = host(&Arc::new(()));
    let mut guest = Guest::new();
    let _ = guest.calls.call("wish", &[0; 10]);
    let wakes = Arc::new(CountsWakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    let mut driven = Box::pin(drive(&state, || {
        guest.exchange(&state, 0);
        Ok(NO_DEADLINE)
    }));
    for _ in 0..2 {
        let polled = driven.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
    }
    assert_eq!(Arc::strong_count(&wakes), 3);
    drop(driven);
    assert_eq!(Arc::strong_count(&wakes), 2);
    assert_eq!(state.usage().calls, 1);
    // A cancellation is for the next call only until that begins.
    state.cancel();
    guest.is_first = true;
    assert_eq!(guest.exchange(&state, 0).status, ReplyStatus::Done);
}
