//! Hyperlight sandboxes, with their own guest and runners, which are built and run as child
//! processes.
//!
//! `hw-interrupts` is a compile-time feature of `hyperlight-host`, so there are two runners, each
//! in its own target folder. (What both depend on is built once: `.cargo/config.toml` of their
//! workspace.) Neither belongs to this workspace, whose features would unify with theirs.

use std::{
    env,
    ffi::OsString,
    fmt,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    str::FromStr,
    sync::atomic::AtomicBool,
    time::{Duration, Instant},
};

use crate::{
    guest::{BuildError, executable, run_cargo},
    process::{self, Child, Keep, ProcessError, Scope},
    stop::StopToken,
    toolchain::{self, GuestToolchain, TARGET},
    vmm::{self, ChildEnd, Console, Limits, Messages, Outcome, RunError, kvm},
    workspace::Workspace,
};

/// The guest program.
const GUEST: &str = "hyperlight";

/// The program that runs it.
const RUNNER: &str = "dormir-hyperlight-runner";

/// The environment variable with the runner's nonce, and the runner's exit status if no guest ran
/// to its end.
const NONCE: &str = "DORMIR_NONCE";
const NOT_RUN: i32 = 125;

/// The package for hosts.
const HOST: &str = "dormir-hyperlight-host";

/// The compiler flags of a Hyperlight guest: those of `cargo hyperlight`, for a target without
/// vector registers.
const GUEST_FLAGS: &[&str] = &[
    "--cfg=hyperlight",
    "-Ccode-model=small",
    "-Clink-args=-eentrypoint",
    "-Clink-args=-znostart-stop-gc",
];

/// The kind of sandboxes that a build of hyperlight-host makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SandboxMode {
    /// An idle guest asks the host to wait.
    HostWait,
    /// An idle guest halts from tick to tick (`hw-interrupts`).
    Interrupts,
}

impl SandboxMode {
    /// Both modes.
    pub const ALL: [Self; 2] = [Self::HostWait, Self::Interrupts];
}

/// Writes the name that the command line and the tests use.
impl fmt::Display for SandboxMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HostWait => "hyperlight",
            Self::Interrupts => "hyperlight-interrupts",
        })
    }
}

/// Parses what [`Display`](fmt::Display) writes.
impl FromStr for SandboxMode {
    type Err = UnknownModeError;

    fn from_str(name: &str) -> Result<Self, UnknownModeError> {
        Self::ALL
            .into_iter()
            .find(|mode| mode.to_string() == name)
            .ok_or_else(|| UnknownModeError(name.to_owned()))
    }
}

/// A name that is not one of [`SandboxMode::ALL`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no mode named `{0}`: use hyperlight or hyperlight-interrupts")]
pub struct UnknownModeError(String);

/// Why this machine cannot run sandboxes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// There is no `/dev/kvm`.
    #[error(
        "a Hyperlight sandbox needs KVM, and there is no /dev/kvm: enable virtualisation in the \
         firmware (on a virtual machine: nested virtualisation), and load the module kvm_intel or \
         kvm_amd"
    )]
    Missing,
    /// This user may not open `/dev/kvm`.
    #[error(
        "a Hyperlight sandbox needs KVM, and /dev/kvm may not be opened by this user: add the user \
         to its group (`sudo usermod -aG kvm $USER`, then log in again)"
    )]
    Denied,
    /// KVM cannot be used for another reason.
    #[error("a Hyperlight sandbox needs KVM: {0}")]
    Unusable(RunError),
}

impl From<RunError> for SandboxError {
    fn from(error: RunError) -> Self {
        match error {
            RunError::KvmMissing => Self::Missing,
            RunError::KvmDenied => Self::Denied,
            error => Self::Unusable(error),
        }
    }
}

/// Checks whether sandboxes can run here, as far as that depends on KVM.
///
/// # Errors
///
/// KVM is missing, or cannot be used.
pub fn probe() -> Result<(), SandboxError> {
    kvm::probe()?;
    Ok(())
}

