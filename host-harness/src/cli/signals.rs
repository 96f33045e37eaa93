//! Ctrl-C and similar signals end what is running, and then this process.

use crate::stop::StopToken;
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag,
};
use std::io;

/// The status that shells report for a command that Ctrl-C ended.
pub(super) const STOPPED: u8 = 130;

/// The signals that end what is running.
pub(super) const HANDLED: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];

/// Installs the handlers: the first signal sets the returned token, and the next one ends this
/// process at once.
pub(super) fn install() -> io::Result<StopToken> {
    let stop = StopToken::default();
    for signal in HANDLED {
        // In this order: at the first signal the flag must still be clear here.
        flag::register_conditional_shutdown(signal, STOPPED.into(), stop.flag())?;
        flag::register(signal, stop.flag())?;
    }
    Ok(stop)
}
