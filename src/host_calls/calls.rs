//! Calls of the host's async functions.

use core::{
    fmt,
    future::Future,
    marker::PhantomData,
    mem,
    pin::Pin,
    task::{Context, Poll},
};

pub use dormir_hyperlight_protocol::guest::CallError;
use dormir_hyperlight_protocol::{CallId, guest::Progress};
use std_alloc::vec::Vec;

use super::table::{keep_waker, send_if_full, with_calls};

/// Calls the host's async function `name`: the future ends with what it returns. Other tasks go on
/// meanwhile, and up to 1,024 calls can be in flight.
///
/// The call is queued at once. In a Hyperlight guest it is sent when the guest is idle next, or
/// when what is queued fills a batch: one exit from the guest sends all that is queued, waits, and
/// brings all that is done. Over a connection it is sent when other tasks that are ready have
/// queued theirs. So calls that are made one after another, and awaited then, run at the same time.
///
/// The host registers the function by `Host::async_function`. Name and argument may have 36,000
/// bytes together; results may be larger, within the [budget](set_result_budget).
///
/// # Errors
///
/// The future's: see [`CallError`].
///
/// # Examples
///
/// ```no_run
/// # use dormir_guest as _;
/// # extern crate alloc;
/// use alloc::vec::Vec;
/// use dormir::hyperlight::{self, CallError};
/// use hyperlight_guest::error::HyperlightGuestError;
///
/// // With `#[guest_function]`.
/// fn both() -> Result<u64, HyperlightGuestError> {
///     let lengths = hyperlight::block_on(async {
///         let one = hyperlight::call("fetch", b"one");
///         let other = hyperlight::call("fetch", b"other");
///         Ok::<_, CallError>(one.await?.len() + other.await?.len())
///     })?;
///     Ok(lengths.unwrap_or(0) as u64)
/// }
/// ```
pub fn call(name: &str, argument: &[u8]) -> HostCall {
    let call = with_calls(|calls| calls.call(name, argument));
    HostCall {
        stage: match call {
            Ok(id) => Stage::InFlight(id),
            Err(error) => Stage::Refused(error),
        },
        main_line: PhantomData,
    }
}

/// Limits the bytes of results that have arrived and that no task has taken: 40 KiB by default. A
/// result that is larger by itself, or for which the heap has no memory, ends its call with
/// [`CallError::TooLarge`]. Any other arrives: what does not fit stays on the host, and counts
/// against its limits, until a task waits for it. Then results for which no task waits make way,
/// and arrive once more when one does. A quarter of the budget, up to 42 KiB, comes in one exchange
/// with the host.
///
/// The default is for sandboxes of the default size. With a larger budget raise
/// `SandboxBuilder::heap_size` and `scratch_size` too, each by twice as much.
///
/// # Examples
///
/// ```no_run
/// # use dormir_guest as _;
/// use dormir::hyperlight;
///
/// // With `#[hyperlight_guest_bin::main]`.
/// fn start() {
///     hyperlight::set_result_budget(1 << 20);
/// }
/// # start();
/// ```
pub fn set_result_budget(bytes: usize) {
    with_calls(|calls| calls.set_budget(bytes));
}

/// A call in flight, as returned by [`call`]: a future that ends with its result. In a Hyperlight
/// guest it makes progress in `hyperlight::block_on` and `hyperlight::poll_once` only, in another
/// while the future of `host_calls::run` is polled.
///
/// # Cancel safety
///
/// Dropping it ends the call: it is not sent, or the host drops the function's future. The function
/// may have had its effect.
///
/// # Panics
///
/// If it is polled after it has ended.
///
/// # Examples
///
/// ```no_run
/// # use dormir_guest as _;
/// use core::time::Duration;
/// use dormir::{hyperlight::{self, HostCall}, time::with_timeout};
///
/// async fn at_most_a_second(call: HostCall) -> bool {
///     // After a second the call is dropped, and the host drops its future.
///     with_timeout(Duration::from_secs(1), call).await.is_ok()
/// }
/// # let _ = at_most_a_second;
/// ```
#[must_use = "dropping it ends the call"]
pub struct HostCall {
    stage: Stage,
    /// It belongs to the guest's main line.
    main_line: PhantomData<*const ()>,
}

enum Stage {
    InFlight(CallId),
    Refused(CallError),
    Ended,
}

impl Future for HostCall {
    type Output = Result<Vec<u8>, CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let id = match mem::replace(&mut self.stage, Stage::Ended) {
            Stage::InFlight(id) => id,
            Stage::Refused(error) => return Poll::Ready(Err(error)),
            Stage::Ended => panic!("a host call was polled after it had ended"),
        };
        send_if_full();
        match with_calls(|calls| calls.poll(id, cx.waker())) {
            Progress::Ended(result) => return Poll::Ready(result),
            Progress::Waits(true) => {}
            Progress::Waits(false) => keep_waker(id, cx.waker()),
        }
        self.stage = Stage::InFlight(id);
        Poll::Pending
    }
}

impl Drop for HostCall {
    fn drop(&mut self) {
        if let Stage::InFlight(id) = self.stage {
            let unused = with_calls(|calls| calls.cancel(id));
            drop(unused);
        }
    }
}

impl fmt::Debug for HostCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_in_flight = matches!(self.stage, Stage::InFlight(_));
        f.debug_struct("HostCall")
            .field("is_in_flight", &is_in_flight)
            .finish()
    }
}
