//! Why a call has no result.

use alloc::{string::String, vec::Vec};
use core::fmt;

use crate::Status;

/// Why a call of an async host function has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallError {
    /// The host's function returned an error, with this message.
    Host(String),
    /// The host's function panicked.
    Panicked,
    /// The host has no async function of that name.
    Unknown,
    /// Too many calls are in flight: 1,024 in the guest, or as many as the host allows.
    Busy,
    /// The argument or the result is larger than one side allows: the result than the guest's whole
    /// budget or than its heap has memory for, or than what the host's limits leave.
    TooLarge,
    /// The host ended the call, the guest was restored from a snapshot, or the connection to the
    /// host has ended. The call may have had its effect.
    Lost,
    /// For functions that are declared with types: the guest's declaration and the host's differ,
    /// or a value cannot be written or read as its type. The sentence has the signatures.
    Mismatch(String),
}

impl CallError {
    /// What a call ends with.
    pub(super) fn of(status: Status, bytes: Vec<u8>) -> Result<Vec<u8>, Self> {
        Err(match status {
            Status::Done => return Ok(bytes),
            Status::Host => Self::Host(match String::from_utf8(bytes) {
                Ok(message) => message,
                Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
            }),
            Status::Panicked => Self::Panicked,
            Status::Unknown => Self::Unknown,
            Status::Busy => Self::Busy,
            Status::TooLarge => Self::TooLarge,
            Status::Lost => Self::Lost,
        })
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host(message) => return write!(f, "the host function failed: {message}"),
            Self::Mismatch(sentence) => return f.write_str(sentence),
            Self::Panicked => "the host function panicked",
            Self::Unknown => {
                "the host has no async function of that name: add it by `Host::async_function`, \
                 `Host::typed_function`, `Host::streaming_function` or `Host::stream_function`"
            }
            Self::Busy => {
                "too many host calls are in flight: await some first, or raise the host's limit by \
                 `Host::with_limits`"
            }
            Self::TooLarge => {
                "the argument or the result of the host call is too large, or the function's name \
                 is longer than 255 bytes: send it in parts, or raise the limits by \
                 `set_result_budget` in the guest and `Host::with_limits`"
            }
            Self::Lost => {
                "the host call was ended, by the host, by a restored snapshot, or with the \
                 connection to the host: it may have had its effect"
            }
        })
    }
}

impl core::error::Error for CallError {}
