//! `cargo vm peers`: other executors' own tests, on dormir.

mod results;
mod sources;
mod suites;

use super::{
    Ended, complain, ended, note,
    record::{Recording, Run},
};
use crate::{
    host_cargo,
    process::{self, Scope},
    stop::StopToken,
    workspace::Workspace,
};
use clap::value_parser;
use comfy_table::{Table, presets};
use results::Results;
use serde_json::json;
use sources::{Published, Source, SourcesError, in_checkout};
use std::{
    error::Error,
    fs::{self, File},
    io::{self, Write},
    path::PathBuf,
    time::{Duration, Instant},
};
use suites::{Peer, SUITES, Suite};

/// Runs the tests of other executors on dormir
///
/// Packages in host-harness/peers have the names of those executors, and run everything on
/// dormir's. The tests are not part of this checkout: cargo downloads the published packages, which
/// contain them. The status is 0 if all tests pass but those that are expected to fail, whose
/// reasons are shown; and 1 if another one fails, or one of those passes. What the tests printed is
/// in host-harness/peers/target/suites.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Whose tests [default: all]
    #[arg(conflicts_with = "record")]
    peers: Vec<Peer>,
    /// Takes the tests from this checkout of futures-rs or embassy instead. What they test besides
    /// the executor, such as channels, is still that of the published packages
    #[arg(long, value_name = "DIR", conflicts_with = "record")]
    path: Option<PathBuf>,
    /// The time limit of each suite, in minutes, build included
    #[arg(long, value_name = "MINUTES", default_value_t = 30)]
    #[arg(value_parser = value_parser!(u16).range(1..))]
    timeout: u16,
    #[command(flatten)]
    recording: Recording,
}

/// A suite had no result.
#[derive(Debug, thiserror::Error)]
#[error(
    "the tests of {suite} did not run to their end: {reason}. What they printed is in {}, and \
     cargo's own words are above",
    log.display()
)]
struct NoResultError {
    suite: &'static str,
    reason: String,
    log: PathBuf,
}

/// Lists or output of the suites cannot be kept.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be written ({reason}): see whether the checkout is writable", folder.display())]
struct FolderError {
    folder: PathBuf,
    reason: io::Error,
}

/// A suite's run.
struct Done {
    suite: &'static Suite,
    from: String,
    results: Results,
}

pub(super) fn run(arguments: &Arguments, stop: &StopToken) -> Ended {
    let workspace = Workspace::locate()?;
    let start = Instant::now();
    let mut done = Vec::new();
    for (suite, source) in choose(arguments, &workspace, stop)? {
        note(format_args!("{} ({})", suite.name, source.from));
        let limit = Duration::from_secs(60 * u64::from(arguments.timeout));
        let results = run_suite(&workspace, suite, &source, limit, stop)?;
        done.push(Done {
            suite,
            from: source.from,
            results,
        });
    }
    report(arguments, &workspace, &done, start.elapsed())
}

/// The suites to be run, and where they are.
fn choose(
    arguments: &Arguments,
    workspace: &Workspace,
    stop: &StopToken,
) -> Result<Vec<(&'static Suite, Source)>, SourcesError> {
    let is_named = |suite: &Suite| arguments.peers.contains(&suite.peer);
    let wanted = SUITES.iter();
    let wanted = wanted.filter(|suite| arguments.peers.is_empty() || is_named(suite));
    let Some(path) = &arguments.path else {
        let published = Published::download(workspace, stop)?;
        return wanted
            .map(|suite| Ok((suite, published.source(suite)?)))
            .collect();
    };
    let no_checkout = |wanted| SourcesError::NoCheckout {
        path: path.clone(),
        wanted,
    };
    let mut chosen = Vec::new();
    for suite in wanted {
        match in_checkout(path, suite) {
            Some(source) => chosen.push((suite, source)),
            None if is_named(suite) => return Err(no_checkout(suite.name)),
            None => {}
        }
    }
    if chosen.is_empty() {
        return Err(no_checkout("futures-rs or embassy-executor"));
    }
    Ok(chosen)
}

