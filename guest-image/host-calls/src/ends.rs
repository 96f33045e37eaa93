//! What becomes of calls when the connection ends.

use alloc::string::String;

use dormir::host_calls::{self, CallError};
use futures_util::future::join_all;

/// Makes calls that do not end before the connection does. All end as lost, and so do later ones.
pub(crate) async fn ends() -> Result<(), String> {
    let forever = (0..10).map(|_| host_calls::call("forever", &[]));
    // The host ends the connection at this one, by what is no reply.
    let broken = host_calls::call("break", &[]);
    let ended = join_all(forever.chain([broken])).await;
    let later = host_calls::call("echo", &[]).await;
    match ended
        .iter()
        .chain([&later])
        .find(|end| **end != Err(CallError::Lost))
    {
        None => Ok(()),
        Some(other) => Err(alloc::format!("a call ended otherwise: {other:?}")),
    }
}
