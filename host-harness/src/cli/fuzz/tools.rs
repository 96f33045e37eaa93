//! The compiler and cargo's subcommand with which targets are built.

use super::note;
use crate::{
    process::{self, Captured, Keep, ProcessError, Scope},
    setup::Policy,
    stop::StopToken,
    toolchain,
    workspace::Workspace,
};
use std::{path::PathBuf, process::Command, time::Duration};

/// The version that is installed if there is none.
const CARGO_FUZZ: &str = "cargo-fuzz@0.13.2";

/// The target of the host, for which cargo-fuzz builds.
const HOST: &str = "x86_64-unknown-linux-gnu";

/// The time limit of a step: many times the usual time.
const LIMIT: Duration = Duration::from_secs(3600);

/// How long a tool may take to say its version.
const QUERY_LIMIT: Duration = Duration::from_secs(60);

/// Something that is missing can be installed so.
struct Tool {
    /// Why, for a line.
    why: &'static str,
    /// Prints its version.
    query: &'static [&'static str],
    install: &'static [&'static str],
}

const TOOLS: [Tool; 2] = [
    Tool {
        why: "installing a nightly compiler, which libFuzzer's coverage needs",
        query: &["rustup", "run", "nightly", "rustc", "--version"],
        install: &[
            "rustup",
            "toolchain",
            "install",
            "nightly",
            "--profile",
            "minimal",
        ],
    },
    Tool {
        why: "building cargo-fuzz, which builds the targets, in a minute or two",
        query: &["rustup", "run", "nightly", "cargo", "fuzz", "--version"],
        install: &[
            "rustup", "run", "nightly", "cargo", "install", "--locked", "--debug", CARGO_FUZZ,
        ],
    },
];

#[derive(Debug, thiserror::Error)]
pub(super) enum ToolError {
    #[error("the fuzz targets cannot be built, and nothing is to be installed: run `{0}`")]
    Missing(String),
    #[error("`{0}` failed: see its messages above")]
    Failed(String),
    #[error(transparent)]
    Process(#[from] ProcessError),
}

/// Installs what is missing, or refuses to.
pub(super) fn set_up(
    workspace: &Workspace,
    policy: Policy,
    stop: &StopToken,
) -> Result<(), ToolError> {
    for tool in TOOLS {
        let asked = captured(tool.query, workspace, QUERY_LIMIT, stop);
        if matches!(&asked, Ok(answer) if answer.status.success()) {
            continue;
        }
        if let Err(ProcessError::Stopped) = asked {
            return Err(ProcessError::Stopped.into());
        }
        let command = tool.install.join(" ");
        if policy == Policy::Refuse {
            return Err(ToolError::Missing(command));
        }
        note(format_args!("{}: `{command}`", tool.why));
        succeeds(tool.install, workspace, stop)?;
    }
    Ok(())
}

/// Builds a target. Returns its program.
pub(super) fn build(
    workspace: &Workspace,
    name: &str,
    stop: &StopToken,
) -> Result<PathBuf, ToolError> {
    let target = workspace.fuzz_target().join("build");
    let folder = target.to_string_lossy();
    note(format_args!("{name}: building"));
    let words = [
        "rustup",
        "run",
        "nightly",
        "cargo",
        "fuzz",
        "build",
        "--target",
        HOST,
        "--target-dir",
        &folder,
        name,
    ];
    succeeds(&words, workspace, stop)?;
    Ok(target.join(HOST).join("release").join(name))
}

/// Runs a command, whose messages are shown only if it fails.
fn succeeds(words: &[&str], workspace: &Workspace, stop: &StopToken) -> Result<(), ToolError> {
    let done = captured(words, workspace, LIMIT, stop)?;
    if done.status.success() {
        return Ok(());
    }
    for line in done.output.lines() {
        note(format_args!("  {line}"));
    }
    Err(ToolError::Failed(words.join(" ")))
}

/// Runs a command where cargo-fuzz looks for its targets, free of an outer cargo's settings.
fn captured(
    words: &[&str],
    workspace: &Workspace,
    limit: Duration,
    stop: &StopToken,
) -> Result<Captured, ProcessError> {
    let mut command = Command::new(words[0]);
    toolchain::isolate(&mut command, &["CARGO_BUILD_JOBS", "CARGO_NET_OFFLINE"]);
    command
        .args(&words[1..])
        .current_dir(workspace.root().join("host-harness"));
    process::capture(&mut command, Keep::Both, Scope::Group, limit, stop)
}
