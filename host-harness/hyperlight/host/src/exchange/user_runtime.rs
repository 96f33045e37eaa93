//! A runtime of the user's, which may do anything.

use super::{tests::Guest, *};
use crate::runtime::{HostTask, Runtime};
use dormir_hyperlight_protocol::guest::CallError;
use std::{convert::Infallible, sync::Weak};

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
