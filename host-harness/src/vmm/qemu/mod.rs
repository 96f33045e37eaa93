//! Guests under QEMU: `qemu-system-x86_64`, or the program that the environment variable
//! `DORMIR_QEMU` names.

mod command;
mod kernel;
mod messages;
mod monitor;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io::{ErrorKind, Write},
    os::unix::net::UnixStream,
    path::Path,
    process::{Command, ExitStatus, Stdio},
    sync::{Mutex, PoisonError, atomic::AtomicBool},
    time::{Duration, Instant},
};

use dormir_abi::exit;

use super::{
    Accelerator, End, Limits, Machine, Outcome, Report, RunConfig, RunError, Word, attend,
    console::{Console, Said},
    image::{Image, ImageFile},
    kvm,
    limit::{Limit, Unstarted},
};
use crate::{
    escape::escape,
    process::{self, Child, Keep, ProcessError, Scope},
    stop::StopToken,
};
use kernel::Kernel;
pub(crate) use messages::Messages;
pub(crate) use monitor::Heard;
use monitor::Shutdown;

/// The environment variable that names the program.
pub const PROGRAM_VARIABLE: &str = "DORMIR_QEMU";

/// The program that is looked for in `PATH` otherwise.
const DEFAULT_PROGRAM: &str = "qemu-system-x86_64";

/// How long `--version` may take.
const VERSION_TIMEOUT: Duration = Duration::from_secs(20);

/// The program to run, as the environment names it.
fn program() -> OsString {
    match std::env::var_os(PROGRAM_VARIABLE) {
        Some(program) if !program.is_empty() => program,
        _ => DEFAULT_PROGRAM.into(),
    }
}

/// Whether the environment names a program.
pub(crate) fn one_is_named() -> bool {
    std::env::var_os(PROGRAM_VARIABLE).is_some_and(|program| !program.is_empty())
}

/// Finds out whether QEMU can be used, and gives its version, such as `7.2.22`. A program that could be is not
/// asked again.
///
/// # Errors
///
/// Why not, and what to do about it.
pub fn probe() -> Result<String, RunError> {
    static USABLE: Mutex<BTreeMap<OsString, String>> = Mutex::new(BTreeMap::new());
    let program = program();
    let known = || USABLE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(version) = known().get(&program) {
        return Ok(version.clone());
    }
    let version = ask_version(&program)?;
    known().insert(program, version.clone());
    Ok(version)
}

fn ask_version(program: &OsString) -> Result<String, RunError> {
    let name = || program.to_string_lossy().into_owned();
    let unusable = |problem| RunError::QemuUnusable {
        program: name(),
        problem,
    };
    let mut command = Command::new(program);
    command.arg("--version");
    let never = StopToken::default();
    let scope = Scope::Group;
    match process::capture(&mut command, Keep::Both, scope, VERSION_TIMEOUT, &never) {
        Ok(answer) if answer.status.success() => messages::version(&answer.output)
            .ok_or_else(|| unusable("does not name a version of QEMU".into())),
        Ok(answer) => {
            let last = answer
                .output
                .lines()
                .last()
                .unwrap_or("it does not say why");
            let problem = format!("failed ({}, {})", answer.status, escape(last));
            Err(unusable(problem))
        }
        Err(ProcessError::Start { source, .. }) => Err(not_started(name(), source)),
        Err(ProcessError::TimedOut { limit, .. }) => {
            Err(unusable(format!("took more than {limit:?}")))
        }
        Err(error) => Err(unusable(format!("cannot be watched ({error})"))),
    }
}

/// Why the program could not be started.
fn not_started(program: String, cause: std::io::Error) -> RunError {
    match cause.kind() {
        ErrorKind::NotFound => RunError::QemuMissing { program },
        _ => RunError::QemuStart { program, cause },
    }
}

