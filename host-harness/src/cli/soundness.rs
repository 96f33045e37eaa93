//! `cargo vm soundness`: tests under tools that find undefined behaviour and data races.

mod tools;

use super::{
    Ended, Installing, note,
    record::{Recording, Run},
};
use crate::{
    process::{self, ProcessError, Scope},
    setup::{Policy, SetupError},
    stop::StopToken,
    workspace::Workspace,
};
use serde_json::json;
use std::{
    io::{self, BufRead, BufReader, Write},
    process::{Command, ExitStatus},
    thread,
    time::{Duration, Instant},
};
use tools::Tool;

/// Runs tests of the library and its drivers under a tool that finds undefined behaviour
///
/// It needs a nightly compiler, which is installed by rustup where it is missing. The status is
/// that of the first tests that fail, else 0.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The tool
    tool: Tool,
    /// One part of the tests: of miri timers, executor or virtio; of tsan library, virtio or
    /// host-calls [default: all]
    #[arg(conflicts_with = "record")]
    part: Option<String>,
    #[command(flatten)]
    recording: Recording,
    #[command(flatten)]
    installing: Installing,
}

#[derive(Debug, thiserror::Error)]
#[error("{tool} has no tests `{part}`: pass one of {}, or none for all", tool.parts())]
struct NoSuchPartError {
    tool: Tool,
    part: String,
}

/// The time limit of an installation, and of the tests of one package, build included: many times
/// the usual time.
const LIMIT: Duration = Duration::from_secs(4 * 3600);

pub(super) fn run(arguments: &Arguments, stop: &StopToken) -> Ended {
    let tool = arguments.tool;
    let is_wanted = |part: &str| arguments.part.as_ref().is_none_or(|wanted| wanted == part);
    let parts = || tool.tests().iter().filter(|tests| is_wanted(tests.part));
    if let (Some(part), 0) = (&arguments.part, parts().count()) {
        let part = part.clone();
        return Err(NoSuchPartError { tool, part }.into());
    }
    let workspace = Workspace::locate()?;
    set_up(tool, arguments.installing.policy(), stop)?;
    let start = Instant::now();
    let (mut tests, mut failed) = (0, None);
    for part in parts() {
        note(format_args!("{tool}: {}", part.what));
        let (status, passed) = run_tests(&mut part.command(&workspace), stop)?;
        tests += passed;
        if !status.success() || passed == 0 {
            failed = Some((part, status));
            break;
        }
    }
    let result = match &failed {
        None => format!("{tests} tests, no finding"),
        Some((part, status)) if status.success() => format!("no test of {} was run", part.what),
        Some((part, status)) => format!("{} failed ({status})", part.what),
    };
    note(format_args!("{tool}: {result}"));
    let run = Run {
        name: format!("soundness-{}", tool.name()),
        claim: tool.claim(),
        command: format!("cargo vm soundness {}", tool.name()),
        took: start.elapsed(),
        passed: Some(failed.is_none()),
        result,
        details: json!({ "tests": tests }),
    };
    arguments.recording.write(&workspace, &run)?;
    Ok(failed.map_or(0, |(_, status)| {
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        code.filter(|code| *code != 0).unwrap_or(1)
    }))
}

/// Installs the tool, if it is missing.
fn set_up(tool: Tool, policy: Policy, stop: &StopToken) -> Result<(), SetupError> {
    let components = || {
        let mut list = Command::new("rustup");
        list.args(["component", "list", "--installed", "--toolchain", "nightly"]);
        let (keep, scope) = (process::Keep::StdoutOnly, Scope::Group);
        let listed = process::capture(&mut list, keep, scope, LIMIT, stop).ok()?;
        listed.status.success().then_some(listed.output)
    };
    let lacks = |listed: &str| {
        let mut needed = tool.components().iter();
        needed.any(|name| !listed.lines().any(|line| line.starts_with(name)))
    };
    let listed = components();
    if listed.as_deref().is_some_and(|listed| !lacks(listed)) {
        return Ok(());
    }
    let mut words = match listed {
        Some(_) => vec!["component", "add", "--toolchain", "nightly"],
        None => vec!["toolchain", "install", "nightly", "--profile=minimal"],
    };
    for name in tool.components() {
        if words[0] == "toolchain" {
            words.push("--component");
        }
        words.push(name);
    }
    let line = format!("rustup {}", words.join(" "));
    if policy == Policy::Refuse {
        return Err(SetupError::Lacking(format!(
            "{tool} is missing, and nothing is to be installed: run `{line}`"
        )));
    }
    note(format_args!("installing {tool}: `{line}`"));
    let ran = process::run(
        Command::new("rustup").args(&words),
        Scope::Group,
        LIMIT,
        stop,
    );
    match ran {
        Err(ProcessError::Stopped) => Err(SetupError::Stopped),
        _ if components().is_some_and(|listed| !lacks(&listed)) => Ok(()),
        _ => Err(SetupError::Lacking(format!(
            "{tool} cannot be installed: see why `{line}` fails, and whether rustup is installed"
        ))),
    }
}

/// Runs tests, shows their output, and returns how they ended and how many passed.
fn run_tests(
    command: &mut Command,
    stop: &StopToken,
) -> Result<(ExitStatus, u64), Box<dyn std::error::Error>> {
    let (reader, writer) = io::pipe()?;
    command.stdout(writer);
    thread::scope(|scope| {
        let passed = scope.spawn(move || {
            let lines = BufReader::new(reader).lines().map_while(Result::ok);
            lines
                .inspect(|line| show(line))
                .filter_map(|line| passed(&line))
                .sum()
        });
        let status = process::run(command, Scope::Group, LIMIT, stop);
        // The command holds the pipe's other end.
        command.stdout(io::stderr());
        let passed = passed.join().unwrap_or_default();
        Ok((status?, passed))
    })
}

fn show(line: &str) {
    // Where standard output is gone, there is no one left to tell.
    let _ = writeln!(io::stdout(), "{line}");
}

/// The number of tests that passed, from the line with which a program of tests ends.
fn passed(line: &str) -> Option<u64> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    counts.split_once(" passed")?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::passed;

    #[test]
    fn tests_are_counted_by_their_last_line() {
        let line = "test result: ok. 174 passed; 0 failed; 3 ignored; 0 measured; 0 filtered out";
        assert_eq!(passed(line), Some(174));
        let line = "test result: FAILED. 2 passed; 1 failed; 0 ignored";
        assert_eq!(passed(line), Some(2));
        for other in ["test passed ... ok", "running 3 tests", "test result: "] {
            assert_eq!(passed(other), None, "{other}");
        }
    }
}
