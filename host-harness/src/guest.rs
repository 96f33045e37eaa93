//! Builds guest images.

use crate::{
    process::{self, Keep, ProcessError, Scope},
    stop::StopToken,
    toolchain::{GuestToolchain, TARGET},
    workspace::Workspace,
};
use cargo_metadata::Message;
use std::{
    collections::BTreeMap,
    io::{self, IsTerminal},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// The time limit of a build: on a slow machine, the first one may also build Rust's own library.
const LIMIT: Duration = Duration::from_secs(30 * 60);

/// Why guest images could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Cargo did not run to completion.
    #[error("the guest images cannot be built: {0}")]
    Process(#[from] ProcessError),
    /// Cargo failed, and has printed why on standard error.
    #[error("the guest images cannot be built: cargo failed ({status}); its messages are above")]
    Cargo {
        /// Its exit status.
        status: std::process::ExitStatus,
    },
    /// Cargo's messages cannot be parsed.
    #[error("cargo's report on the guest images cannot be read ({0}): update cargo")]
    Report(#[from] io::Error),
    /// Cargo succeeded, but built no such program.
    #[error("cargo built no guest image `{name}`: the guest workspace has no such binary")]
    Missing {
        /// The name of the program.
        name: String,
    },
}

/// The package of most guest programs.
const PROGRAMS: &str = "dormir-programs";

/// The packages of the other guest programs, and the programs' names. Their dependencies and
/// features (other runtimes, a driver for embassy-time) must not affect other programs.
const SEPARATE_PACKAGES: &[(&str, &[&str])] = &[
    ("dormir-bare-guest", &["bare"]),
    (
        "dormir-bench-guest",
        &[
            "counts",
            "latency",
            "size-dormir",
            "size-embassy",
            "size-empty",
            "sleeps",
        ],
    ),
    ("dormir-cases-guest", &["cases"]),
    ("dormir-embassy-guest", &["embassy"]),
    (
        "dormir-devices-guest",
        &[
            "devices",
            "hello-console",
            "hello-vsock",
            "store-key",
            "vsock",
        ],
    ),
    ("dormir-host-calls-guest", &["fetches", "host-calls"]),
    (
        "dormir-http-guest",
        &["bench-by-hand", "bench-picoserve", "hello-net", "http"],
    ),
    ("dormir-random-programs-guest", &["random-programs"]),
    ("dormir-shell-guest", &["echo", "hello-serial", "shell"]),
    ("dormir-soak-guest", &["soak"]),
    ("dormir-watched-guest", &["watched"]),
];

/// The programs that are tests of their packages.
const TEST_PROGRAMS: &[&str] = &["cases", "embassy"];

/// Returns the package of the guest program `name`.
fn package_of(name: &str) -> &'static str {
    let separate = SEPARATE_PACKAGES
        .iter()
        .find(|(_, names)| names.contains(&name));
    separate.map_or(PROGRAMS, |(package, _)| package)
}

/// The guest images that were built.
#[derive(Clone, Debug)]
pub struct Images(BTreeMap<String, PathBuf>);

impl Images {
    /// Returns the image of the guest program `name`.
    ///
    /// # Errors
    ///
    /// It is not among the programs that were built.
    pub fn get(&self, name: &str) -> Result<&Path, BuildError> {
        self.0
            .get(name)
            .map(PathBuf::as_path)
            .ok_or_else(|| BuildError::Missing { name: name.into() })
    }
}

/// How guest programs are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Optimised: cargo's profile `release`.
    Release,
    /// With assertions and whole debug information: cargo's profile `dev`.
    Dev,
}

/// Builds the guest programs `names` of `workspace` in the release profile.
///
/// The compiler's messages go to standard error, and cargo's progress too if that is a terminal.
/// Builds in several processes wait for each other.
///
/// # Errors
///
/// The build failed, took too long, or was stopped.
pub fn build(
    toolchain: &GuestToolchain,
    workspace: &Workspace,
    names: &[&str],
    stop: &StopToken,
) -> Result<Images, BuildError> {
    build_in(Profile::Release, toolchain, workspace, names, stop)
}

