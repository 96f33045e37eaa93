//! What both sides of a stream learn of its end, and who is woken.

use super::*;
use std::{
    sync::{
        Mutex,
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
