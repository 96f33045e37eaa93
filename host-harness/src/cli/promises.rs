//! `cargo vm promises`: what is promised, and the tests that hold it.

mod judge;
mod list;
mod tests_of;

pub use list::filters_in_vms;

use super::{
    Ended, Installing, counted, ended, note,
    record::{self, Recording, Run},
    test,
};
use crate::{setup::Needs, stop::StopToken, workspace::Workspace};
use comfy_table::{Table, presets};
use judge::Ran;
use list::{PROMISES, Promise};
use std::{
    io::{self, Write},
    time::{Duration, Instant},
};

/// Runs the tests that hold what is promised, promise by promise
///
/// Each promise names tests. Of each name at least one must be run, and all that are run must pass.
/// All of them take an hour or two, mostly in VMs. --list names them, and marks those whose tests
/// are no part of `cargo vm test` since they are long.
///
/// With --record, docs/testing.md then says for each promise what this run found. Tests that were
/// ignored are counted there: a machine may not be able to run them.
///
/// The status is 0 if all promises are kept, and 1 if not.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Which promises [default: all]
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Shows the names, and what is promised
    #[arg(long, conflicts_with = "record")]
    list: bool,
    #[command(flatten)]
    recording: Recording,
    #[command(flatten)]
    installing: Installing,
}

#[derive(Debug, thiserror::Error)]
#[error("there is no promise `{0}`: `cargo vm promises --list` shows their names")]
struct NoSuchPromiseError(String);

/// The time limit of the tests that one command runs, build included: many times the usual time.
const LIMIT: Duration = Duration::from_secs(2 * 3600);

pub(super) fn run(arguments: &Arguments, stop: &StopToken) -> Ended {
    let chosen = choose(&arguments.names)?;
    if arguments.list {
        return list(&chosen);
    }
    let workspace = Workspace::locate()?;
    let in_vms = chosen.iter().any(|promise| promise.needs_vms());
    let needs = Needs {
        qemu: in_vms,
        passt: in_vms,
        browser: false,
    };
    test::set_up(&workspace, needs, arguments.installing.policy(), stop)?;
    let (mut results, mut end) = (Vec::new(), Ok(()));
    for (index, promise) in chosen.iter().enumerate() {
        note(format_args!(
            "{} of {}: {}",
            index + 1,
            chosen.len(),
            promise.name
        ));
        match keep(promise, arguments.recording, &workspace, stop) {
            Ok((is_kept, result)) => results.push((promise, is_kept, result)),
            Err(error) => {
                end = Err(error);
                break;
            }
        }
    }
    let mut table = Table::new();
    table
        .load_style(presets::ASCII_MARKDOWN)
        .set_header(["promise", "kept", "tests"]);
    for (promise, is_kept, result) in &results {
        let kept = if *is_kept { "yes" } else { "NO" };
        table.add_row([promise.name, kept, result]);
    }
    let are_kept = results.iter().all(|(_, is_kept, _)| *is_kept);
    let written = writeln!(io::stdout(), "\n{table}");
    // What was found before that is shown.
    end?;
    ended(written, u8::from(!are_kept))
}

/// The promises with these names, in their order here; all if there are none.
fn choose(names: &[String]) -> Result<Vec<&'static Promise>, NoSuchPromiseError> {
    let is = |name: &str| PROMISES.iter().any(|promise| promise.name == name);
    if let Some(unknown) = names.iter().find(|name| !is(name)) {
        return Err(NoSuchPromiseError(unknown.clone()));
    }
    let is_chosen = |promise: &&Promise| names.iter().any(|name| name == promise.name);
    let all = PROMISES.iter();
    Ok(all
        .filter(|one| names.is_empty() || is_chosen(one))
        .collect())
}

fn list(chosen: &[&Promise]) -> Ended {
    let mut text = String::new();
    for promise in chosen {
        let long = if promise.is_long() { " (long)" } else { "" };
        text += &format!("{}{long}: {}\n", promise.name, promise.sentence);
    }
    ended(write!(io::stdout(), "{text}"), 0)
}

/// Runs the tests of one promise. Returns whether it is kept, and a sentence.
fn keep(
    promise: &Promise,
    recording: Recording,
    workspace: &Workspace,
    stop: &StopToken,
) -> Result<(bool, String), Box<dyn std::error::Error>> {
    let start = Instant::now();
    let mut all = Vec::new();
    for tests in promise.tests {
        let line = tests.line();
        note(format_args!("{}: {line}", promise.name));
        let counted = counted::run(&mut tests.command(workspace), LIMIT, stop);
        let ran = match counted::within(LIMIT, counted)? {
            Ok(counted) => Ran::new(line, tests.filter, counted),
            Err(reason) => Ran::without_end(line, reason),
        };
        all.push(ran);
    }
    let (is_kept, result) = judge::judge(&all);
    note(format_args!("{}: {result}", promise.name));
    let details: Vec<_> = all.iter().map(Ran::details).collect();
    recording.write(
        workspace,
        &Run {
            name: format!("{}{}", record::PROMISE, promise.name),
            claim: promise.sentence,
            command: format!("cargo vm promises {}", promise.name),
            took: start.elapsed(),
            passed: Some(is_kept),
            result: result.clone(),
            details: details.into(),
        },
    )?;
    Ok((is_kept, result))
}