/// Builds the guest program.
///
/// # Errors
///
/// The build failed, took too long, or was stopped.
pub fn build_guest(
    toolchain: &GuestToolchain,
    workspace: &Workspace,
    stop: &StopToken,
) -> Result<PathBuf, BuildError> {
    guest_target(toolchain, workspace, "--bin", GUEST, stop)
}

/// Builds the example `name` of the guest's package.
///
/// # Errors
///
/// The build failed, took too long, or was stopped.
pub fn build_guest_example(
    toolchain: &GuestToolchain,
    workspace: &Workspace,
    name: &str,
    stop: &StopToken,
) -> Result<PathBuf, BuildError> {
    guest_target(toolchain, workspace, "--example", name, stop)
}

/// Builds one program of the guest's package, of the kind that the option `kind` selects.
fn guest_target(
    toolchain: &GuestToolchain,
    workspace: &Workspace,
    kind: &str,
    name: &str,
    stop: &StopToken,
) -> Result<PathBuf, BuildError> {
    let mut command = toolchain.command();
    command
        // Instead of the flags in the configuration files, which are for bootable guests.
        .env("CARGO_ENCODED_RUSTFLAGS", GUEST_FLAGS.join("\x1f"))
        .args(["build", "--locked", "--release", "--target", TARGET])
        .arg("--target-dir")
        .arg(workspace.hyperlight_target("guest"))
        .args(["--message-format=json-render-diagnostics", kind, name])
        .current_dir(workspace.hyperlight_guest());
    executable(&run_cargo(&mut command, stop)?, name)
}

/// Builds the example `name` of `dormir-hyperlight-host`: a complete host.
///
/// # Errors
///
/// The build failed, took too long, or was stopped.
pub fn build_host_example(
    mode: SandboxMode,
    workspace: &Workspace,
    name: &str,
    stop: &StopToken,
) -> Result<PathBuf, BuildError> {
    let mut command = build(mode, workspace);
    // Together with the runner's package, so that shared dependencies have the same features and
    // are built once.
    command.args(["--package", HOST, "--package", RUNNER, "--example", name]);
    executable(&run_cargo(&mut command, stop)?, name)
}

/// Runs an example of `dormir-hyperlight-host`, at most for `limit`.
///
/// # Errors
///
/// It cannot be started, took too long, or was stopped.
pub fn run_example(
    command: &mut Command,
    limit: Duration,
    stop: &StopToken,
) -> Result<Ran, ProcessError> {
    Ran::of(command, limit, stop)
}

/// Starts the command for a build of the host's workspace in one mode; the caller adds packages.
fn build(mode: SandboxMode, workspace: &Workspace) -> Command {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    toolchain::isolate(&mut command, &["CARGO_NET_OFFLINE", "RUSTUP_TOOLCHAIN"]);
    command
        .args(["build", "--locked", "--release", "--target-dir"])
        .arg(workspace.hyperlight_target(&mode.to_string()))
        .arg("--message-format=json-render-diagnostics")
        .current_dir(workspace.hyperlight_host());
    if mode == SandboxMode::Interrupts {
        command.args(["--features", "hw-interrupts"]);
    }
    command
}

/// A runner for sandboxes of one mode.
#[derive(Clone, Debug)]
pub struct SandboxRunner {
    program: PathBuf,
    mode: SandboxMode,
}

/// The result of a runner.
#[derive(Debug)]
pub struct Ran {
    /// Its exit status: success if the guest did what was asked.
    pub status: ExitStatus,
    /// Its output.
    pub output: String,
}

impl Ran {
    fn of(command: &mut Command, limit: Duration, stop: &StopToken) -> Result<Self, ProcessError> {
        let captured = process::capture(command, Keep::Both, Scope::Group, limit, stop)?;
        Ok(Self {
            status: captured.status,
            output: captured.output,
        })
    }
}

