//! Why a guest call cannot wait.

use core::{fmt, time::Duration};

use hyperlight_guest::error::{ErrorCode, HyperlightGuestError};
use std_alloc::string::{String, ToString};

/// Why tasks cannot be run in this guest call. None of them poisons the sandbox.
///
/// It becomes Hyperlight's own error by `?`.
///
/// # Examples
///
/// ```no_run
/// # use dormir_guest as _;
/// extern crate alloc;
/// use alloc::string::ToString;
/// use dormir::hyperlight::{self, Error};
/// use hyperlight_guest::error::HyperlightGuestError;
///
/// // With `#[guest_function]`.
/// fn answer() -> Result<i32, HyperlightGuestError> {
///     match hyperlight::block_on(async { 42 }) {
///         Err(missing @ Error::NotRegistered { .. }) => {
///             // To the host's log, say:
///             let _sentence = missing.to_string();
///             Ok(-1)
///         }
///         answer => Ok(answer?),
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The host did not answer the call of one of its functions.
    NotRegistered {
        /// The name of the function.
        function: &'static str,
        /// What Hyperlight says.
        reason: String,
    },
    /// The host answered something that this library does not understand.
    BadReply {
        /// The name of the function.
        function: &'static str,
    },
    /// Tasks are being run already, in this very call.
    AlreadyRunning,
    /// The global timer queue was given another clock.
    OtherClock,
    /// Nothing is ready, no timer is set, and nobody else could wake a task: it would sleep for good.
    NothingToWaitFor,
    /// The next deadline is farther away than the host lets a guest wait.
    TooLong {
        /// What is left until the deadline.
        wait: Duration,
        /// The host's limit.
        limit: Duration,
    },
    /// The host has cancelled the wait.
    Cancelled,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRegistered { function, reason } => write!(
                f,
                "the host function `{function}` cannot be called ({reason}): register it on the sandbox with the crate dormir-hyperlight-host, `Host::new().register(&mut sandbox)`, before the call"
            ),
            Self::BadReply { function } => write!(
                f,
                "the host function `{function}` answered what dormir {} does not understand: give the host the dormir-hyperlight-host of the same version",
                env!("CARGO_PKG_VERSION")
            ),
            Self::AlreadyRunning => f.write_str(
                "this guest call runs tasks already: spawn from tasks with `dormir::hyperlight::spawn`, and await",
            ),
            Self::OtherClock => f.write_str(
                "the global timer queue has another clock: in a Hyperlight guest, let `dormir::hyperlight` install it",
            ),
            Self::NothingToWaitFor => f.write_str(
                "no task is ready, no timer is set, and nothing outside can wake a task in this guest: it would sleep for good; look for a future that nobody completes, or return to the host with `poll_once`",
            ),
            Self::TooLong { wait, limit } => write!(
                f,
                "the next deadline is {wait:?} away and the host lets a guest wait for {limit:?} at most: sleep in shorter pieces, or raise the limit with `Host::with_longest_wait`"
            ),
            Self::Cancelled => f.write_str("the wait was cancelled by the host"),
        }
    }
}

impl core::error::Error for Error {}

impl From<Error> for HyperlightGuestError {
    fn from(error: Error) -> Self {
        let kind = match error {
            Error::NotRegistered { .. } | Error::BadReply { .. } => ErrorCode::HostFunctionError,
            _ => ErrorCode::GuestError,
        };
        Self::new(kind, error.to_string())
    }
}