fn run_suite(
    workspace: &Workspace,
    suite: &'static Suite,
    source: &Source,
    limit: Duration,
    stop: &StopToken,
) -> Result<Results, Box<dyn Error>> {
    let peers = workspace.root().join("host-harness/peers");
    let lists = peers.join("target/suites");
    let failed = |reason| FolderError {
        folder: lists.clone(),
        reason,
    };
    fs::create_dir_all(&lists).map_err(failed)?;
    let list = source.list(suite)?;
    let file = lists.join(format!("{}.rs", suite.name));
    // One that has changed is compiled again.
    if fs::read_to_string(&file).ok().as_ref() != Some(&list) {
        fs::write(&file, list).map_err(failed)?;
    }
    let log = lists.join(format!("{}.log", suite.name));
    let mut cargo = host_cargo::cargo(workspace, "test");
    cargo
        .args(["--package", suite.package, "--test", suite.name])
        .env("DORMIR_PEERS", &lists)
        .current_dir(peers)
        .stdout(File::create(&log).map_err(failed)?);
    let ended = process::run(&mut cargo, Scope::Group, limit, stop);
    let output = fs::read(&log).map_err(failed)?;
    let no_result = |reason| NoResultError {
        suite: suite.name,
        reason,
        log,
    };
    // A test that hangs is named there too.
    let status = match ended {
        Ok(status) => status,
        Err(error) => return Err(no_result(error.to_string()).into()),
    };
    let results = Results::read(&String::from_utf8_lossy(&output));
    Ok(results.ok_or_else(|| no_result(status.to_string()))?)
}

/// Shows, and records, how the suites ended.
fn report(arguments: &Arguments, workspace: &Workspace, done: &[Done], took: Duration) -> Ended {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header([
        "suite",
        "from",
        "passed",
        "failed as expected",
        "failed",
        "ignored by its authors",
    ]);
    let (mut reasons, mut complaints, mut details) = (String::new(), Vec::new(), Vec::new());
    let (mut passed, mut expected) = (0, 0);
    for Done {
        suite,
        from,
        results,
    } in done
    {
        let verdict = results.judge(suite, arguments.path.is_none());
        passed += results.passed.len();
        expected += verdict.expected;
        let others = results.failed.len() - verdict.expected;
        table.add_row([
            suite.name.to_owned(),
            from.clone(),
            results.passed.len().to_string(),
            verdict.expected.to_string(),
            others.to_string(),
            results.ignored.to_string(),
        ]);
        for (test, reason) in suite.fails {
            reasons += &format!("{} fails: {test}: {reason}.\n", suite.name);
        }
        for (file, reason) in suite.left_out {
            reasons += &format!("{} leaves out: {file}.rs: {reason}.\n", suite.name);
        }
        let sentences = verdict.unexpected.iter();
        complaints.extend(sentences.map(|sentence| format!("{}: {sentence}", suite.name)));
        details.push(json!({
            "suite": suite.name, "from": from, "passed": results.passed.len(),
            "failed as expected": verdict.expected, "failed": others, "ignored": results.ignored,
        }));
    }
    let status = u8::from(!complaints.is_empty());
    let result = format!("{passed} tests passed, and {expected} failed as expected");
    arguments.recording.write(
        workspace,
        &Run {
            name: "peers".into(),
            claim: "The tests of futures-rs and of embassy-executor pass on dormir, but for those \
                    that are listed with a reason.",
            command: "cargo vm peers".into(),
            took,
            passed: Some(complaints.is_empty()),
            result: result.clone(),
            details: details.into(),
        },
    )?;
    let written = write!(io::stdout(), "{table}\n\n{reasons}");
    // Cargo's last word may be of a failure that was expected.
    note(format_args!("{result}"));
    for complaint in complaints {
        complain(format_args!("{complaint}"));
    }
    ended(written, status)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With what is left out, and what fails.
    #[test]
    fn the_page_names_what_is_expected() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/testing.md");
        let page = fs::read_to_string(page).expect("the page");
        for suite in SUITES {
            for (name, _) in suite.fails.iter().chain(suite.left_out) {
                let name = name.rsplit("::").next().expect("a name");
                assert!(page.contains(&format!("`{name}`")), "{name}");
            }
        }
    }
}
