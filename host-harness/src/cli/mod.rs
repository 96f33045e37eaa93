//! The `cargo vm` command.

pub mod bench;
mod choose;
mod demo;
mod output;
mod run;
mod signals;
mod table;
pub(crate) mod terminal;
mod test;

use crate::{doctor::Findings, escape::escape_lines, setup::Policy, stop::StopToken, vmm::Outcome};
use clap::{Parser, Subcommand};
use std::{
    error::Error,
    fmt,
    io::{self, Write},
    process::ExitCode,
};

/// Runs dormir guests under KVM and QEMU.
#[derive(Debug, Parser)]
#[command(name = "cargo-vm", bin_name = "cargo vm", version)]
struct Arguments {
    #[command(subcommand)]
    command: Verb,
}

// A verb without a text here has that of its arguments.
#[derive(Debug, Subcommand)]
enum Verb {
    /// Says which VMMs and compilers are here, what each lack costs and what set-up would do about it
    ///
    /// Installs nothing. The status is 0 if guests can be built and run under at least one VMM.
    Doctor,
    Bench(bench::Arguments),
    Demo(demo::Arguments),
    Run(run::Arguments),
    Test(test::Arguments),
}

/// Whether missing things are installed.
#[derive(Clone, Copy, Debug, clap::Args)]
struct Installing {
    /// Installs nothing; what is missing is named instead
    #[arg(long)]
    no_install: bool,
}

impl Installing {
    fn policy(self) -> Policy {
        if self.no_install {
            Policy::Refuse
        } else {
            Policy::Install
        }
    }
}

/// The status with which the command ends when it could not do what it was asked, for a reason that
/// is not the guest's. A guest's own codes and those of its [`Outcome`] are others.
const FAILURE: u8 = 125;

/// What came of a verb: its exit status, or why it has none.
type Ended = Result<u8, Box<dyn Error>>;

/// Runs the command with the arguments of this process.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Nobody is left to be told if the stream is gone.
            let _ = error.print();
            // Help is no failure. A wrong line is one of ours: clap's own status could be a guest's.
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
    let ended = match arguments.command {
        Verb::Doctor => doctor(&stop),
        Verb::Bench(arguments) => bench::run(&arguments, &stop),
        Verb::Demo(arguments) => demo::run(&arguments, &stop),
        Verb::Run(arguments) => run::run(&arguments, &stop),
        Verb::Test(arguments) => test::run(&arguments, &stop),
    };
    ExitCode::from(ended.unwrap_or_else(|error| {
        complain(format_args!("{error}"));
        if stop.is_stopped() {
            signals::STOPPED
        } else {
            FAILURE
        }
    }))
}

fn doctor(stop: &StopToken) -> Ended {
    let findings = Findings::gather(stop)?;
    let status = u8::from(!findings.can_run_guests());
    ended(write!(io::stdout(), "{findings}"), status)
}

/// Standard output refused what was to be printed.
#[derive(Debug, thiserror::Error)]
#[error("standard output cannot be written ({0}): send it somewhere else")]
struct OutputFailed(io::Error);

/// The status after some output; that of a closed output where nobody reads it.
fn ended(written: io::Result<()>, status: u8) -> Ended {
    match written {
        Ok(()) => Ok(status),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            Ok(Outcome::ConsoleClosed.exit_code())
        }
        Err(error) => Err(OutputFailed(error).into()),
    }
}

/// Prints a sentence about what went wrong.
fn complain(sentence: fmt::Arguments<'_>) {
    note(format_args!("error: {sentence}"));
}

/// Prints a line on standard error. What others wrote is in it as text only.
fn note(line: fmt::Arguments<'_>) {
    let line = escape_lines(&line.to_string());
    // Nobody is left to be told if standard error is gone.
    let _ = writeln!(io::stderr(), "{line}");
}
