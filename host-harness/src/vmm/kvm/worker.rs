//! The process of a VM: makes the machine that it is ordered to make, gives up all rights that this
//! machine does not need, and runs the guest.
//!
//! It is the program of its user, started once more: a constructor, which runs before the program's
//! `main`, finds in the environment that it is to be a worker, and never returns. So it needs no
//! file of its own, and has the version of who started it.

mod confine;

use std::{
    env,
    ffi::CStr,
    fs::File,
    io::{self, BufRead, BufReader, Read},
    net::TcpListener,
    os::{
        fd::{FromRawFd, IntoRawFd, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
    panic::catch_unwind,
    sync::Arc,
};

use kvm_ioctls::Kvm;
use rustix::thread::set_name;

use super::{
    boot,
    exits::RunLoopEnd,
    machine::{Machine, Plan},
    message::{DeviceOrder, Ended, GO, GO_WITHOUT_GATE, Message, Order, RunEnd, Teller},
    outlet::{Outlet, StandardOutput},
    requests::Requests,
    thread::{self, Orders, StopReason},
    virtio::{Backend, NetWatch, VsockListener},
};
use crate::{
    process,
    vmm::{
        device::DiskFile, error::RunError, gdb::GdbListener, input::GuestInput, limit::report_limit,
    },
};

/// The environment variable that makes a program a worker: the number of the connection to who
/// started it.
pub(super) const CONTROL_VARIABLE: &str = "DORMIR_VM_CONTROL";

/// What lists of processes and threads show.
pub(super) const NAME: &CStr = c"dormir-vm";

/// The longest order, in bytes.
pub(super) const LONGEST_ORDER: u64 = 64 << 10;

/// The status of a worker that has told how its guest ended, or why there is none.
const DONE: i32 = 0;
/// The status of one that could tell nothing: as after a panic.
const FAILED: i32 = 101;

ctor::declarative::ctor! {
    /// Unsafe, because the standard library promises nothing before `main`. On Linux all that it
    /// needs is there: the C library has been set up, and it has no state of its own that `main`
    /// would have to make first.
    #[ctor(unsafe)]
    fn be_worker_if_asked() {
        if let Some(number) = env::var_os(CONTROL_VARIABLE) && !has_more_rights() {
            let number = number.to_str().and_then(|number| number.parse().ok());
            let status = catch_unwind(|| be_worker(number)).unwrap_or(FAILED);
            // What the program has registered for its end is not for a worker.
            // SAFETY: it has no conditions.
            unsafe { libc::_exit(status) }
        }
    }
}

/// Whether this program has rights that its user has not: its environment is not to be trusted
/// then.
fn has_more_rights() -> bool {
    // SAFETY: it has no conditions.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

fn be_worker(control: Option<RawFd>) -> i32 {
    for signal in [libc::SIGPIPE, libc::SIGXFSZ] {
        // A pipe that is closed, or a file at its limit, is an error and not the end.
        // SAFETY: no handler is installed, so no code runs.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    let control = control.ok_or_else(|| io::ErrorKind::InvalidInput.into());
    let control = control.and_then(take::<UnixStream>);
    match control.and_then(|control| work(&control)) {
        Ok(()) => DONE,
        Err(error) => {
            eprintln!("{error}");
            FAILED
        }
    }
}

/// Takes the order, and tells what came of it.
fn work(control: &UnixStream) -> io::Result<()> {
    let teller = Arc::new(Teller::new(control.try_clone()?));
    let mut line = String::new();
    // Nothing follows the order until the machine is ready.
    BufReader::new(control.take(LONGEST_ORDER)).read_line(&mut line)?;
    let order: Order = serde_json::from_str(&line)?;
    // In lists of threads. It fails for no name of this length.
    let _ = set_name(NAME);
    let (limit, has_input, has_debugger) = (
        report_limit(order.has_report),
        order.has_input,
        order.gdb.is_some(),
    );
    let requests = Requests::default();
    let mut machine = match make(order, &requests, &teller) {
        Ok(machine) => machine,
        Err(error) => return teller.tell(&Message::Refused(error.to_string())),
    };
    teller.tell(&Message::Ready)?;
    let mut start = [0];
    (&*control).read_exact(&mut start)?;
    match start {
        [GO] => {}
        [GO_WITHOUT_GATE] => process::close_alone()?,
        _ => return Err(io::ErrorKind::InvalidData.into()),
    }
    let orders = Orders {
        control,
        report_limit: limit,
        has_debugger,
    };
    match run(&mut machine, has_input, &orders, &requests) {
        Ok(end) => {
            let told = teller.tell(&Message::Ended(Box::new(end)));
            // The devices send what is left.
            drop(machine);
            told
        }
        // Who started it takes the last words.
        Err(error) => Err(io::Error::other(error)),
    }
}

/// Makes the machine, and confines this process.
fn make(order: Order, requests: &Requests, teller: &Arc<Teller>) -> Result<Machine, RunError> {
    let resource = |cause| RunError::Resource {
        what: "what the VM's process was given",
        cause,
    };
    let kvm = take::<OwnedFd>(order.kvm).map_err(resource)?;
    // SAFETY: who gave it has opened it as KVM and checked it, and nothing else owns it.
    let kvm = unsafe { Kvm::from_raw_fd(kvm.into_raw_fd()) };
    let has_sockets = order.devices.iter().any(DeviceOrder::is_vsock);
    let disks = order.devices.iter().filter_map(DeviceOrder::disk_bytes);
    // Before there is another thread, which would not be confined.
    let confined = confine::to_what_is_open(has_sockets, disks.max().unwrap_or(0));
    let confined = confined.map_err(resource)?;
    let contents = take::<File>(order.contents).map_err(resource)?;
    let memory = boot::build_memory(order.memory_mib, &contents)?;
    let devices = order.devices.into_iter().map(backend);
    let devices = devices.collect::<io::Result<_>>().map_err(resource)?;
    let listener = order
        .gdb
        .map(|number| GdbListener::passed(take::<TcpListener>(number)?));
    let plan = Plan {
        entry: order.entry,
        pit: order.pit,
        steps: order.steps,
        gdb: listener.transpose().map_err(resource)?,
    };
    let machine = Machine::new(&kvm, memory, plan, devices, &requests.leave, teller)?;
    confined.bound_memory().map_err(resource)?;
    Ok(machine)
}

/// Takes what a device was given.
fn backend(order: DeviceOrder) -> io::Result<Backend> {
    Ok(match order {
        DeviceOrder::Rng => Backend::Rng,
        DeviceOrder::Console => Backend::Console,
        DeviceOrder::Disk {
            file,
            sectors,
            read_only,
            number,
        } => Backend::Disk(DiskFile {
            file: take(file)?,
            sectors,
            read_only,
            number,
        }),
        DeviceOrder::Port { socket } => Backend::Port(take(socket)?),
        DeviceOrder::Net { socket, answers } => Backend::Net {
            socket: take(socket)?,
            answers,
        },
        DeviceOrder::Vsock { listener, dial } => {
            Backend::Vsock(VsockListener::passed(take(listener)?, take(dial)?))
        }
    })
}

/// Takes a file that this process has inherited.
fn take<T: From<OwnedFd>>(number: RawFd) -> io::Result<T> {
    // SAFETY: `fcntl` with this request only looks whether there is such a file.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, by the check. Nothing in this process owns what it has inherited; the
    // environment and the order name each number once, and it is taken where it is named.
    Ok(unsafe { OwnedFd::from_raw_fd(number) }.into())
}

/// Runs the guest to its end.
fn run(
    machine: &mut Machine,
    has_input: bool,
    orders: &Orders<'_>,
    requests: &Requests,
) -> Result<RunEnd, RunError> {
    let serial = machine.devices.bus().serial();
    let console = machine.devices.bus().virtio().console().cloned();
    let receive = |bytes: &[u8]| match &console {
        None => serial.receive(bytes),
        Some(console) => Ok(console.receive(bytes)),
    };
    let input = has_input
        .then(GuestInput::standard_input)
        .transpose()
        .map_err(|cause| RunError::Resource {
            what: "the guest's input",
            cause,
        })?;
    // Who sends it knows when the guest reads it, and has escaped it.
    let (is_open, is_escaped) = (true.into(), false);
    let mut console = StandardOutput;
    let mut outlet = Outlet::new(&mut console, &requests.leave);
    let (ran, asked) = GuestInput::feeding(input.as_ref(), is_escaped, &is_open, receive, || {
        thread::run(orders, requests, || machine.run(&mut outlet, requests))
    })?;
    let ended = match (ran.end, asked) {
        // However it ends after that.
        (_, Some(StopReason::OutOfTime)) if ran.place_at_nmi.is_some() => {
            Ended::OutOfTime(ran.place_at_nmi.flatten())
        }
        (RunLoopEnd::Guest(outcome), _) => Ended::of(outcome),
        (RunLoopEnd::AskedToStop, Some(StopReason::OutOfTime)) => Ended::OutOfTime(machine.place()),
        (RunLoopEnd::AskedToStop, _) => Ended::Stopped,
    };
    let network = machine.devices.bus().virtio().network();
    Ok(RunEnd {
        ended: Some(ended),
        held_back: network.map_or(0, NetWatch::held_back),
        link_is_down: network.is_some_and(NetWatch::link_is_down),
        counters: machine.counters(ran.exits),
        stretches: machine.take_stretches(),
    })
}
