//! Runs guests under QEMU: `qemu-system-x86_64`, or the program that the environment variable
//! `DORMIR_QEMU` names.

mod argument_list;
mod command;
mod devices;
mod ending;
mod kernel;
mod lines;
mod messages;
mod monitor;
mod packets;
mod relay;
mod sandbox;
mod vsock;

use std::{
    cell::Cell,
    collections::BTreeMap,
    env,
    ffi::OsString,
    io::{ErrorKind, Write},
    net::Shutdown,
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::{ChildStderr, Command, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, Builder},
    time::{Duration, Instant},
};

use super::{
    Given,
    attend::{ChildEnd, Limits, UntilGone, attend, joined},
    backtrace,
    config::{Accelerator, MachineType, RunConfig},
    console::Console,
    device::{Device, OpenDevice},
    error::RunError,
    feed,
    image::{Image, ImageFile},
    input::GuestInput,
    kvm,
    limit::{Limit, REPORT_LIMIT, Unstarted},
    outcome::Outcome,
    report::{Report, Warning},
};
use crate::{
    escape::escape,
    process::{self, Child, Gate, Keep, ProcessError, Reach, Scope},
    stop::StopToken,
};
use command::Passed;
use ending::{confirmed_by_guest, ended_with, forbidden};
pub(crate) use messages::Messages;
pub(crate) use monitor::MonitorEvents;
pub(crate) use packets::fuzz_packets;
use relay::Relay;
use vsock::VsockServer;

/// The environment variable that names the program.
pub const PROGRAM_VARIABLE: &str = "DORMIR_QEMU";

/// The program that is searched for in `PATH` otherwise.
const DEFAULT_PROGRAM: &str = "qemu-system-x86_64";

/// The time limit of `--version`.
const VERSION_TIMEOUT: Duration = Duration::from_secs(20);

/// How large a file may be that QEMU writes beside disks, such as a log: also one in memory, with
/// the code that it has translated.
const FILE_BYTES: u64 = 2 << 30;

/// Returns the program to run: the one that the environment names, or the default.
fn program() -> OsString {
    match env::var_os(PROGRAM_VARIABLE) {
        Some(program) if !program.is_empty() => program,
        _ => DEFAULT_PROGRAM.into(),
    }
}

/// Returns whether the environment names a program.
pub(crate) fn one_is_named() -> bool {
    env::var_os(PROGRAM_VARIABLE).is_some_and(|program| !program.is_empty())
}

/// Makes the command that starts it, which is told of this process's environment what programs and
/// scripts need.
fn command_of(program: &OsString) -> Command {
    let told = ["PATH", "HOME", "LD_LIBRARY_PATH"];
    let told = told.map(|name| env::var_os(name).map(|value| (name, value)));
    let mut command = process::command(program);
    command.env_clear().envs(told.into_iter().flatten());
    command
}

/// Checks whether QEMU can be used, and returns its version, such as `7.2.22`. A usable program is
/// not asked again.
///
/// # Errors
///
/// It cannot; the error says why, and what to do about it.
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
    let mut command = command_of(program);
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

/// Makes the error for a program that could not be started.
fn not_started(program: String, cause: std::io::Error) -> RunError {
    match cause.kind() {
        ErrorKind::NotFound => RunError::QemuMissing { program },
        _ => RunError::QemuStart { program, cause },
    }
}

