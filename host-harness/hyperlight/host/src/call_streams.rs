//! The streams of a call in a host's table, as its function uses them.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    task::{Context, Poll, Waker},
};

use crate::{
    state::HostState,
    streams::{CallEndedError, CallStreams},
    table::{Polled, Started, Table},
};

pub(crate) struct StreamsOfCall {
    pub(crate) state: Arc<HostState>,
    pub(crate) started: Started,
}

impl StreamsOfCall {
    fn poll<T>(&self, poll: impl FnOnce(&mut Table) -> Polled<T>) -> Poll<T> {
        let polled = poll(&mut self.state.changing().calls);
        if polled.is_news {
            self.state.notify();
        }
        if let Some(woken) = polled.woken {
            // A waker of the user's runtime, which may panic.
            let _ = catch_unwind(AssertUnwindSafe(|| woken.wake()));
        }
        drop(polled.unused);
        polled.poll
    }
}

/// A copy of the task's waker. Cloning it is foreign code, so nothing is locked.
fn waker(cx: &Context<'_>) -> Waker {
    cx.waker().clone()
}

impl CallStreams for StreamsOfCall {
    fn poll_send(
        &self,
        piece: &mut &[u8],
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), CallEndedError>> {
        let waker = waker(cx);
        self.poll(|calls| calls.poll_send(self.started, piece, waker))
    }

    fn close_output(&self) {
        let _ = self.poll(|calls| calls.close_output(self.started));
    }

    fn poll_flush(&self, has_failed: bool, cx: &mut Context<'_>) -> Poll<()> {
        let waker = waker(cx);
        self.poll(|calls| calls.poll_flush(self.started, has_failed, waker))
    }

    fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Vec<u8>, CallEndedError>>> {
        let waker = waker(cx);
        self.poll(|calls| calls.poll_next(self.started, waker))
    }

    fn discard_input(&self) {
        let _ = self.poll(|calls| calls.discard_input(self.started));
    }
}