/// Builds as [`build`] does, in this profile.
///
/// # Errors
///
/// As for [`build`].
pub fn build_in(
    profile: Profile,
    toolchain: &GuestToolchain,
    workspace: &Workspace,
    names: &[&str],
    stop: &StopToken,
) -> Result<Images, BuildError> {
    // Each package separately: cargo unifies the features of packages that it builds together.
    let mut packages = BTreeMap::<&str, Vec<&str>>::new();
    for name in names {
        packages.entry(package_of(name)).or_default().push(name);
    }
    let mut images = BTreeMap::new();
    for (package, names) in packages {
        images.extend(build_package(profile, toolchain, workspace, package, &names, stop)?.0);
    }
    let images = Images(images);
    names
        .iter()
        .try_for_each(|name| images.get(name).map(drop))?;
    Ok(images)
}

/// Builds programs of one package.
fn build_package(
    profile: Profile,
    toolchain: &GuestToolchain,
    workspace: &Workspace,
    package: &str,
    names: &[&str],
    stop: &StopToken,
) -> Result<Images, BuildError> {
    let mut command = toolchain.command();
    command
        .args(["build", "--target", TARGET])
        .args(["--package", package])
        .arg("--target-dir")
        .arg(workspace.guest_target())
        .arg("--message-format=json-render-diagnostics")
        .current_dir(workspace.guest());
    if profile == Profile::Release {
        command.arg("--release");
    }
    for name in names {
        let kind = if TEST_PROGRAMS.contains(name) {
            "--test"
        } else {
            "--bin"
        };
        command.args([kind, name]);
    }
    executables(&run_cargo(&mut command, stop)?)
}

/// Runs a build to its end, and returns cargo's messages.
pub(crate) fn run_cargo(command: &mut Command, stop: &StopToken) -> Result<String, BuildError> {
    if !io::stderr().is_terminal() {
        command.arg("--quiet");
    }
    let cargo = process::capture(command, Keep::StdoutOnly, Scope::Group, LIMIT, stop)?;
    if cargo.status.success() {
        Ok(cargo.output)
    } else {
        Err(BuildError::Cargo {
            status: cargo.status,
        })
    }
}

/// Finds the program `name` in cargo's messages.
pub(crate) fn executable(messages: &str, name: &str) -> Result<PathBuf, BuildError> {
    Ok(executables(messages)?.get(name)?.to_owned())
}

/// Finds the programs in the messages that cargo writes with `--message-format=json`.
fn executables(messages: &str) -> Result<Images, BuildError> {
    let mut images = BTreeMap::new();
    for message in Message::parse_stream(messages.as_bytes()) {
        if let Message::CompilerArtifact(artifact) = message?
            && let Some(executable) = artifact.executable
        {
            images.insert(artifact.target.name, executable.into_std_path_buf());
        }
    }
    Ok(Images(images))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifact(name: &str, executable: &str) -> String {
        format!(
            "{{\"reason\":\"compiler-artifact\",\"package_id\":\"guests 0.1.0\",\"target\":\
             {{\"kind\":[\"bin\"],\"crate_types\":[\"bin\"],\"name\":\"{name}\",\"src_path\":\
             \"/src/{name}.rs\",\"edition\":\"2024\"}},\"profile\":{{\"opt_level\":\"3\",\
             \"debug_assertions\":false,\"overflow_checks\":false,\"test\":false}},\"features\":[],\
             \"filenames\":[],\"executable\":{executable},\"fresh\":true}}\n"
        )
    }

    #[test]
    fn programs_are_found_among_the_messages() {
        let messages = [
            artifact("library", "null"),
            artifact("demo", "\"/target/demo\""),
            "a build script's own words\n".into(),
            "{\"reason\":\"build-finished\",\"success\":true}\n".into(),
        ]
        .concat();
        let images = executables(&messages).expect("they can be read");
        assert_eq!(
            images.get("demo").expect("a program"),
            Path::new("/target/demo")
        );
        let missing = images.get("library").expect_err("no program");
        assert!(missing.to_string().contains("`library`"), "{missing}");
    }
}
