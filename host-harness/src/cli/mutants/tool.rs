//! cargo-mutants: finds it, and runs it with the library's tests.

use super::{found::Fate, mutant::Mutant, note, stages::Stage, tree};
use crate::{
    process::{self, Keep, ProcessError, Scope},
    setup::Policy,
    stop::StopToken,
    toolchain,
    workspace::Workspace,
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// The version of which the mutants are: others make others.
const VERSION: &str = "27.1.0";

/// The time limits for its installation and for a list.
const INSTALL_LIMIT: Duration = Duration::from_secs(3600);
const LIST_LIMIT: Duration = Duration::from_secs(300);

/// The address space of the tests, in KiB: some mutants allocate without end.
const ADDRESS_SPACE: u64 = 4 << 20;

/// Its status if the tests fail without a mutant.
const BASELINE_FAILED: i32 = 4;

/// What is kept of this process's environment.
const KEPT: &[&str] = &["CARGO_BUILD_JOBS", "CARGO_NET_OFFLINE", "CARGO_TERM_COLOR"];

#[derive(Debug, thiserror::Error)]
pub(super) enum ToolError {
    #[error(
        "this needs cargo-mutants {VERSION}: run `cargo install --locked cargo-mutants@{VERSION}`"
    )]
    Missing,
    #[error("cargo-mutants cannot list its mutants: run `cargo mutants --list` to see why")]
    List,
    #[error(
        "{what}: they fail without a mutant, so none was tried. See {}",
        log.display()
    )]
    Baseline { what: &'static str, log: PathBuf },
    #[error("cargo-mutants failed with {status}: see {}", log.display())]
    Failed {
        status: std::process::ExitStatus,
        log: PathBuf,
    },
    #[error("{} cannot be {what} ({reason}): make room there", file.display())]
    File {
        file: PathBuf,
        what: &'static str,
        reason: io::Error,
    },
    #[error(transparent)]
    Process(#[from] ProcessError),
}

/// What a stage found.
#[derive(Debug)]
pub(super) struct Tried {
    /// What became of those that were tried, by their names.
    pub(super) fates: BTreeMap<String, Fate>,
    /// Why it ended before the last, if it did.
    pub(super) end: Result<(), ToolError>,
}

/// An installed cargo-mutants.
#[derive(Debug)]
pub(super) struct Tool {
    program: PathBuf,
    /// The folder into which it writes its results.
    output: PathBuf,
}

impl Tool {
    /// Finds it in `PATH` or where an earlier run has put it; else installs it there.
    pub(super) fn find(
        workspace: &Workspace,
        policy: Policy,
        stop: &StopToken,
    ) -> Result<Self, ToolError> {
        let installed = installation(workspace).join("bin").join("cargo-mutants");
        let places = ["cargo-mutants".into(), installed];
        Self::find_in(workspace, &places, policy, stop)
    }

    fn find_in(
        workspace: &Workspace,
        places: &[PathBuf],
        policy: Policy,
        stop: &StopToken,
    ) -> Result<Self, ToolError> {
        let found = || places.iter().find(|program| is_right(program, stop));
        let program = match found() {
            Some(program) => program,
            None if policy == Policy::Refuse => return Err(ToolError::Missing),
            None => {
                let root = installation(workspace);
                let mut install = Command::new("cargo");
                toolchain::isolate(&mut install, KEPT);
                install.args(["install", "--quiet", "--locked", "--root"]);
                install.arg(&root).arg(format!("cargo-mutants@{VERSION}"));
                note(format_args!(
                    "cargo-mutants {VERSION} is missing, and is built in some minutes: \
                     `cargo install --locked --root {} cargo-mutants@{VERSION}`",
                    root.display()
                ));
                process::run(&mut install, Scope::Group, INSTALL_LIMIT, stop)?;
                found().ok_or(ToolError::Missing)?
            }
        };
        Ok(Self {
            program: program.clone(),
            output: tree::folder(workspace),
        })
    }

    fn command(&self, tree: &Path) -> Command {
        let mut command = Command::new(&self.program);
        toolchain::isolate(&mut command, KEPT);
        command
            .args(["mutants", "--package=dormir"])
            .current_dir(tree);
        command
    }

    /// Lists all mutants.
    pub(super) fn list(&self, tree: &Path, stop: &StopToken) -> Result<Vec<Mutant>, ToolError> {
        let mut command = self.command(tree);
        command.args(["--list", "--json"]);
        let keep = Keep::StdoutOnly;
        let listed = process::capture(&mut command, keep, Scope::Group, LIST_LIMIT, stop)?;
        let values: Vec<Value> =
            serde_json::from_str(&listed.output).map_err(|_| ToolError::List)?;
        let mut sources = BTreeMap::new();
        let mut mutants = Vec::new();
        for value in &values {
            let file = value["file"].as_str().ok_or(ToolError::List)?;
            let source: &mut String = sources.entry(file).or_default();
            if source.is_empty() {
                let path = tree.join(file);
                let failed = |reason| failed(&path, "read", reason);
                *source = fs::read_to_string(&path).map_err(failed)?;
            }
            mutants.push(Mutant::read(value, source).ok_or(ToolError::List)?);
        }
        if mutants.is_empty() {
            return Err(ToolError::List);
        }
        Ok(mutants)
    }

    /// Tries the mutants that are `due`, by the tests of a stage.
    pub(super) fn test(
        &self,
        tree: &Path,
        stage: &Stage,
        all: &[Mutant],
        due: &[&Mutant],
        limit: Duration,
        stop: &StopToken,
    ) -> Result<Tried, ToolError> {
        let results = self.output.join("mutants.out");
        // It leaves out what an earlier run has caught. So are all that are not due.
        let due: BTreeSet<String> = due.iter().map(|mutant| mutant.name()).collect();
        let names = all.iter().map(Mutant::name);
        let others: String = names
            .filter(|name| !due.contains(name))
            .map(|name| name + "\n")
            .collect();
        if results.exists() {
            fs::remove_dir_all(&results).map_err(|reason| failed(&results, "removed", reason))?;
        }
        fs::create_dir_all(&results).map_err(|reason| failed(&results, "made", reason))?;
        let caught = results.join("caught.txt");
        fs::write(&caught, others).map_err(|reason| failed(&caught, "written", reason))?;

        let mut command = self.command(tree);
        command
            .args([
                "--in-place",
                "--iterate",
                "--caught",
                "--minimum-test-timeout=15",
            ])
            .arg("--output")
            .arg(&self.output)
            .args(stage.features)
            // Not the examples in the documentation, some of which are guests.
            .args(["--cargo-arg=--locked", "--cargo-arg=--lib"])
            .arg(format!("--cargo-arg=--config={}", runner(stage)))
            .arg("--")
            .args(stage.cargo_test)
            .envs(stage.environment.iter().copied())
            // A mutant changes little, so little is compiled.
            .env("CARGO_INCREMENTAL", "1")
            .env("CARGO_PROFILE_DEV_DEBUG", "0");
        let status = match process::run(&mut command, Scope::Group, limit, stop) {
            Ok(status) => Ok(status),
            Err(error @ (ProcessError::TimedOut { .. } | ProcessError::Stopped)) => Err(error),
            Err(error) => return Err(error.into()),
        };
        let log = results.join("log").join("baseline.log");
        let end = match status {
            Ok(status) if status.code() == Some(BASELINE_FAILED) => {
                let what = stage.what;
                return Err(ToolError::Baseline { what, log });
            }
            // Caught all, missed some, timed out.
            Ok(status) if matches!(status.code(), Some(0 | 2 | 3)) => Ok(()),
            Ok(status) => Err(ToolError::Failed {
                status,
                log: results.join("debug.log"),
            }),
            Err(error) => Err(error.into()),
        };
        let mut fates = BTreeMap::new();
        for (fate, file) in Fate::FILES {
            let file = results.join(file);
            let text = match fs::read_to_string(&file) {
                Ok(text) => text,
                // It has not come so far.
                Err(_) if end.is_err() => continue,
                Err(reason) => return Err(failed(&file, "read", reason)),
            };
            // A run that was killed may leave half a line.
            let names = text.lines().filter(|name| due.contains(*name));
            fates.extend(names.map(|name| (name.to_owned(), fate)));
        }
        Ok(Tried { fates, end })
    }
}

/// Where it is installed: beside nothing that the user has.
fn installation(workspace: &Workspace) -> PathBuf {
    tree::folder(workspace).join("tool")
}

/// Returns whether a program is the version that is wanted.
fn is_right(program: &Path, stop: &StopToken) -> bool {
    let mut command = Command::new(program);
    command.args(["mutants", "--version"]);
    let answer = process::capture(&mut command, Keep::Stdout, Scope::Group, LIST_LIMIT, stop);
    answer.is_ok_and(|answer| answer.output.trim() == format!("cargo-mutants {VERSION}"))
}

/// A setting of cargo by which the tests run with limits, and start no test after one has failed:
/// many mutants would then hang in another. By time of the processor, a test that spins has the
/// same limit however busy the machine is.
fn runner(stage: &Stage) -> String {
    let script = format!(
        "ulimit -t {} && ulimit -v {ADDRESS_SPACE} && \
         RUSTC_BOOTSTRAP=1 exec \"$@\" -Zunstable-options --fail-fast",
        stage.seconds
    );
    format!(r#"target."cfg(unix)".runner=["sh", "-c", '{script}', "sh"]"#)
}

fn failed(file: &Path, what: &'static str, reason: io::Error) -> ToolError {
    ToolError::File {
        file: file.to_owned(),
        what,
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_and_not_installed() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(folder.path().join("guest-image")).expect("a folder");
        fs::write(folder.path().join("guest-image/Cargo.toml"), "").expect("a file");
        let workspace = Workspace::at(folder.path()).expect("a checkout");
        let places = ["no-such-cargo-mutants".into()];
        let stop = StopToken::default();
        let error =
            Tool::find_in(&workspace, &places, Policy::Refuse, &stop).expect_err("there is none");
        let command = format!("`cargo install --locked cargo-mutants@{VERSION}`");
        assert!(error.to_string().contains(&command), "{error}");
        assert!(!tree::folder(&workspace).exists());
    }
}
