//! The guest's calls, and what is told when some are to be sent.

use core::{
    cell::RefCell,
    sync::atomic::{AtomicUsize, Ordering},
    task::Waker,
};

use critical_section::Mutex;
use dormir_hyperlight_protocol::{CallId, guest::Calls};

#[cfg(feature = "host-calls")]
use super::connected::Connected;
use crate::{hook::Hook, progress};

static TABLE: Mutex<RefCell<Table>> = Mutex::new(RefCell::new(Table::new()));

/// Called when what is queued fills a batch.
static FULL: Hook = Hook::none();

/// The number of `EventWait`s.
static AWAITED: AtomicUsize = AtomicUsize::new(0);

pub(super) struct Table {
    pub(super) calls: Calls,
    /// The connection that sends them, if there is one.
    #[cfg(feature = "host-calls")]
    pub(super) connection: Option<Connected>,
}

impl Table {
    const fn new() -> Self {
        Self {
            calls: Calls::new(),
            #[cfg(feature = "host-calls")]
            connection: None,
        }
    }
}

/// Runs `work` in a critical section. No foreign code runs in it: wakers are cloned, woken and
/// dropped outside.
pub(super) fn with_table<R>(work: impl FnOnce(&mut Table) -> R) -> R {
    critical_section::with(|cs| work(&mut TABLE.borrow_ref_mut(cs)))
}

/// As [`with_table`], with the calls. If something is to be sent afterwards, the task that sends is
/// woken.
pub(crate) fn with_calls<R>(work: impl FnOnce(&mut Calls) -> R) -> R {
    #[cfg(not(feature = "host-calls"))]
    return with_table(|table| work(&mut table.calls));
    #[cfg(feature = "host-calls")]
    {
        let (result, sender) = with_table(|table| {
            let result = work(&mut table.calls);
            let connection = table.connection.as_mut();
            (
                result,
                connection.and_then(|it| it.due(&table.calls, awaits_events())),
            )
        });
        if let Some(sender) = sender {
            sender.wake();
        }
        result
    }
}

/// The call waits for this waker from now on.
pub(super) fn keep_waker(id: CallId, waker: &Waker) {
    let waker = waker.clone();
    let unused = with_calls(|calls| calls.set_waker(id, waker));
    drop(unused);
}

/// Sets what is called when what is queued fills a batch.
#[cfg(feature = "hyperlight")]
pub(crate) fn on_full(send: fn()) {
    FULL.set(send);
}

/// To be called before a call, or a stream, waits.
pub(super) fn send_if_full() {
    if FULL.is_set() && with_calls(|calls| calls.fills_a_batch()) {
        FULL.call();
    }
}

/// Wakes the tasks whose calls have ended or go on.
pub(crate) fn wake() {
    while let Some(waker) = with_table(|table| table.calls.next_woken()) {
        progress::note();
        waker.wake();
    }
}

/// Whether the guest waits for the host's signals.
pub(crate) fn awaits_events() -> bool {
    AWAITED.load(Ordering::Relaxed) > 0
}

/// An event is awaited from now on.
pub(super) fn begin_wait() {
    AWAITED.fetch_add(1, Ordering::Relaxed);
    // The host is to be asked.
    with_calls(|_| {});
}

/// An event is not awaited any more.
pub(super) fn end_wait() {
    AWAITED.fetch_sub(1, Ordering::Relaxed);
}
