//! Guests under QEMU: `qemu-system-x86_64`, or the program that the environment variable
//! `DORMIR_QEMU` names.

mod command;
mod messages;

use std::{
    ffi::OsString,
    io::{ErrorKind, Read, Write},
    path::Path,
    process::{Command, ExitStatus, Stdio},
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread::{Builder, ScopedJoinHandle, scope, sleep},
    time::{Duration, Instant},
};

use dormir_abi::exit;

use super::{Accelerator, Machine, Outcome, Report, RunConfig, RunError, console::Console, kvm};
use crate::{
    process::{self, Child, Keep, ProcessError, Scope},
    stop::StopToken,
};
use messages::Messages;
use rustix::process::Signal;

/// The environment variable that names the program.
pub const PROGRAM_VARIABLE: &str = "DORMIR_QEMU";

/// The program that is looked for in `PATH` otherwise.
const DEFAULT_PROGRAM: &str = "qemu-system-x86_64";

/// How often the stop token and the process are looked at.
const STOP_INTERVAL: Duration = Duration::from_millis(20);

/// How often a process is looked at whose console has ended, so that it should end too.
const END_INTERVAL: Duration = Duration::from_millis(1);

/// How long `--version` may take.
const VERSION_TIMEOUT: Duration = Duration::from_secs(20);

/// How much of the console is read at once.
const CHUNK: usize = 16 << 10;

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

