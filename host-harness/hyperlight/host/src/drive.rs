//! [`Host::drive`]: a sandbox as a future.

use std::{
    future::poll_fn,
    task::{Poll, Waker},
    time::{Duration, Instant},
};

use dormir_hyperlight_protocol::{NO_DEADLINE, STALLED, TASKS_ENDED, TASKS_STUCK};
use hyperlight_host::{HyperlightError, Result, Sandbox};

use crate::{Host, state::HostState, timer::Alarm};

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
    /// Each poll makes one turn at most, so that the executor can poll its other tasks, such as the
    /// guest's own host calls.
    ///
    /// Dropping the future ends no host call. The guest's tasks stay as they are, and go on with
    /// the next call of a guest function that runs tasks.
    ///
    /// # Errors
    ///
    /// That of the function; `ExecutionCanceledByHost` if a [`Canceller`](crate::Canceller) ends
    /// this, at any instant since its first poll; or an error that says so if tasks are left that
    /// nothing can wake, or if the guest's calls are [not
    /// polled](crate::Runtime::first_poll_within). A cancellation poisons the sandbox only if it
    /// interrupts the guest. The guest's host calls end as lost.
    ///
    /// `sandbox` must be the one with which this `Host` is registered: the news of another sandbox
    /// does not arrive here, so this would wait without an end.
    pub async fn drive(&self, sandbox: &mut Sandbox, function: &str) -> Result<()> {
        drive(self.state(), || sandbox.call(function, ())).await
    }
}

/// Calls `turn` until the guest's tasks have ended.
pub(crate) async fn drive(state: &HostState, mut turn: impl FnMut() -> Result<u64>) -> Result<()> {
    let driven = state.begin_drive();
    loop {
        let turned = turn();
        let is_cancelled = state.changing().is_drive_cancelled();
        let word = match turned {
            // The guest's error says that its wait was cancelled.
            Ok(_) | Err(HyperlightError::GuestError(..)) if is_cancelled => return Err(CANCELLED),
            turned => turned?,
        };
        let end = match word {
            TASKS_ENDED => return Ok(()),
            TASKS_STUCK => return Err(HyperlightError::Error(STUCK.into())),
            NO_DEADLINE => None,
            nanos => Instant::now().checked_add(Duration::from_nanos(nanos)),
        };
        // What the turn has started may need this thread.
        yield_now().await;
        match change(driven.0, end).await {
            Some(Change::Cancelled) => return Err(CANCELLED),
            Some(Change::Stalled) => return Err(HyperlightError::Error(STALLED.into())),
            // An executor may poll the task that was woken last first. Others may have results for
            // the same turn, which costs far more than a poll.
            Some(Change::News) => yield_now().await,
            None => {}
        }
    }
}

const CANCELLED: HyperlightError = HyperlightError::ExecutionCanceledByHost();

const STUCK: &str = "the guest has tasks that nothing can wake: none is ready, no timer is set, no \
                     host call is in flight, no event is awaited. Look for a future in the guest \
                     that is never completed";

/// Lets the executor run its other tasks.
async fn yield_now() {
    let mut has_yielded = false;
    poll_fn(|cx| {
        if has_yielded {
            return Poll::Ready(());
        }
        has_yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Waits for something for the guest, at most until `end`; then `None`.
async fn change(state: &HostState, end: Option<Instant>) -> Option<Change> {
    let patience = state.patience();
    state.note_activity();
    let mut alarm = None;
    poll_fn(|cx| {
        if let Poll::Ready(change) = state.poll_change(cx.waker()) {
            return Poll::Ready(Some(change));
        }
        let now = Instant::now();
        if end.is_some_and(|end| end <= now) {
            return Poll::Ready(None);
        }
        let looked = match patience {
            Some(patience) => state.look_for_stall(&state.changing(), patience),
            None => Ok(None),
        };
        let Ok(look_in) = looked else {
            return Poll::Ready(Some(Change::Stalled));
        };
        let look_at = look_in.and_then(|look_in| now.checked_add(look_in));
        let Some(at) = end.into_iter().chain(look_at).min() else {
            return Poll::Pending;
        };
        alarm = Alarm::new(at, cx.waker().clone());
        // Without a thread for timers, the guest is asked again at once.
        if alarm.is_some() {
            Poll::Pending
        } else {
            Poll::Ready(None)
        }
    })
    .await
}

impl HostState {
    /// Whether there is something for the guest; if not, `waker` is woken when there may be.
    pub(crate) fn poll_change(&self, waker: &Waker) -> Poll<Change> {
        // Cloning and dropping a waker is foreign code.
        let waker = waker.clone();
        let mut changing = self.changing();
        if changing.is_drive_cancelled() {
            return Poll::Ready(Change::Cancelled);
        }
        if changing.calls.has_news(changing.room) {
            return Poll::Ready(Change::News);
        }
        let before = changing.driver.replace(waker);
        drop(changing);
        drop(before);
        Poll::Pending
    }

    /// The sandbox is driven from now on, until what this returns is dropped. Cancellations before
    /// were for earlier calls.
    fn begin_drive(&self) -> Driven<'_> {
        let mut changing = self.changing();
        changing.driven_since = Some(changing.cancellations);
        drop(changing);
        Driven(self)
    }
}

/// A sandbox that is driven.
struct Driven<'a>(&'a HostState);

impl Drop for Driven<'_> {
    fn drop(&mut self) {
        let mut changing = self.0.changing();
        changing.driven_since = None;
        let driver = changing.driver.take();
        drop(changing);
        drop(driver);
    }
}

/// Why the guest should go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    News,
    Cancelled,
    /// The runtime does not run the guest's calls.
    Stalled,
}
