//! Host calls: async functions of the host, which a guest's tasks await.
//!
//! [`call`] calls one, and many calls can be in flight. A [`streaming_call`] has an input and an
//! output that go in pieces. [`event`] waits for a signal from the host.
//!
//! The same code runs in a Hyperlight guest, where [`hyperlight`](crate::hyperlight) carries the
//! calls (and re-exports all but [`run`] and its error), and in a guest of any other VMM, where
//! [`run`] does, over a connection. At the other end is a `Host` of the crate
//! dormir-hyperlight-host, registered with the sandbox or serving the connection.
//!
//! Everything here is for tasks, not for interrupt handlers.

mod calls;
#[cfg(feature = "host-calls")]
mod connected;
#[cfg(feature = "host-calls")]
mod connection;
pub(crate) mod events;
mod streams;
pub(crate) mod table;
#[cfg(any(feature = "host-calls-typed", feature = "hyperlight-typed"))]
mod typed;

pub use calls::{CallError, HostCall, call, set_result_budget};
#[cfg(feature = "host-calls")]
pub use connection::{ConnectionError, run};
pub use events::{EventWait, event};
pub use streams::{CallInput, CallOutput, StreamingCall, streaming_call};
#[cfg(any(feature = "host-calls-typed", feature = "hyperlight-typed"))]
#[doc(hidden)]
pub use typed::{begin, declaration, end};
