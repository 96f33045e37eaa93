//! Hyperlight sandboxes: a guest and runners of their own, built and run as child processes.
//!
//! `hw-interrupts` is a compile-time feature of `hyperlight-host`, so there are two runners, each built in a
//! target folder of its own; neither is part of this workspace, whose features would unify with theirs.

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
    vmm::{self, Console, End, Limits, Messages, Outcome, RunError, kvm},
    workspace::Workspace,
};

/// The guest program.
const GUEST: &str = "hyperlight";

/// The program that runs it.
const RUNNER: &str = "dormir-hyperlight-runner";

/// The environment variable by which it is told its nonce, and the status with which it says that no guest ran to
/// its end.
const NONCE: &str = "DORMIR_NONCE";
const NOT_RUN: i32 = 125;

/// The package for hosts.
const HOST: &str = "dormir-hyperlight-host";

/// How a Hyperlight guest is compiled and linked: what `cargo hyperlight` passes, for a target without vector
/// registers.
const GUEST_FLAGS: &[&str] = &[
    "--cfg=hyperlight",
    "-Ccode-model=small",
    "-Clink-args=-eentrypoint",
    "-Clink-args=-znostart-stop-gc",
];

/// What a build of hyperlight-host gives sandboxes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// An idle guest asks the host to wait.
    HostWait,
    /// An idle guest halts from tick to tick: with `hw-interrupts`.
    Interrupts,
}

impl Mode {
    /// Both.
    pub const ALL: [Self; 2] = [Self::HostWait, Self::Interrupts];
}

/// As it is named on the command line and in the list of tests.
impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HostWait => "hyperlight",
            Self::Interrupts => "hyperlight-interrupts",
        })
    }
}

/// Reads what [`Display`](fmt::Display) writes.
impl FromStr for Mode {
    type Err = UnknownMode;

    fn from_str(name: &str) -> Result<Self, UnknownMode> {
        Self::ALL
            .into_iter()
            .find(|mode| mode.to_string() == name)
            .ok_or_else(|| UnknownMode(name.to_owned()))
    }
}

/// A name that is none of [`Mode::ALL`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no mode named `{0}`: use hyperlight or hyperlight-interrupts")]
pub struct UnknownMode(String);

/// Why there can be no sandboxes here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoSandboxes {
    /// There is no KVM.
    #[error(
        "a Hyperlight sandbox needs KVM, and there is no /dev/kvm: enable virtualisation in the firmware (on a \
         virtual machine: nested virtualisation), and load the module kvm_intel or kvm_amd"
    )]
    Missing,
    /// This user may not use it.
    #[error(
        "a Hyperlight sandbox needs KVM, and /dev/kvm may not be opened by this user: add the user to its group \
         (`sudo usermod -aG kvm $USER`, then log in again)"
    )]
    Denied,
    /// It cannot be used for another reason.
    #[error("a Hyperlight sandbox needs KVM: {0}")]
    Unusable(RunError),
}

impl From<RunError> for NoSandboxes {
    fn from(error: RunError) -> Self {
        match error {
            RunError::KvmMissing => Self::Missing,
            RunError::KvmDenied => Self::Denied,
            error => Self::Unusable(error),
        }
    }
}

/// Whether sandboxes can be made here, as far as that is KVM's to say.
///
/// # Errors
///
/// KVM is missing, or cannot be used.
pub fn probe() -> Result<(), NoSandboxes> {
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
        // In place of those of the configuration files, which are for guests that boot.
        .env("CARGO_ENCODED_RUSTFLAGS", GUEST_FLAGS.join("\x1f"))
        .args(["build", "--locked", "--release", "--target", TARGET])
        .arg("--target-dir")
        .arg(workspace.hyperlight_target("guest"))
        .args(["--message-format=json-render-diagnostics", kind, name])
        .current_dir(workspace.hyperlight_guest());
    executable(&run_cargo(&mut command, stop)?, name)
}

