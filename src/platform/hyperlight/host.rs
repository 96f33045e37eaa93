//! The exchange with the host: one call of its function hands over what is queued, waits, and
//! brings what is done.

use core::{
    cell::RefCell,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use critical_section::Mutex;
use dormir_hyperlight_protocol::{
    FUNCTION, FromHost, NO_DEADLINE, Reply, ReplyStatus, guest::Calls,
};
use hyperlight_common::flatbuffer_wrappers::function_types::{
    ParameterValue, ReturnType, ReturnValue,
};
use hyperlight_guest::transport;
use std_alloc::{string::ToString, vec};

use super::{
    clock::{CLOCK, tsc},
    error::Error,
};
use crate::host_calls::{
    events,
    table::{awaits_events, wake, with_calls},
};

/// Whether this call of a guest function has had an exchange, so that the clock is right.
static HAS_ENTERED: AtomicBool = AtomicBool::new(false);

/// What the last reply says of the sandbox.
static INTERRUPTS: AtomicBool = AtomicBool::new(false);
static LONGEST_WAIT: AtomicU64 = AtomicU64::new(0);

/// Why an exchange failed whose caller cannot return an error.
static FAILURE: Mutex<RefCell<Option<Error>>> = Mutex::new(RefCell::new(None));

/// To be called when a call of a guest function begins.
pub(super) fn enter() {
    HAS_ENTERED.store(false, Ordering::Relaxed);
    take_failure();
}

pub(super) fn has_entered() -> bool {
    HAS_ENTERED.load(Ordering::Relaxed)
}

/// Whether the sandbox has interrupts, by the last reply.
pub(super) fn has_interrupts() -> bool {
    INTERRUPTS.load(Ordering::Relaxed)
}

/// The longest wait that the host allows, by the last reply.
pub(super) fn longest_wait() -> Duration {
    Duration::from_nanos(LONGEST_WAIT.load(Ordering::Relaxed))
}

/// Whether the host may have something for the guest later.
pub(super) fn expects() -> bool {
    awaits_events() || with_calls(|calls| calls.expects())
}

/// As [`exchange`] without a wait, for callers that cannot return an error: it ends the call of the
/// guest function after the current poll.
pub(super) fn exchange_now() {
    if let Err(error) = exchange(Some(Duration::ZERO)) {
        critical_section::with(|cs| *FAILURE.borrow_ref_mut(cs) = Some(error));
    }
}

/// Takes the error of an [`exchange_now`].
pub(super) fn take_failure() -> Option<Error> {
    critical_section::with(|cs| FAILURE.borrow_ref_mut(cs).take())
}

/// Hands over what is queued, waits for something to come, at most for `wait`, and takes it.
/// Adjusts the clock.
pub(super) fn exchange(wait: Option<Duration>) -> Result<(), Error> {
    let exchanged = ask(wait);
    if exchanged.is_err() {
        with_calls(Calls::no_answer);
    }
    wake();
    let limit = longest_wait();
    match exchanged? {
        ReplyStatus::Done => Ok(()),
        ReplyStatus::TooLong => Err(Error::TooLong {
            wait: wait.unwrap_or(Duration::MAX),
            limit,
        }),
        ReplyStatus::Cancelled => Err(Error::Cancelled),
        ReplyStatus::BadBatch => Err(BAD_REPLY),
        ReplyStatus::Stalled => Err(Error::Stalled),
    }
}

const BAD_REPLY: Error = Error::BadReply { function: FUNCTION };

/// Sends a batch, and takes the reply.
fn ask(wait: Option<Duration>) -> Result<ReplyStatus, Error> {
    let nanos = wait.map_or(NO_DEADLINE, |wait| {
        u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX)
    });
    let is_first = !has_entered();
    let awaits = awaits_events();
    let batch = with_calls(|calls| calls.batch(nanos, is_first, awaits));
    let before = tsc();
    let answer = transport::with_ctx(|host| {
        let parameters = vec![ParameterValue::VecBytes(batch)];
        host.call_host_function(FUNCTION, Some(parameters), ReturnType::VecBytes)
    });
    let answer = answer.map_err(|error| Error::NotRegistered {
        function: FUNCTION,
        reason: error.message.trim_end_matches('.').to_string(),
    })?;
    let ReturnValue::VecBytes(bytes) = answer else {
        return Err(BAD_REPLY);
    };
    let reply = Reply::parse(&bytes).ok_or(BAD_REPLY)?;
    if !with_calls(|calls| calls.take_reply(&reply)) {
        return Err(BAD_REPLY);
    }
    let header = reply.header;
    CLOCK.adjust(&header, before);
    HAS_ENTERED.store(true, Ordering::Relaxed);
    INTERRUPTS.store(header.interrupts, Ordering::Relaxed);
    LONGEST_WAIT.store(header.longest_wait, Ordering::Relaxed);
    for record in reply.records() {
        if let FromHost::Signal { event, count } = record {
            events::signal(event, count);
        }
    }
    Ok(header.status)
}