impl SandboxRunner {
    /// Builds the runner.
    ///
    /// # Errors
    ///
    /// The build failed, took too long, or was stopped.
    pub fn build(
        mode: SandboxMode,
        workspace: &Workspace,
        stop: &StopToken,
    ) -> Result<Self, BuildError> {
        let mut command = build(mode, workspace);
        command.args(["--package", RUNNER]);
        let program = executable(&run_cargo(&mut command, stop)?, RUNNER)?;
        Ok(Self { program, mode })
    }

    /// Makes the guest program `guest` do `what`: a test case, a measurement or `list`, for at most
    /// `limit`.
    ///
    /// # Errors
    ///
    /// The runner cannot be started, took too long, or was stopped.
    pub fn run(
        &self,
        guest: &Path,
        what: &str,
        limit: Duration,
        stop: &StopToken,
    ) -> Result<Ran, ProcessError> {
        Ran::of(&mut self.command(guest, what), limit, stop)
    }

    /// Runs a demo of the guest program `guest`, or calls one of its functions, as `what` selects,
    /// and waits for the end. The guest's output goes to `console` as it comes.
    ///
    /// The runner reports in records how the guest ended, with a nonce that the guest cannot know.
    ///
    /// # Errors
    ///
    /// The runner cannot be started, or could not run the guest.
    pub fn show(
        &self,
        guest: &Path,
        what: &str,
        limits: &ShowLimits<'_>,
        console: &mut (dyn Write + Send),
    ) -> Result<Outcome, RunError> {
        let nonce = vmm::new_nonce()?;
        let mut command = self.command(guest, what);
        command
            .env(NONCE, nonce.as_str())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let started = Instant::now();
        let mut child = Child::spawn(&mut command, Scope::Group).map_err(|cause| {
            let program = self.program.clone();
            RunError::RunnerStart { program, cause }
        })?;
        let leave = AtomicBool::new(false);
        let mut console = Console::new(console, limits.console_limit, &leave, Some(nonce));
        let of_run = Limits {
            ask: None,
            ask_to_end: None,
            deadline: &|| started.checked_add(limits.timeout),
            timeout: limits.timeout,
            stop: limits.stop,
        };
        let (end, messages) =
            vmm::attend(&mut child, &mut console, &of_run, &leave, |stderr, _| {
                Messages::read(stderr, || {})
            })?;
        let ended = match end {
            ChildEnd::Cut(outcome) => outcome,
            ChildEnd::Late(limit) => Outcome::TimedOut { limit, place: None },
            ChildEnd::ByItself | ChildEnd::GaveUp => {
                let status = child.reap().map_err(|cause| RunError::Resource {
                    what: "the exit status of Hyperlight's runner",
                    cause,
                })?;
                ended_with(status, console.reported_exit(), &messages)?
            }
        };
        let (outcome, _) = console.complete(ended);
        Ok(outcome)
    }

    /// The command with which [`run`](Self::run) does it.
    pub(crate) fn command(&self, guest: &Path, what: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(self.mode.to_string()).arg(guest).arg(what);
        command
    }
}

/// The limits of [`SandboxRunner::show`].
#[derive(Clone, Copy, Debug)]
pub struct ShowLimits<'a> {
    /// The time limit, the start included.
    pub timeout: Duration,
    /// The limit of the output, in bytes.
    pub console_limit: u64,
    /// Stops the guest from outside.
    pub stop: &'a StopToken,
}

/// Returns what the end of a runner means whose record reported `code`.
fn ended_with(
    status: ExitStatus,
    code: Option<i32>,
    messages: &Messages,
) -> Result<Outcome, RunError> {
    match (status.code(), code) {
        (Some(0), Some(code)) => Ok(Outcome::Exited(code)),
        (Some(NOT_RUN), None) => Err(RunError::Hyperlight {
            message: messages.summary().unwrap_or("it does not say why".into()),
        }),
        _ => Ok(Outcome::Died(format!(
            "Hyperlight's runner ended ({status}, {}) without a report on the guest: see whether \
             its message explains it",
            messages.last_words()
        ))),
    }
}

#[cfg(test)]
mod tests;