/// Builds the example `name` of `dormir-hyperlight-host`: a host from beginning to end.
///
/// # Errors
///
/// The build failed, took too long, or was stopped.
pub fn build_host_example(
    mode: Mode,
    workspace: &Workspace,
    name: &str,
    stop: &StopToken,
) -> Result<PathBuf, BuildError> {
    let mut command = build(mode, workspace);
    // With the runner's package, so that what both depend on has the same features and is there already.
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

/// A build of the host's workspace for one mode, to which packages are to be added.
fn build(mode: Mode, workspace: &Workspace) -> Command {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    toolchain::isolate(&mut command, &["CARGO_NET_OFFLINE", "RUSTUP_TOOLCHAIN"]);
    command
        .args(["build", "--locked", "--release", "--target-dir"])
        .arg(workspace.hyperlight_target(&mode.to_string()))
        .arg("--message-format=json-render-diagnostics")
        .current_dir(workspace.hyperlight_host());
    if mode == Mode::Interrupts {
        command.args(["--features", "hw-interrupts"]);
    }
    command
}

/// A runner for sandboxes of one mode.
#[derive(Clone, Debug)]
pub struct Runner {
    program: PathBuf,
    mode: Mode,
}

/// What a runner did.
#[derive(Debug)]
pub struct Ran {
    /// How it ended: with success if the guest did what it was asked for.
    pub status: ExitStatus,
    /// What it printed.
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

impl Runner {
    /// Builds the runner.
    ///
    /// # Errors
    ///
    /// The build failed, took too long, or was stopped.
    pub fn build(mode: Mode, workspace: &Workspace, stop: &StopToken) -> Result<Self, BuildError> {
        let mut command = build(mode, workspace);
        command.args(["--package", RUNNER]);
        let program = executable(&run_cargo(&mut command, stop)?, RUNNER)?;
        Ok(Self { program, mode })
    }

    /// Has the guest program `guest` do what `what` names, a test case, a measurement or `list`, at most for
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

    /// Runs a demo of the guest program `guest`, or calls one of its functions, as `what` names it, and waits for
    /// the end. What the guest prints goes to `console` as it comes.
    ///
    /// The runner says in records how the guest ended, with a nonce that the guest cannot know.
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
            started,
            timeout: limits.timeout,
            stop: limits.stop,
        };
        let (end, messages) =
            vmm::attend(&mut child, &mut console, &of_run, &leave, |stderr, _| {
                Messages::read(stderr, || {})
            })?;
        let ended = match end {
            End::Cut(outcome) => outcome,
            End::ByItself | End::GaveUp => {
                let status = child.reap().map_err(|cause| RunError::Resource {
                    what: "the exit status of Hyperlight's runner",
                    cause,
                })?;
                ended_with(status, console.exit_said(), &messages)?
            }
        };
        let (outcome, _) = console.conclude(ended);
        Ok(outcome)
    }

    fn command(&self, guest: &Path, what: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(self.mode.to_string()).arg(guest).arg(what);
        command
    }
}

/// What a guest that is shown may take.
#[derive(Clone, Copy, Debug)]
pub struct ShowLimits<'a> {
    /// How long it may take, its start included.
    pub timeout: Duration,
    /// How many bytes it may print.
    pub console_limit: u64,
    /// Ends it from outside.
    pub stop: &'a StopToken,
}

/// What the end of a runner means that was to say `code` in a record.
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
            "Hyperlight's runner ended ({status}, {}) and did not say how the guest did: see whether its \
             message explains it",
            messages.last_words()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_has_guests_built_as_this_does() {
        let documented = include_str!("../../docs/hyperlight.md");
        let flags = GUEST_FLAGS.iter().map(|flag| format!("    \"{flag}\",\n"));
        let flags = format!("rustflags = [\n{}]\n", flags.collect::<String>());
        assert!(
            documented.replace("\n   ", "\n").contains(&flags),
            "{flags}"
        );
    }

    #[test]
    fn a_runner_that_says_nothing_is_no_guests_end() {
        use std::os::unix::process::ExitStatusExt;
        let messages = Messages::read(Some(&b"\x1b[2Jno library\n"[..]), || {});
        for raw in (0..256).map(|code| code << 8).chain(1..65) {
            let status = ExitStatus::from_raw(raw);
            let sentence = match ended_with(status, None, &messages) {
                Ok(Outcome::Died(reason)) => reason,
                Ok(other) => panic!("{status}: {other:?}"),
                Err(error) => {
                    assert_eq!(status.code(), Some(NOT_RUN));
                    error.to_string()
                }
            };
            assert!(sentence.contains("\\u{1b}[2Jno library"), "{sentence}");
            let failed = ended_with(status, Some(0), &messages);
            assert_eq!(
                failed.is_ok_and(|outcome| outcome.is_success()),
                raw == 0,
                "{status}"
            );
        }
        for code in [0, 1, 111, 124, 256, -1, i32::MIN, i32::MAX] {
            let ended = ended_with(ExitStatus::from_raw(0), Some(code), &messages).unwrap();
            assert_eq!(ended, Outcome::Exited(code));
        }
    }

    #[test]
    fn a_mode_is_known_by_its_name() {
        for mode in Mode::ALL {
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
        let sentence = "kvm".parse::<Mode>().expect_err("no mode").to_string();
        assert!(sentence.contains("`kvm`"), "{sentence}");
    }

    /// There is no other way than KVM, so none is advised.
    #[test]
    fn without_kvm_no_other_vmm_is_advised() {
        for error in [RunError::KvmMissing, RunError::KvmDenied] {
            let sentence = NoSandboxes::from(error).to_string();
            assert!(
                sentence.contains("Hyperlight") && sentence.contains("/dev/kvm"),
                "{sentence}"
            );
            assert!(!sentence.contains("qemu"), "{sentence}");
        }
    }
}
