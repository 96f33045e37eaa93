//! Calls of the two host functions.

use core::time::Duration;

use hyperlight_common::flatbuffer_wrappers::function_types::{
    ParameterValue, ReturnType, ReturnValue,
};
use hyperlight_guest::transport;
use std_alloc::{string::ToString, vec::Vec};

use super::{
    clock::{CLOCK, tsc},
    error::Error,
    reply::{Reply, Status, VERSION},
};

const ENTRY: &str = "dormir_entry";
const WAIT: &str = "dormir_wait";

/// Asks the host for mode, time and generation, and adjusts the clock. To be called once, at the
/// beginning of each guest call.
pub(super) fn entry() -> Result<Reply, Error> {
    let (generation, stamp) = CLOCK.identity();
    call(ENTRY, &[VERSION, generation, stamp])
}

/// Makes the host wait, and adjusts the clock.
pub(super) fn wait(duration: Duration) -> Result<(), Error> {
    let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let reply = call(WAIT, &[nanos])?;
    match reply.status {
        Status::Done => Ok(()),
        Status::TooLong => Err(Error::TooLong {
            wait: duration,
            limit: Duration::from_nanos(reply.longest_wait),
        }),
        Status::Cancelled => Err(Error::Cancelled),
    }
}

fn call(function: &'static str, words: &[u64]) -> Result<Reply, Error> {
    let parameters: Vec<_> = words.iter().copied().map(ParameterValue::ULong).collect();
    let before = tsc();
    let answer = transport::with_ctx(|host| {
        host.call_host_function(function, Some(parameters), ReturnType::VecBytes)
    });
    let answer = answer.map_err(|error| Error::NotRegistered {
        function,
        reason: error.message.trim_end_matches('.').to_string(),
    })?;
    let ReturnValue::VecBytes(bytes) = answer else {
        return Err(Error::BadReply { function });
    };
    let reply = Reply::parse(&bytes).ok_or(Error::BadReply { function })?;
    CLOCK.adjust(&reply, before);
    Ok(reply)
}
