//! `cargo vm soundness`: tests under tools that find undefined behaviour and data races.

mod tools;

use super::{
    Ended, Installing, counted, note,
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
    process::Command,
    time::{Duration, Instant},
};
use tools::Tool;

/// Runs tests of the library and its drivers under a tool that finds undefined behaviour
///
/// It needs a nightly compiler, which is installed by rustup where it is missing. All tests take
/// Miri an hour or so, of which those of timers take a minute, and `ThreadSanitizer` a quarter of
/// an hour. The status is that of the first tests that fail, else 0.
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
        let counted = counted::run(&mut part.command(&workspace), LIMIT, stop);
        let counted = match counted::within(LIMIT, counted)? {
            Ok(counted) => counted,
            Err(how) => {
                failed = Some((format!("{}: {how}", part.what), None));
                break;
            }
        };
        let passed: usize = counted.programs.iter().map(|counts| counts.passed).sum();
        tests += passed;
        let status = counted.status;
        if !status.success() {
            failed = Some((format!("{} failed ({status})", part.what), status.code()));
            break;
        }
        if passed == 0 {
            failed = Some((format!("no test of {} was run", part.what), None));
            break;
        }
    }
    let result = match &failed {
        None => format!("{tests} tests, no finding"),
        Some((how, _)) => how.clone(),
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
        status.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
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
