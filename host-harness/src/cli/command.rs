//! What the project's commands have in common: signals, complaints and exit statuses.

use super::signals;
use crate::{escape::escape_lines, setup::Policy, stop::StopToken, vmm::Outcome};
use clap::Parser;
use std::{
    env,
    error::Error,
    ffi::OsString,
    fmt,
    io::{self, Write},
    process::ExitCode,
};

/// The status with which a command ends when it could not do what it was asked, for a reason that
/// is not the guest's. A guest's own codes and those of its [`Outcome`] are others.
pub const FAILURE: u8 = 125;

/// How a command ended: its exit status, or why it has none.
pub type Ended = Result<u8, Box<dyn Error>>;

/// Whether missing things are installed.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Installing {
    /// Installs nothing; what is missing is named instead
    #[arg(long)]
    no_install: bool,
}

impl Installing {
    /// What these arguments allow.
    #[must_use]
    pub fn policy(self) -> Policy {
        if self.no_install {
            Policy::Refuse
        } else {
            Policy::Install
        }
    }
}

/// Runs a command with the arguments of this process. A signal sets the token that it is given.
#[must_use]
pub fn run<A: Parser>(command: impl FnOnce(A, &StopToken) -> Ended) -> ExitCode {
    run_with(env::args_os().collect(), command)
}

/// Runs a command with these arguments, of which the first is the program's name.
pub(super) fn run_with<A: Parser>(
    words: Vec<OsString>,
    command: impl FnOnce(A, &StopToken) -> Ended,
) -> ExitCode {
    let arguments = match A::try_parse_from(words) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Where the stream is gone, there is no one left to tell.
            let _ = error.print();
            // Help is no failure. A wrong line is one of ours: clap's own status could be a
            // guest's.
            let failure = error.use_stderr();
            return ExitCode::from(if failure { FAILURE } else { 0 });
        }
    };
    let stop = match signals::install() {
        Ok(stop) => stop,
        Err(error) => {
            complain(format_args!("signals cannot be caught: {error}"));
            return ExitCode::from(FAILURE);
        }
    };
    ExitCode::from(command(arguments, &stop).unwrap_or_else(|error| {
        complain(format_args!("{error}"));
        if stop.is_stopped() {
            signals::STOPPED
        } else {
            FAILURE
        }
    }))
}

/// Standard output refused what was to be printed.
#[derive(Debug, thiserror::Error)]
#[error("standard output cannot be written ({0}): send it somewhere else")]
struct OutputFailed(io::Error);

/// The status after some output: that of a closed output where no one reads it.
///
/// # Errors
///
/// The output could not be written for another reason.
pub fn ended(written: io::Result<()>, status: u8) -> Ended {
    match written {
        Ok(()) => Ok(status),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            Ok(Outcome::ConsoleClosed.exit_code())
        }
        Err(error) => Err(OutputFailed(error).into()),
    }
}

/// Prints a sentence about what went wrong.
pub fn complain(sentence: fmt::Arguments<'_>) {
    note(format_args!("error: {sentence}"));
}

/// Prints a line on standard error. What others wrote is in it as text only.
pub fn note(line: fmt::Arguments<'_>) {
    let line = escape_lines(&line.to_string());
    // Where standard error is gone, there is no one left to tell.
    let _ = writeln!(io::stderr(), "{line}");
}
