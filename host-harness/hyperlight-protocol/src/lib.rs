//! The exchange between a dormir guest and its host in Hyperlight sandboxes.
//!
//! Whenever nothing is ready, the guest calls the host function [`FUNCTION`] with a *batch*: how
//! long to wait, how many bytes of results it can take, and records: calls, cancellations, and
//! requests for more of a result. The host starts the calls, waits until one is done or the time is
//! over, and returns a *reply*: its clock, the number of the batch that it acknowledges, and
//! records: results and signals. So one exit from the guest submits, waits and collects.
//!
//! # Form
//!
//! All numbers are little-endian. A batch is [`BatchHeader`] and records; a reply is
//! [`ReplyHeader`] and records. Each record has the header of Hyperlight's own messages (kind,
//! three zero bytes, `cid`, length of the payload; see `hyperlight_common::transport`), with the
//! kinds and the meaning that they have there, so that the records can move onto Hyperlight's
//! transport when that carries asynchronous messages. Kinds from 0x80 on are dormir's own.
//!
//! Decoding needs no heap, never panics, and never reads beyond the bytes that it is given: neither
//! side trusts the other's lengths. A message is checked as a whole before any of it is used.
//!
//! # Streams
//!
//! A call may have an *input* and an *output* besides its argument and its result: streams of
//! bytes, which go in chunks of any length. Each chunk names its offset, so that none is lost or
//! taken twice. The guest sends up to [`STREAM_WINDOW`] bytes of the input beyond those that the
//! function has taken, which the host reports by `More`. The host sends a first chunk of the output
//! when it has one, and the next when the guest asks by `More`. The call's response comes behind
//! its output, or in place of the rest of it if the function fails, and ends both. It has no bytes
//! but those of an error.
//!
//! # Generations and batches
//!
//! The guest numbers its batches, and the host's first reply gives it a generation. If a batch is
//! not the one that follows the last of the same generation, the guest's memory was restored from a
//! snapshot (or is new): the host ends what was in flight, and begins another generation. A batch
//! without an answer may have arrived or not: its calls end as lost, and the guest sends the rest
//! of it again, marked as repeated. The host takes it only if it has not yet done so, and repeats
//! the results that may not have arrived. Two guests that were restored from one snapshot give
//! their next batches the same number. So a repeated batch is known by its number and by a digest
//! of what it had at first.
//!
//! # Connections
//!
//! Instead of by calls of [`FUNCTION`], batches and replies can go over a connection: a stream of
//! bytes each way, on which each message follows its length ([`frame`]). Then nothing is repeated:
//! a connection that breaks ends all calls. While a batch waits for its reply, the guest may send
//! the next one, an *early* one. The host answers the first at once then, so it holds one batch at
//! a time, and two messages at most are under way in each direction. An early batch does not
//! acknowledge the reply to the one before it.
//!
//! # Results
//!
//! A reply has as much of the finished results as the batch has room for. The host forgets a result
//! that was sent to its end when the next batch arrives, unless that has a [`ToHost::More`] for it:
//! the guest asks for the next piece, for the first one again, or for nothing but that the result
//! be kept. A result that is kept is forgotten when its call is cancelled.
#![no_std]

#[cfg(any(feature = "guest", feature = "typed"))]
extern crate alloc;
#[cfg(test)]
extern crate std;

mod batch;
pub mod frame;
#[cfg(feature = "guest")]
pub mod guest;
mod record;
mod reply;
#[cfg(feature = "typed")]
pub mod typed;

pub use batch::{Batch, BatchHeader, Flags, ToHost};
pub use record::{CHUNK_HEADER, CallId, Kind, RECORD_HEADER, RecordHeader, chunk_header};
pub use reply::{
    FromHost, MORE_LEN, RESULT_HEADER, Reply, ReplyHeader, ReplyStatus, ResultHeader, SIGNAL_LEN,
    Status,
};

/// The host function with which a batch is exchanged for a reply.
pub const FUNCTION: &str = "dormir_wait";

/// The version of the form.
pub const VERSION: u32 = 2;

/// The most records in one message.
pub const MAX_RECORDS: usize = 1024;

/// The most bytes in one message, its header included. What Hyperlight 0.18 carries by default in
/// one host call, in both directions together, is a little more.
pub const MAX_MESSAGE: usize = 42 * 1024;

/// The most bytes of a call's input that the host's function has not taken. The guest may send that
/// much at first, and as much again behind what the host says that the function has taken. Of an
/// output that the guest has not taken, the host holds as much.
pub const STREAM_WINDOW: usize = 16 * 1024;

/// The longest name of a function, in bytes.
pub const MAX_NAME: usize = 255;

/// A wait without a deadline, in nanoseconds.
pub const NO_DEADLINE: u64 = u64::MAX;

/// The word of a guest that is driven, if its tasks have ended. Other words are [`TASKS_STUCK`],
/// [`NO_DEADLINE`], or the nanoseconds until its next timer.
pub const TASKS_ENDED: u64 = u64::MAX - 1;

/// The word of a guest that is driven, if tasks are left and nothing can wake them.
pub const TASKS_STUCK: u64 = u64::MAX - 2;

/// The error message for [`ReplyStatus::Stalled`].
pub const STALLED: &str = "the host's runtime has not polled the guest's calls of async functions \
                           for many seconds: no thread runs it, its only thread is the one that \
                           waits for the guest, or all of its threads are blocked. Give \
                           `Host::with_runtime` a multi-thread runtime, call the sandbox on \
                           another thread (tokio::task::spawn_blocking), or use `Host::drive`";

/// Splits `N` bytes off the beginning of `bytes`.
fn take<'a, const N: usize>(bytes: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (taken, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(taken)
}

fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    take(bytes).map(|word| u32::from_le_bytes(*word))
}

fn take_u64(bytes: &mut &[u8]) -> Option<u64> {
    take(bytes).map(|word| u64::from_le_bytes(*word))
}

/// Joins words into an array of `N` bytes; words that do not fit are a fault of this crate.
fn join<const N: usize>(words: &[&[u8]]) -> [u8; N] {
    let mut bytes = [0; N];
    let mut at = 0;
    for word in words {
        bytes[at..at + word.len()].copy_from_slice(word);
        at += word.len();
    }
    debug_assert_eq!(at, N);
    bytes
}
