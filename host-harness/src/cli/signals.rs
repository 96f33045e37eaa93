//! Ctrl-C and its like end what is running, and this process with it.

use crate::stop::StopToken;
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag,
};
use std::io;

/// What a shell reports of a command that Ctrl-C ended.
pub(super) const STOPPED: u8 = 130;

/// From now on the first of the signals sets the token that is returned, and the next one ends this
/// process at once.
pub(super) fn install() -> io::Result<StopToken> {
    let stop = StopToken::default();
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // In this order: the first signal must find the flag clear here.
        flag::register_conditional_shutdown(signal, STOPPED.into(), stop.flag())?;
        flag::register(signal, stop.flag())?;
    }
    Ok(stop)
}
