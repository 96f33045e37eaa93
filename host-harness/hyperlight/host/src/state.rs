//! What a guest's exchanges and its `Host` share: the generation, the time, the guest's calls, and
//! whether waits are cancelled.

use std::{
    collections::hash_map::RandomState,
    fmt,
    hash::BuildHasher,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, atomic::AtomicU64},
    task::Waker,
    time::{Duration, Instant},
};

use dormir_hyperlight_protocol::Status;

use crate::{
    functions::Functions,
    inbox::Inbox,
    limits::{Limits, Usage},
    runtime::Runtime,
    table::{Aborts, Started, Table},
    task::{CallTask, OnEnd, TaskFuture},
    threads::Threads,
    tsc,
};

pub(crate) struct HostState {
    pub(crate) epoch: Instant,
    pub(crate) tsc_hz: u64,
    pub(crate) functions: Functions,
    runtime: OnceLock<Box<dyn Runtime>>,
    /// When calls last made progress, or had no reason to, in milliseconds since the epoch.
    pub(crate) active_at: AtomicU64,
    changing: Mutex<Changing>,
    /// A call has ended, an event was signalled, or the wait was cancelled.
    changed: Condvar,
}

pub(crate) struct Changing {
    /// Whether the waits of the guest's current call are cancelled.
    pub(crate) is_cancelled: bool,
    pub(crate) cancellations: u64,
    pub(crate) interrupts: bool,
    pub(crate) longest_wait: Duration,
    pub(crate) linger: Duration,
    /// The generation of the guest's memory. Never zero, with which the guest denotes none.
    pub(crate) generation: u64,
    /// The number of the guest's last batch.
    pub(crate) number: u64,
    /// The digest of that batch's first attempt.
    pub(crate) digest: u64,
    pub(crate) exchanges: u64,
    /// How many bytes of results the guest took at most in its last batch.
    pub(crate) room: usize,
    pub(crate) calls: Table,
    /// What has come over a connection.
    pub(crate) inbox: Inbox,
    /// Wakes the task that drives the sandbox.
    pub(crate) driver: Option<Waker>,
    /// How many cancellations there were when that task began, if there is one.
    pub(crate) driven_since: Option<u64>,
}

impl Changing {
    /// Whether the sandbox is driven, and that was cancelled. It lasts for many calls.
    pub(crate) fn is_drive_cancelled(&self) -> bool {
        self.driven_since
            .is_some_and(|since| since != self.cancellations)
    }
}

impl HostState {
    pub(crate) fn new(interrupts: bool, longest_wait: Duration, linger: Duration) -> Self {
        Self {
            epoch: Instant::now(),
            tsc_hz: tsc::hz(),
            functions: Functions::default(),
            runtime: OnceLock::new(),
            active_at: AtomicU64::new(0),
            changing: Mutex::new(Changing {
                is_cancelled: false,
                cancellations: 0,
                interrupts,
                longest_wait,
                linger,
                // A snapshot may come from another host, whose generations must differ.
                generation: RandomState::new().hash_one(0_u64) | 1,
                number: 0,
                digest: 0,
                exchanges: 0,
                room: usize::MAX,
                calls: Table::default(),
                inbox: Inbox::default(),
                driver: None,
                driven_since: None,
            }),
            changed: Condvar::new(),
        }
    }

    pub(crate) fn set_longest_wait(&self, longest: Duration) {
        self.changing().longest_wait = longest;
    }

    pub(crate) fn set_linger(&self, linger: Duration) {
        self.changing().linger = linger;
    }

    pub(crate) fn set_limits(&self, limits: Limits) {
        self.changing().calls.limits = limits;
    }

    /// Sets the runtime. Returns `false` if there is one already.
    pub(crate) fn set_runtime(&self, runtime: impl Runtime) -> bool {
        self.runtime.set(Box::new(runtime)).is_ok()
    }

    pub(crate) fn usage(&self) -> Usage {
        let changing = self.changing();
        Usage {
            calls: changing.calls.calls(),
            bytes: changing.calls.bytes(),
            started: changing.calls.started(),
            exchanges: changing.exchanges,
        }
    }

    /// Ends the current wait, and all waits until the next call of a guest function. Calls that run
    /// are lost.
    #[cfg(any(test, feature = "hyperlight"))]
    pub(crate) fn cancel(&self) {
        let mut aborts = Aborts::default();
        let mut changing = self.changing();
        changing.is_cancelled = true;
        changing.cancellations += 1;
        changing.calls.lose_all(&mut aborts);
        drop(changing);
        self.notify();
        aborts.abort();
    }

    /// Ends all calls: the guest is gone.
    pub(crate) fn close(&self) {
        let mut aborts = Aborts::default();
        self.changing().calls.clear(&mut aborts);
        aborts.abort();
    }

    pub(crate) fn signal(&self, event: u8) {
        self.changing().calls.signal(event, 1);
        self.notify();
    }

    /// The runtime; threads, if none was set.
    pub(crate) fn runtime(&self) -> &dyn Runtime {
        self.runtime
            .get_or_init(|| Box::new(Threads::default()))
            .as_ref()
    }

    /// Makes the runtime run a call. If it panics, the call is lost.
    pub(crate) fn spawn(&self, task: Arc<CallTask>) {
        let task = Box::pin(TaskFuture(task));
        let _ = catch_unwind(AssertUnwindSafe(|| self.runtime().spawn(task)));
    }

    pub(crate) fn changing(&self) -> MutexGuard<'_, Changing> {
        // Nothing panics while it is locked.
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends waits for a change.
    pub(crate) fn notify(&self) {
        self.changed.notify_all();
        let driver = self.changing().driver.take();
        // It is the user's, so it is woken while nothing is locked; and it may panic.
        if let Some(driver) = driver {
            let _ = catch_unwind(AssertUnwindSafe(|| driver.wake()));
        }
    }

    /// Waits until something changes, at most for `limit`.
    pub(crate) fn wait_for_change<'a>(
        &self,
        changing: MutexGuard<'a, Changing>,
        limit: Duration,
    ) -> MutexGuard<'a, Changing> {
        let woken = self.changed.wait_timeout(changing, limit);
        woken.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl fmt::Debug for HostState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostState")
            .field("usage", &self.usage())
            .finish_non_exhaustive()
    }
}

/// Notes the end of a call, when its future is gone.
pub(crate) struct EndOfCall {
    pub(crate) state: Arc<HostState>,
    pub(crate) started: Started,
    pub(crate) result: Option<(Status, Vec<u8>)>,
}

impl OnEnd for EndOfCall {
    fn begins(&self) {
        self.state.note_activity();
    }

    fn ended(mut self: Box<Self>, status: Status, bytes: Vec<u8>) {
        self.result = Some((status, bytes));
    }
}

impl Drop for EndOfCall {
    fn drop(&mut self) {
        let result = self.result.take();
        self.state.note_activity();
        let mut aborts = Aborts::default();
        let mut changing = self.state.changing();
        changing.calls.ended(self.started, result, &mut aborts);
        drop(changing);
        aborts.abort();
        self.state.notify();
    }
}
