//! Guests under QEMU: `qemu-system-x86_64`, or the program that the environment variable
//! `DORMIR_QEMU` names.

mod child;
mod command;
mod messages;

use std::{
    ffi::OsString,
    io::{Read, Write},
    path::Path,
    process::{Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread::{Builder, scope},
    time::{Duration, Instant},
};

use dormir_abi::exit;

use super::{Accelerator, Machine, Outcome, Report, RunConfig, RunError, console::Console, kvm};
use child::Child;
use messages::Messages;

/// The environment variable that names the program.
pub const PROGRAM_VARIABLE: &str = "DORMIR_QEMU";

/// The program that is looked for in `PATH` otherwise.
const DEFAULT_PROGRAM: &str = "qemu-system-x86_64";

/// How often the stop token is looked at.
const STOP_INTERVAL: Duration = Duration::from_millis(20);

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

/// Finds out whether QEMU can be used, and gives its version, such as `7.2.22`.
///
/// # Errors
///
/// Why not, and what to do about it.
pub fn probe() -> Result<String, RunError> {
    let program = program();
    let mut command = Command::new(&program);
    command
        .arg("--version")
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = Child::spawn(command)?;
    let unusable = |problem: String| RunError::QemuUnusable {
        program: program.to_string_lossy().into_owned(),
        problem,
    };
    let Some(stdout) = child.take_stdout() else {
        return Err(unusable("gives no output".into()));
    };
    // What it prints fits into the pipe, so that it can be read after its end.
    let deadline = Instant::now() + VERSION_TIMEOUT;
    match child.wait_until(Some(deadline)) {
        Some(status) if status.success() => {}
        Some(status) => return Err(unusable(format!("failed with {status}"))),
        None => return Err(unusable(format!("took more than {VERSION_TIMEOUT:?}"))),
    }
    let mut output = Vec::new();
    stdout
        .take(1 << 16)
        .read_to_end(&mut output)
        .map_err(|error| unusable(format!("cannot be read ({error})")))?;
    messages::version(&String::from_utf8_lossy(&output))
        .ok_or_else(|| unusable("does not name a version of QEMU".into()))
}

/// What the threads that read QEMU's output have to say.
enum Event {
    /// The console has ended: with QEMU's end, or because the run must end so.
    ConsoleEnded(Result<(), Outcome>),
    /// QEMU has dumped its vCPU on standard error, as it does when KVM gives it up. It then stops
    /// the guest and waits, for ever.
    GaveUp,
}

/// How QEMU's process ended.
enum End {
    ByItself(ExitStatus),
    /// Killed, because KVM gave up the vCPU.
    GaveUp,
    /// Killed, because the run had to end so.
    Killed(Outcome),
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
    let started = Instant::now();
    let deadline = started.checked_add(config.timeout);
    let mut command = Command::new(program());
    command
        .args(command::arguments(elf, accelerator, machine, config))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = Child::spawn(command)?;
    let mut console = Console::new(out, config.console_limit);
    let (stdout, stderr) = (child.take_stdout(), child.take_stderr());
    let (end, messages) = scope(|scope| {
        let (sender, receiver) = channel();
        let of_stderr = sender.clone();
        let console = &mut console;
        let readers = Builder::new()
            .name("qemu-stdout".into())
            .spawn_scoped(scope, move || forward(stdout, console, &sender))
            .and_then(|_| {
                Builder::new()
                    .name("qemu-stderr".into())
                    .spawn_scoped(scope, move || {
                        Messages::read(stderr, || drop(of_stderr.send(Event::GaveUp)))
                    })
            });
        let reader = readers.map_err(|cause| {
            // The scope waits for the first reader, which waits for QEMU.
            child.kill();
            RunError::Resource {
                what: "a thread to read QEMU's output",
                cause,
            }
        })?;
        let end = watch(&mut child, &receiver, deadline, config);
        // Both readers end now that the process has, for nobody else holds its pipes.
        let messages = reader
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok((end, messages))
    })?;
    let wall = started.elapsed();
    let ended = match end {
        End::GaveUp => messages.gave_up(),
        End::Killed(outcome) => outcome,
        End::ByItself(status) => ended_with(status, &messages, console.is_unused())?,
    };
    let (outcome, stats) = console.conclude(ended);
    Ok(Report {
        outcome,
        stats,
        wall,
        counters: None,
    })
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
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => Ok(()),
                // The pipe is broken in an unknown way: as good as ended.
                Err(_) => break,
            };
        }
    }
    // Whoever would hear it may have seen the deadline first.
    let _ = sender.send(Event::ConsoleEnded(result));
}

/// Waits for QEMU's end, or ends it. The process is reaped when this returns.
fn watch(
    child: &mut Child,
    receiver: &Receiver<Event>,
    deadline: Option<Instant>,
    config: &RunConfig,
) -> End {
    let out_of_time = || Outcome::TimedOut {
        limit: config.timeout,
        place: None,
    };
    let end = loop {
        if config.stop.is_stopped() {
            break End::Killed(Outcome::Stopped);
        }
        let left = deadline.map_or(STOP_INTERVAL, |at| {
            at.saturating_duration_since(Instant::now())
        });
        if left.is_zero() {
            break End::Killed(out_of_time());
        }
        match receiver.recv_timeout(left.min(STOP_INTERVAL)) {
            Ok(Event::ConsoleEnded(Ok(()))) => match child.wait_until(deadline) {
                Some(status) => return End::ByItself(status),
                None => break End::Killed(out_of_time()),
            },
            Ok(Event::ConsoleEnded(Err(outcome))) => break End::Killed(outcome),
            Ok(Event::GaveUp) => break End::GaveUp,
            Err(RecvTimeoutError::Timeout) => {}
            // A reader panicked without a word; its panic is passed on when it is joined.
            Err(RecvTimeoutError::Disconnected) => break End::GaveUp,
        }
    };
    child.kill();
    end
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
