//! Guests under QEMU: `qemu-system-x86_64`, or the program that the environment variable
//! `DORMIR_QEMU` names.

mod command;
mod messages;
mod monitor;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io::{ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    process::{Command, ExitStatus, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread::{Builder, ScopedJoinHandle, scope, sleep},
    time::{Duration, Instant},
};

use dormir_abi::exit;

use super::{
    Accelerator, Machine, Outcome, Report, RunConfig, RunError, Word,
    console::{Console, Said},
    kvm,
};
use crate::{
    escape::escape,
    process::{self, Child, Keep, ProcessError, Scope},
    stop::StopToken,
};
use messages::Messages;
use monitor::{Heard, Shutdown};

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
    word: &Word,
    config: &RunConfig,
    out: &mut (dyn Write + Send),
) -> Result<Report, RunError> {
    if accelerator == Accelerator::Kvm {
        // For the same sentences as under our own VMM.
        kvm::probe()?;
    }
    // Whatever else goes by its name is named here, and runs no guest.
    probe()?;
    let started = Instant::now();
    let deadline = started.checked_add(config.timeout);
    let resource = |what| move |cause| RunError::Resource { what, cause };
    let (monitor, other_end) =
        monitor::open().map_err(resource("a connection to QEMU's monitor"))?;
    let mut child = start(elf, accelerator, machine, word, other_end, config)?;
    let leave = AtomicBool::new(false);
    let mut console = Console::new(out, config.console_limit, &leave, word.nonce);
    let (end, messages, heard) =
        attend(&mut child, monitor, &mut console, deadline, config, &leave)?;
    let wall = started.elapsed();
    let ended = match end {
        End::GaveUp => messages.gave_up(),
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
    let monitor_number = process::pass(&mut command, &monitor);
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

/// Reads QEMU's output until QEMU ends or must end. Then none of its processes runs any more, and
/// all readers have ended.
fn attend(
    child: &mut Child,
    monitor: UnixStream,
    console: &mut Console<'_>,
    deadline: Option<Instant>,
    config: &RunConfig,
    leave: &AtomicBool,
) -> Result<(End, Messages, Heard), RunError> {
    let (stdout, stderr) = (child.take_stdout(), child.take_stderr());
    let failed = |cause| RunError::Resource {
        what: "a thread to read QEMU's output",
        cause,
    };
    scope(|scope| {
        let (sender, receiver) = channel();
        let of_stderr = sender.clone();
        let reader = |name: &str| Builder::new().name(name.into());
        let of_console = reader("qemu-stdout")
            .spawn_scoped(scope, move || forward(stdout, console, &sender))
            .map_err(failed)?;
        let others = reader("qemu-stderr")
            .spawn_scoped(scope, move || {
                Messages::read(stderr, || drop(of_stderr.send(Event::GaveUp)))
            })
            .and_then(|of_messages| {
                let of_monitor = reader("qemu-monitor");
                let of_monitor = of_monitor.spawn_scoped(scope, move || Heard::read(monitor))?;
                Ok((of_messages, of_monitor))
            });
        let (of_messages, of_monitor) = others.map_err(|cause| {
            // The scope waits for the first readers, which wait for QEMU.
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
        Ok((end, joined(of_messages), joined(of_monitor)))
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
            // With all that it started, so that nobody holds the console open.
            child_ended = true;
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
