//! The tests in VMs of a copy of the checkout.

use crate::{
    cli::counted::Counts,
    process::{self, Keep, ProcessError, Scope},
    stop::StopToken,
    toolchain,
};
use serde_json::Value;
use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// The time limit of tests that build everything first.
pub(super) const BUILD_LIMIT: Duration = Duration::from_secs(3600);

/// The time limit of the tests of one fault, with the guests that are built for it: many times what
/// they take, and less than that of a test in a sandbox that hangs.
pub(super) const LIMIT: Duration = Duration::from_secs(600);

/// What is kept of this process's environment.
const KEPT: &[&str] = &["CARGO_BUILD_JOBS", "CARGO_NET_OFFLINE", "RUSTUP_TOOLCHAIN"];

/// What cargo says of a guest that does not build.
const NOT_BUILT: &str = "could not compile";

#[derive(Debug, thiserror::Error)]
pub(super) enum TrialsError {
    #[error(
        "the tests in VMs do not build: run `cargo test --package dormir-tests --test vm --no-run`"
    )]
    Build,
    #[error(transparent)]
    Process(#[from] ProcessError),
}

/// How tests ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ran {
    Passed,
    Failed,
    /// A guest did not build, which is no answer.
    NotBuilt,
    /// Not within the time.
    NotEnded,
    /// No test has this name, or the program of the tests broke off.
    None,
}

/// The program of the tests. It builds guests when it runs, so a fault needs no build of its own.
pub(super) struct Trials {
    program: PathBuf,
    tree: PathBuf,
}

impl Trials {
    /// Builds it.
    pub(super) fn build(tree: &Path, stop: &StopToken) -> Result<Self, TrialsError> {
        let mut command = Command::new(cargo());
        toolchain::isolate(&mut command, KEPT);
        command
            .args(["test", "--locked", "--package=dormir-tests", "--test=vm"])
            .args(["--no-run", "--message-format=json"])
            .current_dir(tree);
        let keep = Keep::StdoutOnly;
        let built = process::capture(&mut command, keep, Scope::Group, BUILD_LIMIT, stop)?;
        let program = built.output.lines().find_map(executable);
        match program {
            Some(program) if built.status.success() => Ok(Self {
                program,
                tree: tree.to_owned(),
            }),
            _ => Err(TrialsError::Build),
        }
    }

    /// Runs the tests whose names contain this. Returns also what they printed.
    pub(super) fn run(
        &self,
        test: &str,
        limit: Duration,
        stop: &StopToken,
    ) -> Result<(Ran, String), ProcessError> {
        let mut command = Command::new(&self.program);
        toolchain::isolate(&mut command, KEPT);
        command
            .arg(test)
            // As cargo does.
            .env("CARGO", cargo())
            .env("CARGO_MANIFEST_DIR", self.tree.join("tests"))
            .current_dir(self.tree.join("tests"));
        match process::capture(&mut command, Keep::Both, Scope::Group, limit, stop) {
            Ok(ran) => Ok((judge(&ran.output), ran.output)),
            Err(ProcessError::TimedOut { .. }) => {
                Ok((Ran::NotEnded, format!("they took longer than {limit:?}")))
            }
            Err(error) => Err(error),
        }
    }
}

fn cargo() -> std::ffi::OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// The program that a line of cargo's messages names.
fn executable(line: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(line).ok()?;
    message["executable"].as_str().map(PathBuf::from)
}

fn judge(output: &str) -> Ran {
    // What a test prints comes before the program's own line.
    let counts = output.lines().filter_map(Counts::read).next_back();
    match counts {
        Some(counts) if counts.failed > 0 && output.contains(NOT_BUILT) => Ran::NotBuilt,
        Some(counts) if counts.failed > 0 => Ran::Failed,
        Some(counts) if counts.passed > 0 => Ran::Passed,
        // The tests of a guest that does not build cannot be listed, so that none has the name.
        _ if output.contains(NOT_BUILT) => Ran::NotBuilt,
        _ => Ran::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_test_that_fails_catches_a_fault() {
        let end = |passed, failed| {
            format!(
                "test result: ok. {passed} passed; {failed} failed; 0 ignored; 0 measured; 9 \
                 filtered out; finished in 0.1s\n"
            )
        };
        assert_eq!(judge(&end(2, 0)), Ran::Passed);
        assert_eq!(judge(&end(2, 1)), Ran::Failed);
        assert_eq!(judge(&end(0, 0)), Ran::None);
        assert_eq!(judge("it broke off\n"), Ran::None);
        let unlisted = format!("error: could not compile `dormir`\n{}", end(0, 0));
        assert_eq!(judge(&unlisted), Ran::NotBuilt);
        let unbuilt = format!("error: could not compile `dormir` (lib)\n{}", end(0, 1));
        assert_eq!(judge(&unbuilt), Ran::NotBuilt);
        let said = format!("{}{}", end(0, 1), end(1, 0));
        assert_eq!(judge(&said), Ran::Passed);
    }

    #[test]
    fn the_program_is_the_one_that_cargo_names() {
        assert_eq!(executable(r#"{"reason":"x","executable":null}"#), None);
        assert_eq!(executable("warning"), None);
        let line = r#"{"reason":"compiler-artifact","executable":"/a/vm-1"}"#;
        assert_eq!(executable(line), Some("/a/vm-1".into()));
    }
}
