//! [`Host::drive`]: a sandbox as a future.

use std::{
    future::poll_fn,
    task::Poll,
    time::{Duration, Instant},
};

use dormir_hyperlight_protocol::{NO_DEADLINE, TASKS_ENDED};
use hyperlight_host::{HyperlightError, Result, Sandbox};

use crate::{
    Host,
    state::{Change, HostState},
    timer::Alarm,
};

impl Host {
    /// Runs the guest's tasks until all have ended, without a thread that waits: while the guest
    /// waits for host calls, signals or time, this future is pending. So a few threads drive many
    /// sandboxes, and a `current_thread` runtime may drive its own.
    ///
    /// `function` is the name of a guest function without arguments that returns the word of
    /// `dormir::hyperlight::poll_once`. It is called once for each turn, in the poll of this
    /// future: the guest's own work takes the thread's time.
    ///
    /// ```text
    /// #[guest_function]
    /// fn turn() -> Result<u64, HyperlightGuestError> {
    ///     Ok(dormir::hyperlight::poll_once()?.to_word())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// That of the function, or `ExecutionCanceledByHost` if a [`Canceller`](crate::Canceller) ends
    /// the wait. Then the sandbox is not poisoned, and its host calls have ended as lost.
    pub async fn drive(&self, sandbox: &mut Sandbox, function: &str) -> Result<()> {
        let state = self.state();
        state.begin();
        loop {
            let word: u64 = sandbox.call(function, ())?;
            if word == TASKS_ENDED {
                return Ok(());
            }
            match change(state, word).await {
                Some(Change::Cancelled) => {
                    return Err(HyperlightError::ExecutionCanceledByHost());
                }
                Some(Change::News) | None => {}
            }
        }
    }
}

/// Waits for something for the guest, at most for `nanos` nanoseconds; then `None`.
async fn change(state: &HostState, nanos: u64) -> Option<Change> {
    let end = match nanos {
        NO_DEADLINE => None,
        nanos => Instant::now().checked_add(Duration::from_nanos(nanos)),
    };
    let mut alarm = None;
    poll_fn(|cx| {
        if let Poll::Ready(change) = state.poll_change(cx.waker()) {
            return Poll::Ready(Some(change));
        }
        let Some(end) = end else {
            return Poll::Pending;
        };
        if end <= Instant::now() {
            return Poll::Ready(None);
        }
        alarm = Alarm::new(end, cx.waker().clone());
        // Without a thread for timers, the guest is asked again at once.
        if alarm.is_some() {
            Poll::Pending
        } else {
            Poll::Ready(None)
        }
    })
    .await
}
