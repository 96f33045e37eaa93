//! What a signal must do to a command that has started others.

use crate::support::is_error_line;
use rustix::process::{Pid, Signal, kill_process};
use std::{
    io::{BufReader, Read},
    process::{Child, ChildStderr},
};

/// Signals the command. It must end with status 130 and a sentence, and all that it started with it:
/// a process that is still running shows on the pipe, which closes once no process holds it.
pub(crate) fn signal_ends_all(
    mut child: Child,
    mut stderr: BufReader<ChildStderr>,
    signal: Signal,
) {
    kill_process(Pid::from_child(&child), signal).expect("it can be signalled");
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).expect("the pipe closes");
    let status = child.wait().expect("it ends");
    assert_eq!(status.code(), Some(130), "{signal:?}: {rest}");
    assert!(is_error_line(&rest), "{signal:?}: {rest}");
}
