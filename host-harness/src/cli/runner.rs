//! `cargo vm runner`: what cargo and nextest call for a guest that they have built.

mod trials;

use super::{
    Ended, FAILURE,
    choose::Under,
    complain, debugger,
    run::{self, RunArguments, RunOptions},
};
use crate::{
    guest_tests::{self, GuestTest},
    stop::StopToken,
    vmm::RunConfig,
};
use clap::Parser;
use libtest_mimic::Trial;
use std::{env, ffi::OsString, path::PathBuf};
use trials::TestRuns;

/// Runs a guest that cargo or nextest has built: a program, or each test of a test program in a VM
/// of its own
///
/// Meant for the line `runner` of a guest package's .cargo/config.toml, so that `cargo run`, `cargo
/// test` and `cargo nextest run` work there. A test program has `dormir_guest::test_main!`, and
/// functions with `#[dormir_guest::test]`. What follows its name are options of Rust's test harness
/// and a filter: --list, --exact, --skip, --ignored, --include-ignored, --nocapture,
/// --test-threads, --format. The status is 0 if all tests passed, 101 if one failed, 125 if the
/// tests could not be listed. Any other guest is run as by `cargo vm run`.
///
/// The time limit is that of each test without one of its own. The data that a test sends goes to a
/// folder of its own in --out, PACKAGE/FILE/TEST, with dots for the colons of a test in a module.
/// Without cargo or nextest, which name the package, that is FILE/TEST.
#[derive(Debug, clap::Args)]
pub(super) struct RunnerArguments {
    #[command(flatten)]
    options: RunOptions,
    /// The folder for the data that guests send; it is made if it does not exist
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The guest: an ELF file for x86-64
    elf: PathBuf,
    /// The options and the filter of tests; or what `cargo vm run` takes after the guest
    #[arg(
        value_name = "ARGUMENTS",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    arguments: Vec<OsString>,
}

/// The status of a run in which a test failed, as Rust's test harness has it.
const FAILED: u8 = 101;

/// Tests were to run in a sandbox.
#[derive(Debug, thiserror::Error)]
#[error(
    "tests run in VMs, not in Hyperlight sandboxes: pass --vmm kvm or --vmm qemu-tcg, or set \
     DORMIR_VMM to one of them"
)]
struct InSandboxError;

/// A debugger was to attach to several tests, or to none.
#[derive(Debug, thiserror::Error)]
#[error(
    "a debugger attaches to one test, and {count} would run: name one, as in `cargo test -- \
     --exact NAME`; `cargo test -- --list` shows the names"
)]
struct NotOneTestError {
    count: usize,
}

/// What follows the name of a test program: as Rust's test harness has it, with any number of
/// filters.
#[derive(Parser)]
#[command(name = "tests", disable_version_flag = true)]
struct Selection {
    #[command(flatten)]
    first: libtest_mimic::Arguments,
    #[arg(
        value_name = "FILTER",
        help = "More filters: a test that one of them matches is run"
    )]
    more: Vec<String>,
}

impl Selection {
    /// Removes the tests that match none of several filters, which the library does for one.
    fn filter(&mut self, tests: &mut Vec<GuestTest>) {
        if self.more.is_empty() {
            return;
        }
        let filters: Vec<_> = self
            .first
            .filter
            .take()
            .into_iter()
            .chain(self.more.drain(..))
            .collect();
        let exact = self.first.exact;
        tests.retain(|test| {
            let is_match = |filter: &String| match exact {
                true => test.name == *filter,
                false => test.name.contains(filter),
            };
            filters.iter().any(is_match)
        });
    }
}

#[derive(Parser)]
#[command(name = "cargo vm runner", bin_name = "cargo vm runner")]
struct Program {
    #[command(flatten)]
    arguments: RunArguments,
}

pub(super) fn run(arguments: &RunnerArguments, stop: &StopToken) -> Ended {
    let Some(mut tests) = guest_tests::list(&arguments.elf)? else {
        // With all words in the order in which they were given: an option of `cargo vm run` may
        // follow the guest's name.
        let words = env::args_os().skip_while(|word| word != "runner");
        let words = debugger::join_port(words);
        return match Program::try_parse_from(words) {
            Ok(program) => run::run(&program.arguments, stop),
            Err(error) => Ok(show(&error, FAILURE)),
        };
    };
    let words = [OsString::from("tests")].into_iter();
    let words = words.chain(arguments.arguments.iter().cloned());
    let mut selection = match Selection::try_parse_from(words) {
        Ok(selection) => selection,
        Err(error) => return Ok(show(&error, FAILED)),
    };
    selection.filter(&mut tests);
    let selection = selection.first;
    let vmm = if selection.list {
        None
    } else {
        match arguments.options.choice.under()? {
            Under::Vmm(vmm) => Some(vmm),
            Under::Hyperlight(_) => return Err(InSandboxError.into()),
        }
    };
    let config = vmm.map(|vmm| arguments.options.config(vmm, String::new(), stop));
    let listener = match &config {
        Some(_) => arguments.options.gdb.listen()?,
        None => None,
    };
    let config = config.map(|config| RunConfig {
        gdb: listener.clone(),
        ..config
    });
    let runs = TestRuns::new(
        &arguments.elf,
        config,
        arguments.out.as_deref(),
        selection.nocapture,
    );
    let trials = runs.trials(tests);
    if let Some(listener) = listener {
        let count = trials.iter().filter(|trial| will_run(&selection, trial));
        let count = count.count();
        if count != 1 {
            return Err(NotOneTestError { count }.into());
        }
        debugger::announce(&arguments.elf, &listener);
    }
    let conclusion = libtest_mimic::run(&selection, trials);
    runs.show_boots();
    if stop.is_stopped() {
        complain(format_args!("the tests were stopped from outside"));
        return Ok(super::signals::STOPPED);
    }
    Ok(if conclusion.has_failed() { FAILED } else { 0 })
}

/// Returns whether a test is run, and not only shown.
fn will_run(selection: &libtest_mimic::Arguments, trial: &Trial) -> bool {
    let runs_ignored = selection.ignored || selection.include_ignored;
    !selection.is_filtered_out(trial) && (runs_ignored || !trial.has_ignored_flag())
}

/// Prints help, or what is wrong with the words; returns the status, `failure` for the latter.
fn show(error: &clap::Error, failure: u8) -> u8 {
    // Where the stream is gone, there is no one left to tell.
    let _ = error.print();
    if error.use_stderr() { failure } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_debugger_attaches_to_a_test_that_is_run() {
        let trials = [("a", false), ("ab", false), ("b", true)]
            .map(|(name, is_ignored)| Trial::test(name, || Ok(())).with_ignored_flag(is_ignored));
        for (line, count) in [
            ("tests", 2),
            ("tests a", 2),
            ("tests a --exact", 1),
            ("tests b", 1),
            ("tests b --ignored", 1),
            ("tests --include-ignored", 3),
            ("tests --skip a", 0),
        ] {
            let selection = Selection::try_parse_from(line.split(' ')).expect("it is valid");
            let run = trials.iter().filter(|t| will_run(&selection.first, t));
            assert_eq!(run.count(), count, "{line}");
        }
    }
}
