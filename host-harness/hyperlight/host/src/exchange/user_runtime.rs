//! A runtime of the user's, which may do anything.

use super::{tests::Guest, *};
use crate::runtime::{HostTask, Runtime};
use dormir_hyperlight_protocol::guest::{CallError, Progress};
use std::{
    convert::Infallible,
    sync::Weak,
    task::{Wake, Waker},
};

/// A runtime that uses its host in all that it is asked, and then panics.
struct Uses(Weak<HostState>);

impl Uses {
    fn host(&self) {
        if let Some(state) = self.0.upgrade() {
            state.signal(1);
            assert_eq!(state.usage().exchanges, 0, "on purpose");
        }
    }
}

impl Runtime for Uses {
    fn spawn(&self, _: HostTask) {
        self.host();
    }

    fn wait(&self, _: &mut dyn FnMut()) {
        self.host();
    }

    fn first_poll_within(&self) -> Option<Duration> {
        self.host();
        None
    }
}

#[test]
fn a_runtime_may_use_its_host_and_panic() {
    let state = Arc::new(HostState::new(false, Duration::MAX, Duration::ZERO));
    state.set_runtime(Uses(Arc::downgrade(&state)));
    state.functions.add(
        "echo".into(),
        |bytes| async move { Ok::<_, Infallible>(bytes) },
    );
    let mut guest = Guest::new();
    assert_eq!(guest.call(&state, "echo", &[]), Err(CallError::Lost));
    assert_eq!(guest.exchange(&state, 1).status, ReplyStatus::Done);
}

struct PanicsInWake;

impl Wake for PanicsInWake {
    fn wake(self: Arc<Self>) {
        panic!("on purpose");
    }
}

/// The end of a call is noted in a `drop`, where a panic of the executor's waker would be fatal.
#[test]
fn a_driver_whose_waker_panics_harms_no_one() {
    let (state, steps) = model::host(&Arc::new(()));
    let waker = Waker::from(Arc::new(PanicsInWake));
    let mut guest = Guest::new();
    let id = guest.calls.call("wish", &[0; 10]).expect("there is room");
    guest.exchange(&state, 0);
    assert!(state.poll_change(&waker).is_pending());
    steps.poll_one(&mut model::Random(1));
    assert!(state.poll_change(&waker).is_ready());
    guest.exchange(&state, 0);
    assert!(state.poll_change(&waker).is_pending());
    state.signal(1);
    let ended = guest.calls.poll(id, &waker);
    assert!(matches!(ended, Progress::Ended(Ok(bytes)) if bytes.is_empty()));
}
