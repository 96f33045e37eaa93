//! What a guest without Hyperlight does too: the same file.

use alloc::string::String;

use dormir::hyperlight;
use hyperlight_guest::error::HyperlightGuestError;
use hyperlight_guest_bin::guest_function;

#[path = "../../host-calls/src/work.rs"]
mod work;

/// Calls each of the host's functions. Returns what came of it.
#[guest_function]
fn written_once() -> Result<String, HyperlightGuestError> {
    let done = hyperlight::block_on(work::work())?;
    Ok(done.unwrap_or_else(|error| error))
}
