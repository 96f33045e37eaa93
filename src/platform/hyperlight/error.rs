//! The error of guest calls that cannot run tasks.

use core::{fmt, time::Duration};

use dormir_hyperlight_protocol::STALLED;
use hyperlight_guest::error::{ErrorCode, HyperlightGuestError};
use std_alloc::string::{String, ToString};

/// Why a guest call cannot run tasks or cannot wait. None of these poisons the sandbox.
///
/// `?` converts it to Hyperlight's error.
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
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Error {
    /// The call of the host's function failed.
    NotRegistered {
        /// The name of the function.
        function: &'static str,
        /// Hyperlight's error message.
        reason: String,
    },
    /// This library does not understand the host's reply.
    BadReply {
        /// The name of the function.
        function: &'static str,
    },
    /// This call already runs tasks.
    AlreadyRunning,
    /// The global timer queue has another clock.
    OtherClock,
    /// Nothing is ready, no timer is set, no host call is in flight, no event is awaited: the wait
    /// would never end.
    NothingToWaitFor,
    /// The time until the next deadline is longer than the host allows a guest to wait.
    TooLong {
        /// The time until the deadline.
        wait: Duration,
        /// The host's limit.
        limit: Duration,
    },
    /// The host has cancelled the wait.
    Cancelled,
    /// The host's runtime does not run this guest's calls, so the wait would never end.
    Stalled,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRegistered { function, reason } => write!(
                f,
                "the host function `{function}` cannot be called ({reason}): before the call, \
                 register it on the sandbox with the dormir-hyperlight-host of the same version, \
                 by `Host::new().register(&mut sandbox)`"
            ),
            Self::BadReply { function } => write!(
                f,
                "dormir {} does not understand the reply of the host function `{function}`: give \
                 the host the dormir-hyperlight-host of the same version",
                env!("CARGO_PKG_VERSION")
            ),
            Self::AlreadyRunning => f.write_str(
                "this guest call already runs tasks: in tasks, use `dormir::hyperlight::spawn` \
                 and await",
            ),
            Self::OtherClock => f.write_str(
                "the global timer queue has another clock: in a Hyperlight guest, \
                 `dormir::hyperlight` installs it",
            ),
            Self::NothingToWaitFor => f.write_str(
                "no task is ready, no timer is set, no host call is in flight, and nothing outside \
                 can wake a task in this guest, so this wait would never end: look for a future \
                 that is never completed, or return to the host by `poll_once`",
            ),
            Self::TooLong { wait, limit } => write!(
                f,
                "the next deadline is {wait:?} away, and the host allows a guest to wait for at \
                 most {limit:?}: sleep in shorter steps, or raise the limit by \
                 `Host::with_longest_wait`"
            ),
            Self::Cancelled => f.write_str("the host cancelled the wait"),
            Self::Stalled => f.write_str(STALLED),
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
