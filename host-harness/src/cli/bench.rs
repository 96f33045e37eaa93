//! `cargo vm bench`: builds the program that measures, and becomes it.
//!
//! It is a package of its own, so that no other verb waits for what it draws and computes with.

use super::{Ended, note};
use crate::{
    guest,
    host_cargo::cargo,
    process::{self, Keep, ProcessError, Scope},
    stop::StopToken,
    workspace::Workspace,
};
use std::{
    env,
    ffi::OsString,
    io::{self, IsTerminal},
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, ExitStatus},
    time::Duration,
};

/// Measures what tasks cost, beside other runtimes: `cargo vm bench --help`
///
/// The program that measures is built first, from this checkout.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub(super) struct Arguments {
    /// Arguments of the program that measures; --help names them
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "ARGUMENTS"
    )]
    arguments: Vec<OsString>,
}

/// The package, and the program in it.
const PACKAGE: &str = "dormir-measure";

/// The longest time that its build may take: many times the usual one.
const LIMIT: Duration = Duration::from_secs(30 * 60);

/// Why nothing can be measured.
#[derive(Debug, thiserror::Error)]
enum BenchError {
    #[error("the program that measures cannot be built: {0}")]
    Process(#[from] ProcessError),
    #[error("the program that measures cannot be built: cargo failed ({0}) and says above why")]
    Cargo(ExitStatus),
    #[error("cargo built no program `{PACKAGE}`: the checkout has no such package")]
    Missing,
    #[error("the program that measures cannot be started: {0}")]
    Start(io::Error),
}

pub(super) fn run(arguments: &Arguments, stop: &StopToken) -> Ended {
    let workspace = Workspace::locate()?;
    let mut build = cargo(&workspace, "build");
    build.args([
        "--package",
        PACKAGE,
        "--message-format=json-render-diagnostics",
    ]);
    if !io::stderr().is_terminal() {
        build.arg("--quiet");
    }
    if !is_built() {
        note(format_args!(
            "building the program that measures: `cargo build --package {PACKAGE}`"
        ));
    }
    let built = process::capture(&mut build, Keep::StdoutOnly, Scope::Group, LIMIT, stop)
        .map_err(BenchError::Process)?;
    if !built.status.success() {
        return Err(BenchError::Cargo(built.status).into());
    }
    let program = guest::executable(&built.output, PACKAGE).map_err(|_| BenchError::Missing)?;
    if stop.is_stopped() {
        return Err(BenchError::Process(ProcessError::Stopped).into());
    }
    // From here on this process is that program: its output, its signals and its status.
    Err(BenchError::Start(Command::new(program).args(&arguments.arguments).exec()).into())
}

/// Whether it was built before, beside this program.
fn is_built() -> bool {
    let this = env::current_exe().ok();
    let folder = this.as_deref().and_then(Path::parent);
    folder.is_some_and(|folder| folder.join(PACKAGE).is_file())
}
