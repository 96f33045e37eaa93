//! A guest that failed, told on standard error.

use crate::measuring::Failure;
use dormir_harness::{
    cli::command::{Ended, complain},
    escape::escape_lines,
};
use std::io::{self, Write};

/// Shows what the guest printed, and returns its status.
pub(super) fn tell(failure: &Failure) -> Ended {
    let console = escape_lines(&String::from_utf8_lossy(&failure.console));
    // Where standard error is gone, there is no one left to tell.
    let _ = io::stderr().write_all(console.as_bytes());
    complain(format_args!("{}: {}", failure.what, failure.outcome));
    Ok(failure.outcome.exit_code())
}