/// Runs a guest that was checked, and waits for its end.
pub(super) fn run(
    image: &Image<ImageFile>,
    entry: u32,
    (accelerator, machine): (Accelerator, Machine),
    word: &Word,
    config: &RunConfig,
    limit: &Limit<'_>,
    out: &mut (dyn Write + Send),
) -> Result<Report, Unstarted> {
    if accelerator == Accelerator::Kvm {
        // For the same sentences as under our own VMM.
        kvm::probe()?;
    }
    // Whatever else goes by its name is named here, and runs no guest.
    probe()?;
    let kernel = Kernel::new(image, entry, limit)?;
    let started = Instant::now();
    let resource = |what| move |cause| RunError::Resource { what, cause };
    let (monitor, other_end) =
        monitor::open().map_err(resource("a connection to QEMU's monitor"))?;
    let mut child = start(kernel.path(), accelerator, machine, word, other_end, config)?;
    let leave = AtomicBool::new(false);
    let mut console = Console::new(out, config.console_limit, &leave, word.nonce);
    let limits = Limits {
        started: limit.started(),
        timeout: config.timeout,
        stop: &config.stop,
    };
    let (end, (messages, heard)) = attend(
        &mut child,
        &mut console,
        &limits,
        &leave,
        |stderr, gave_up| {
            // What the monitor says meanwhile waits in its socket: it is a few lines.
            (Messages::read(stderr, gave_up), Heard::read(monitor))
        },
    )?;
    let wall = started.elapsed();
    let ended = match end {
        End::GaveUp => messages.gave_up(),
        End::Cut(Outcome::TimedOut { limit, .. }) if !heard.started => Outcome::TimedOut {
            limit,
            place: Some(format!(
                "and QEMU had not started it ({})",
                messages.last_words()
            )),
        },
        End::Cut(outcome) => outcome,
        End::ByItself => {
            let status = child.reap().map_err(resource("QEMU's exit status"))?;
            ended_with(status, &messages, &heard)?
        }
    };
    let (mut outcome, said) = console.conclude(ended);
    if word.nonce.is_some() {
        outcome = said_by_guest(outcome, &said, &messages);
    }
    Ok(Report {
        outcome,
        stats: said.stats,
        samples: said.samples,
        times: said.times,
        wall,
        counters: None,
        stretches: Vec::new(),
    })
}

/// Starts QEMU. It leads a process group of its own, so that a Ctrl-C in the terminal reaches this
/// process alone, which then ends it.
fn start(
    elf: &Path,
    accelerator: Accelerator,
    machine: Machine,
    word: &Word,
    monitor: UnixStream,
    config: &RunConfig,
) -> Result<Child, RunError> {
    let program = program();
    let mut command = Command::new(&program);
    let monitor_number = process::pass(&mut command, monitor.into());
    let line = &word.command_line;
    command
        .args(command::arguments(
            elf,
            accelerator,
            machine,
            line,
            monitor_number,
            config,
        ))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Child::spawn(&mut command, Scope::Group)
        .map_err(|cause| not_started(program.to_string_lossy().into_owned(), cause))
}

/// What QEMU's exit status means.
fn ended_with(status: ExitStatus, messages: &Messages, heard: &Heard) -> Result<Outcome, RunError> {
    let last_words = messages.last_words();
    if !heard.started {
        let message = format!("{status}, {last_words}");
        return Err(RunError::QemuRefused { message });
    }
    let Some(code) = status.code() else {
        return Ok(Outcome::Died(format!(
            "QEMU was ended ({status}, {last_words}): see whether the system ran out of memory, or who \
             killed it"
        )));
    };
    if let Some(code) = exit::from_qemu_status(code) {
        return Ok(Outcome::Exited(code.into()));
    }
    Ok(match (code, heard.shutdown) {
        (0, Some(Shutdown::Reset)) => Outcome::TripleFault { registers: None },
        (0, Some(Shutdown::PowerOff)) => Outcome::PoweredOff,
        (0, Some(Shutdown::Other)) => Outcome::Died(format!(
            "QEMU was asked to end from outside ({last_words}): see who did"
        )),
        (1, _) if messages.summary().is_none() => Outcome::Died(
            "it wrote 0 to the exit port, which stands for no exit code: send a code as \
             dormir_abi::exit::to_port_value gives it"
                .into(),
        ),
        _ => Outcome::Died(format!(
            "QEMU ended with status {code}, which stands for no exit code ({last_words}): see whether \
             its message explains it"
        )),
    })
}

/// What remains of an exit code that only QEMU's status says: it counts if the guest said so too, for QEMU may
/// have ended so by itself.
fn said_by_guest(outcome: Outcome, said: &Said, messages: &Messages) -> Outcome {
    let Outcome::Exited(code) = outcome else {
        return outcome;
    };
    match said.exit {
        Some(said) if said == code => outcome,
        _ => Outcome::Died(format!(
            "QEMU ended with the status of exit code {code}, and the guest did not say that it ends so \
             ({}): have it end by dormir_guest::exit, and see whether this QEMU works",
            messages.last_words()
        )),
    }
}

#[cfg(test)]
mod tests;