/// Finds out whether QEMU can be used, and gives its version, such as `7.2.22`.
///
/// # Errors
///
/// Why not, and what to do about it.
pub fn probe() -> Result<String, RunError> {
    let program = program();
    let name = || program.to_string_lossy().into_owned();
    let unusable = |problem| RunError::QemuUnusable {
        program: name(),
        problem,
    };
    let mut command = Command::new(&program);
    command.arg("--version");
    let never = StopToken::default();
    let scope = Scope::Group;
    match process::capture(&mut command, Keep::Stdout, scope, VERSION_TIMEOUT, &never) {
        Ok(answer) if answer.status.success() => messages::version(&answer.output)
            .ok_or_else(|| unusable("does not name a version of QEMU".into())),
        Ok(answer) => Err(unusable(format!("failed with {}", answer.status))),
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

/// What the threads that read QEMU's output have to say.
enum Event {
    /// The console has ended: with QEMU's end, or because the run must end so.
    ConsoleEnded(Result<(), Outcome>),
    /// QEMU has dumped its vCPU on standard error, as it does when KVM gives it up. It then stops
    /// the guest and waits, for ever.
    GaveUp,
}

/// How a run of QEMU ended.
enum End {
    ByItself,
    /// KVM gave up the vCPU.
    GaveUp,
    /// The run had to end so.
    Cut(Outcome),
}

/// Runs a guest that was checked, and waits for its end.
pub(super) fn run(
    elf: &Path,
    accelerator: Accelerator,
    machine: Machine,
    config: &RunConfig,
    out: &mut (dyn Write + Send),
) -> Result<Report, RunError> {
    if accelerator == Accelerator::Kvm {
        // For the same sentences as under our own VMM.
        kvm::probe()?;
    }
    if one_is_named() {
        // Another program's status would be taken for a guest's.
        probe()?;
    }
    let started = Instant::now();
    let deadline = started.checked_add(config.timeout);
    let mut child = start(elf, accelerator, machine, config)?;
    let leave = AtomicBool::new(false);
    let mut console = Console::new(out, config.console_limit, &leave);
    let (end, messages) = attend(&mut child, &mut console, deadline, config, &leave)?;
    let wall = started.elapsed();
    let ended = match end {
        End::GaveUp => messages.gave_up(),
        End::Cut(outcome) => outcome,
        End::ByItself => {
            let status = child.reap().map_err(|cause| RunError::Resource {
                what: "QEMU's exit status",
                cause,
            })?;
            ended_with(status, &messages, console.is_unused())?
        }
    };
    let (outcome, said) = console.conclude(ended);
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
    config: &RunConfig,
) -> Result<Child, RunError> {
    let program = program();
    let mut command = Command::new(&program);
    command
        .args(command::arguments(elf, accelerator, machine, config))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    process::die_with_this_thread(&mut command);
    Child::spawn(&mut command, Scope::Group)
        .map_err(|cause| not_started(program.to_string_lossy().into_owned(), cause))
}

/// Reads QEMU's output until QEMU ends or must end. Then none of its processes runs any more, and
/// both readers have ended.
fn attend(
    child: &mut Child,
    console: &mut Console<'_>,
    deadline: Option<Instant>,
    config: &RunConfig,
    leave: &AtomicBool,
) -> Result<(End, Messages), RunError> {
    let (stdout, stderr) = (child.take_stdout(), child.take_stderr());
    let failed = |cause| RunError::Resource {
        what: "a thread to read QEMU's output",
        cause,
    };
    scope(|scope| {
        let (sender, receiver) = channel();
        let of_stderr = sender.clone();
        let of_console = Builder::new()
            .name("qemu-stdout".into())
            .spawn_scoped(scope, move || forward(stdout, console, &sender))
            .map_err(failed)?;
        let of_messages = Builder::new()
            .name("qemu-stderr".into())
            .spawn_scoped(scope, move || {
                Messages::read(stderr, || drop(of_stderr.send(Event::GaveUp)))
            })
            .map_err(|cause| {
                // The scope waits for the first reader, which waits for QEMU.
                child.kill();
                failed(cause)
            })?;
        let end = watch(child, &receiver, deadline, config);
        leave.store(true, Ordering::SeqCst);
        if !matches!(end, End::ByItself) {
            child.kill();
        }
        // They end now, for nobody holds QEMU's pipes any more. Joined, so that not even a thread
        // that is about to end is left.
        joined(of_console);
        Ok((end, joined(of_messages)))
    })
}

/// What a thread gives at its end; its panic is passed on.
fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Passes the guest's output on until it ends or must end.
fn forward(stdout: Option<impl Read>, console: &mut Console<'_>, sender: &Sender<Event>) {
    let mut chunk = vec![0; CHUNK];
    let mut result = Ok(());
    if let Some(mut stdout) = stdout {
        while result.is_ok() {
            result = match stdout.read(&mut chunk) {
                Ok(0) => break,
                Ok(length) => console.write(&chunk[..length]),
                Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
                // The pipe is broken in an unknown way: as good as ended.
                Err(_) => break,
            };
        }
    }
    // Whoever would hear it may have seen the deadline first.
    let _ = sender.send(Event::ConsoleEnded(result));
}

/// Waits for QEMU's end and for that of its console, or until the run must end.
fn watch(
    child: &mut Child,
    receiver: &Receiver<Event>,
    deadline: Option<Instant>,
    config: &RunConfig,
) -> End {
    let (mut child_ended, mut console_ended) = (false, false);
    loop {
        if config.stop.is_stopped() {
            return End::Cut(Outcome::Stopped);
        }
        let left = deadline.map_or(STOP_INTERVAL, |at| {
            at.saturating_duration_since(Instant::now())
        });
        if left.is_zero() {
            return End::Cut(Outcome::TimedOut {
                limit: config.timeout,
                place: None,
            });
        }
        // An error means that it is not ours to wait for, which cannot be.
        if !child_ended && child.has_ended().unwrap_or(true) {
            child_ended = true;
            // The program may be a script, and what it started may hold the console open.
            child.signal(Signal::KILL);
        }
        if child_ended && console_ended {
            return End::ByItself;
        }
        let interval = if console_ended {
            END_INTERVAL
        } else {
            STOP_INTERVAL
        };
        match receiver.recv_timeout(left.min(interval)) {
            Ok(Event::ConsoleEnded(Ok(()))) => console_ended = true,
            Ok(Event::ConsoleEnded(Err(outcome))) => return End::Cut(outcome),
            Ok(Event::GaveUp) => return End::GaveUp,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) if console_ended => sleep(END_INTERVAL),
            // A reader panicked without a word; its panic is passed on when it is joined.
            Err(RecvTimeoutError::Disconnected) => return End::GaveUp,
        }
    }
}

/// What QEMU's exit status means.
fn ended_with(
    status: ExitStatus,
    messages: &Messages,
    console_unused: bool,
) -> Result<Outcome, RunError> {
    let summary = messages.summary();
    let Some(code) = status.code() else {
        return Ok(Outcome::Died(format!(
            "QEMU was ended ({status}): see whether the system ran out of memory, or who killed it"
        )));
    };
    if let Some(code) = exit::from_qemu_status(code) {
        return Ok(Outcome::Exited(code));
    }
    Ok(match code {
        0 if messages.names_signal() => {
            Outcome::Died(format!("QEMU was asked to end from outside ({summary})"))
        }
        // Under -no-reboot every reset ends QEMU so, and a triple fault is one.
        0 => Outcome::TripleFault { registers: None },
        1 if summary.is_empty() => Outcome::Died(
            "it wrote 0 to the exit port, which stands for no exit code: send a code as \
             dormir_abi::exit::to_port_value gives it"
                .into(),
        ),
        1 if console_unused => return Err(RunError::QemuRefused { message: summary }),
        _ => Outcome::Died(format!(
            "QEMU ended with status {code}, which stands for no exit code ({}): see whether its \
             message explains it",
            if summary.is_empty() {
                "without a message"
            } else {
                &summary
            }
        )),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    fn ended(status: i32, stderr: &str) -> Result<Outcome, RunError> {
        let messages = Messages::read(Some(stderr.as_bytes()), || {});
        ended_with(ExitStatus::from_raw(status), &messages, true)
    }

    fn exited(code: i32, stderr: &str) -> Result<Outcome, RunError> {
        ended(code << 8, stderr)
    }

    #[test]
    fn only_thirty_three_is_a_success() {
        for code in 0..256 {
            let success = exited(code, "").is_ok_and(|outcome| outcome.is_success());
            assert_eq!(success, code == 33, "status {code}");
        }
    }

    #[test]
    fn each_other_end_is_what_it_is() {
        assert_eq!(exited(35, "").unwrap(), Outcome::Exited(1));
        let fault = Outcome::TripleFault { registers: None };
        assert_eq!(exited(0, "").unwrap(), fault);
        let ended_from_outside = exited(0, "qemu: terminating on signal 15 from pid 1\n");
        assert!(matches!(ended_from_outside, Ok(Outcome::Died(_))));
        assert!(matches!(exited(1, ""), Ok(Outcome::Died(_))));
        assert!(matches!(ended(9, ""), Ok(Outcome::Died(_))));
        let refused = exited(1, "qemu: -m 1: bad\n").unwrap_err().to_string();
        assert!(refused.contains("-m 1: bad"), "{refused}");
    }
}