/// Runs a guest that was checked, and waits for it to end.
pub(super) fn run(
    image: &Image<ImageFile>,
    entry: u32,
    (accelerator, machine): (Accelerator, MachineType),
    given: Given,
    config: &RunConfig,
    limit: &Limit<'_>,
    out: &mut (dyn Write + Send),
) -> Result<Report, Unstarted> {
    if accelerator == Accelerator::Kvm {
        // For the same error messages as under our own VMM.
        kvm::probe()?;
    }
    // A different program of this name is reported here, and runs no guest.
    probe()?;
    let line = &given.line;
    let kernel = kernel::file(image, entry, limit)?;
    let started = Instant::now();
    let resource = |what| move |cause| RunError::Resource { what, cause };
    let (monitor, other_end) =
        UnixStream::pair().map_err(resource("a connection to QEMU's monitor"))?;
    let (relay, gdb) = config
        .gdb
        .clone()
        .map(Relay::new)
        .transpose()
        .map_err(resource("a socket for debuggers"))?
        .unzip();
    let (stdin, mut pipe) =
        feed::pipe(config.input.is_some()).map_err(resource("a pipe for its input"))?;
    // It ends after QEMU.
    let vsock = VsockServer::start_for(&given.devices, limit)?;
    let how = (accelerator, machine, vsock.as_ref());
    let (mut child, gate) = start(kernel, how, &given, other_end, gdb, stdin, config)?;
    let leave = AtomicBool::new(false);
    let mut console = Console::new(out, config.console_limit, &leave, line.nonce);
    let asked = Cell::new(None);
    let ask = || {
        asked.set(Some(Instant::now()));
        monitor::inject_nmi(&monitor);
        REPORT_LIMIT
    };
    let limits = Limits {
        timeout: config.timeout,
        stop: &config.stop,
        // A guest without records has no handler that reports anything.
        ask: line.nonce.is_some().then_some(&ask),
        ask_to_end: None,
        deadline: &|| match &relay {
            Some(relay) => relay.presence().deadline(config.timeout),
            None => limit.deadline(),
        },
    };
    // Everything is open that QEMU needs, and the guest does not run yet.
    let set_up = || {
        gate.close();
        if config.gdb.is_none() {
            monitor::start_guest(&monitor);
        }
    };
    let (end, messages, monitor_events) = thread::scope(|scope| {
        if let Some(relay) = &relay {
            let debuggers = Builder::new().name("debuggers".into());
            let started = debuggers.spawn_scoped(scope, || relay.run(&leave));
            started.map_err(resource("a thread that serves debuggers"))?;
        }
        monitor::begin(&monitor);
        let of_monitor = Builder::new()
            .name("monitor".into())
            .spawn_scoped(scope, || MonitorEvents::read(&monitor, set_up))
            .map_err(|cause| {
                leave.store(true, Ordering::SeqCst);
                resource("a thread that reads QEMU's monitor")(cause)
            })?;
        // The pipe stays open until QEMU has ended: without it QEMU would take its output for
        // ready, and drop what does not fit.
        let send = |bytes: &[u8]| feed::send(pipe.as_mut(), bytes);
        let (input, is_open) = (config.input.as_ref(), console.input_is_open());
        let is_escaped = line.nonce.is_some() && !config.has_virtio_console();
        is_open.fetch_or(config.has_virtio_console(), Ordering::SeqCst);
        let attended = GuestInput::feeding(input, is_escaped, &is_open, send, || {
            let listen = |stderr: Option<UntilGone<'_, ChildStderr>>, gave_up: &dyn Fn()| {
                Messages::read(stderr, gave_up)
            };
            attend(&mut child, &mut console, &limits, &leave, listen)
        });
        leave.store(true, Ordering::SeqCst);
        if attended.is_err() {
            child.kill();
        }
        // The monitor's reader waits for its end, and QEMU may have passed its own on. What QEMU
        // has said is still read.
        let _ = monitor.shutdown(Shutdown::Both);
        let monitor_events = joined(of_monitor);
        attended.map(|(end, messages)| (end, messages, monitor_events))
    })?;
    let wall = started.elapsed();
    let sockets_ended = vsock.as_ref().and_then(VsockServer::warning);
    let ended = match (gate.forbidden(), end.strict()) {
        // However it ended: it may have been cut at the same moment.
        (Some(call), _) => Outcome::Died(forbidden(&format!("the system call `{call}`"))),
        (None, ChildEnd::GaveUp) => messages.gave_up(),
        (None, ChildEnd::Cut(Outcome::TimedOut { limit, .. })) if !monitor_events.started => {
            Outcome::TimedOut {
                limit,
                place: Some(format!(
                    "and QEMU had not started it ({})",
                    messages.last_words()
                )),
            }
        }
        (None, ChildEnd::Cut(outcome)) => outcome,
        (None, ChildEnd::Late(limit)) => Outcome::TimedOut { limit, place: None },
        (None, ChildEnd::ByItself) if relay.is_some() && messages.names_debugger() => {
            Outcome::Stopped
        }
        (None, ChildEnd::ByItself) => {
            if !monitor_events.started {
                // Another program may have taken a port after it was checked.
                let mut networks = given.devices.iter().filter_map(|device| device.network());
                networks.try_for_each(|network| network.check_ports())?;
            }
            let status = child.reap().map_err(resource("QEMU's exit status"))?;
            ended_with(status, &messages, &monitor_events)?
        }
    };
    if let Some(asked) = asked.get() {
        console.set_asked(asked);
    }
    let (mut outcome, records) = console.complete(ended);
    if line.nonce.is_some() {
        outcome = confirmed_by_guest(outcome, &records, &messages);
    }
    let backtrace = backtrace::explain(&mut outcome, &records.trace, records.hang, image);
    let stalls = backtrace::explain_stalls(records.stalls, image);
    let unconfined = (!gate.is_installed()).then_some(Warning::Unconfined);
    Ok(Report {
        outcome,
        panic: records.panic,
        stats: records.stats,
        samples: records.samples,
        data: records.data,
        data_dropped: records.data_dropped,
        times: records.times,
        wall,
        counters: None,
        stretches: Vec::new(),
        backtrace,
        stalls,
        warnings: unconfined.into_iter().chain(sockets_ended).collect(),
    })
}

/// Starts QEMU behind a gate, as the leader of its own process group, so that Ctrl-C in the
/// terminal reaches only this process, which then ends QEMU.
fn start(
    kernel: OwnedFd,
    (accelerator, machine, vsock): (Accelerator, MachineType, Option<&VsockServer>),
    given: &Given,
    monitor: UnixStream,
    gdb: Option<OwnedFd>,
    stdin: Stdio,
    config: &RunConfig,
) -> Result<(Child, Gate), RunError> {
    let program = program();
    let mut command = command_of(&program);
    let passed = Passed {
        kernel: process::pass(&mut command, kernel),
        monitor: process::pass(&mut command, monitor.into()),
        gdb: gdb.map(|socket| process::pass(&mut command, socket)),
        devices: devices::pass(&mut command, &given.devices, vsock)?,
        output: command::moves_output(config)
            .then(|| process::move_stdout(&mut command))
            .transpose()
            .map_err(|cause| RunError::Resource {
                what: "an empty output",
                cause,
            })?,
    };
    // It may write to its disks, and to the guest's memory if that is a file.
    let sizes = given.devices.iter().filter_map(OpenDevice::disk_bytes);
    let memory = u64::from(config.memory_mib) << 20;
    let largest = sizes.fold(FILE_BYTES.max(memory), u64::max);
    process::limit_files(&mut command, largest);
    command
        .args(command::arguments(
            accelerator,
            machine,
            &given.line.text,
            &passed,
            config,
        ))
        .args(sandbox::arguments(&program))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let reach = match config.devices.iter().any(Device::reaches_out) {
        true => Reach::Network,
        false => Reach::Nothing,
    };
    Child::spawn_gated(&mut command, stdin, reach)
        .map_err(|cause| not_started(program.to_string_lossy().into_owned(), cause))
}
