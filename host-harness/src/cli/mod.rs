//! The `cargo vm` command.

mod bench;
mod choose;
pub mod command;
mod counted;
mod debugger;
mod demo;
mod dependencies;
mod devices;
mod fuzz;
mod mutants;
mod new;
mod output;
mod peers;
mod promises;
mod record;
mod run;
mod runner;
mod signals;
mod soak;
mod soundness;
mod stdin;
mod table;
pub(crate) mod terminal;
mod test;

pub use choose::{NoSuchVmmError, Under};
pub use promises::filters_in_vms;

use crate::{doctor::Findings, stop::StopToken};
use clap::{Parser, Subcommand};
use command::{Ended, FAILURE, Installing, complain, ended, note};
use std::{
    env,
    ffi::OsString,
    io::{self, Write},
    process::ExitCode,
};

/// Runs dormir guests under KVM and QEMU
#[derive(Debug, Parser)]
#[command(name = "cargo-vm", bin_name = "cargo vm", version)]
#[command(
    after_help = "new, run and runner work in any folder. The others need a checkout of \
                        dormir: the one around the folder, else the one from which this program \
                        was built.\n\nThe status is 0 if all is well. It is 125 if a command could \
                        not do what it was asked, and 130 if Ctrl-C ended it; other statuses are \
                        in the help of each command."
)]
struct CargoVm {
    #[command(subcommand)]
    command: Verb,
}

// A verb without a description here has that of its arguments.
#[derive(Debug, Subcommand)]
enum Verb {
    /// Reports which VMMs and compilers this machine has, what each lack costs, and what set-up
    /// would do about it
    ///
    /// Installs nothing. The status is 0 if guests can be built and run under at least one VMM.
    Doctor,
    Bench(bench::Arguments),
    Demo(demo::DemoArguments),
    Dependencies(dependencies::Arguments),
    Fuzz(fuzz::Arguments),
    Mutants(mutants::Arguments),
    New(new::NewArguments),
    Peers(peers::Arguments),
    Promises(promises::Arguments),
    Run(run::RunArguments),
    Runner(runner::RunnerArguments),
    Soak(soak::Arguments),
    Soundness(soundness::Arguments),
    Test(test::TestArguments),
}

/// Runs the command with the arguments of this process.
#[must_use]
pub fn main() -> ExitCode {
    let mut words: Vec<OsString> = debugger::join_port(env::args_os());
    // Cargo starts an installed `cargo-vm` with the subcommand's name as the first argument.
    if words.get(1).is_some_and(|word| word == "vm") {
        words.remove(1);
    }
    command::run_with(words, |arguments: CargoVm, stop| match arguments.command {
        Verb::Doctor => doctor(stop),
        Verb::Bench(arguments) => bench::run(&arguments, stop),
        Verb::Demo(arguments) => demo::run(&arguments, stop),
        Verb::Dependencies(arguments) => dependencies::run(&arguments, stop),
        Verb::Fuzz(arguments) => fuzz::run(&arguments, stop),
        Verb::Mutants(arguments) => mutants::run(&arguments, stop),
        Verb::New(arguments) => new::run(&arguments),
        Verb::Peers(arguments) => peers::run(&arguments, stop),
        Verb::Promises(arguments) => promises::run(&arguments, stop),
        Verb::Run(arguments) => run::run(&arguments, stop),
        Verb::Runner(arguments) => runner::run(&arguments, stop),
        Verb::Soak(arguments) => soak::run(&arguments, stop),
        Verb::Soundness(arguments) => soundness::run(&arguments, stop),
        Verb::Test(arguments) => test::run(&arguments, stop),
    })
}

fn doctor(stop: &StopToken) -> Ended {
    let findings = Findings::gather(stop)?;
    let status = u8::from(!findings.can_run_guests());
    ended(write!(io::stdout(), "{findings}"), status)
}
