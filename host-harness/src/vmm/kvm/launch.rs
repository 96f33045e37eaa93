//! Starts a worker, and gives it what its guest has.

use std::{
    env,
    ffi::OsStr,
    fs::File,
    io::{self, PipeWriter, Read},
    os::{
        fd::{AsRawFd, BorrowedFd, OwnedFd},
        unix::{ffi::OsStrExt, net::UnixStream, process::CommandExt},
    },
    process::{Command, Stdio},
};

use kvm_ioctls::Kvm;

use super::{
    message::{DeviceOrder, Order},
    virtio::{Passt, VsockListener},
    worker::{CONTROL_VARIABLE, LONGEST_ORDER, NAME},
};
use crate::{
    escape::escape,
    process::{self, Child, Gate, Reach},
    vmm::{
        config::RunConfig,
        device::{DeviceError, LockedDisk, OpenDevice, VsockError},
        error::RunError,
        feed,
        limit::{Limit, Unstarted},
    },
};

/// How much of a worker's messages is kept.
const MESSAGES: u64 = 16 << 10;

/// A worker that was started, and what serves it.
pub(super) struct Launched {
    pub(super) child: Child,
    pub(super) gate: Gate,
    pub(super) control: UnixStream,
    /// The guest's input.
    pub(super) input: Option<PipeWriter>,
    /// Whether the guest reports what it is doing when it is asked.
    pub(super) has_report: bool,
    pub(super) host_side: HostSide,
}

/// What the devices of a guest have on this host. It ends after the worker.
#[derive(Default)]
pub(super) struct HostSide {
    /// Their locks are held.
    disks: Vec<LockedDisk>,
    network: Option<Network>,
    /// The sockets, and the worker's requests to connect.
    pub(super) sockets: Option<(VsockListener, UnixStream)>,
}

struct Network {
    passt: Passt,
    /// As long as it is open, the program does not end because the worker has.
    _socket: UnixStream,
}

impl HostSide {
    /// Whether what connects the network has ended.
    pub(super) fn network_has_ended(&self) -> bool {
        let network = self.network.as_ref();
        network.is_some_and(|network| network.passt.has_ended())
    }
}

/// What a worker is given beside its devices.
pub(super) struct ForWorker {
    pub(super) kvm: Kvm,
    pub(super) entry: u64,
    pub(super) contents: File,
    pub(super) has_report: bool,
    pub(super) devices: Vec<OpenDevice>,
}

/// Starts a worker for this guest.
pub(super) fn launch(
    given: ForWorker,
    config: &RunConfig,
    limit: &Limit<'_>,
) -> Result<Launched, Unstarted> {
    let resource = |what| move |cause| RunError::Resource { what, cause };
    let (control, other_end) =
        UnixStream::pair().map_err(resource("a connection to the process of the VM"))?;
    let (stdin, input) =
        feed::pipe(config.input.is_some()).map_err(resource("a pipe for its input"))?;
    // This very program, also if its file has been replaced or removed.
    let mut command = process::command("/proc/self/exe");
    let mut host_side = HostSide::default();
    let devices = given.devices.into_iter();
    let devices = devices.map(|device| hand_over(device, &mut command, &mut host_side, limit));
    let devices = devices.collect::<Result<_, Unstarted>>()?;
    let gdb = config.gdb.as_ref();
    let gdb = gdb
        .map(|listener| listener.socket().try_clone())
        .transpose()
        .map_err(resource("a socket for debuggers"))?;
    let order = Order {
        kvm: process::pass(
            &mut command,
            copy_of(&given.kvm).map_err(resource("a copy of /dev/kvm"))?,
        ),
        entry: given.entry,
        memory_mib: config.memory_mib,
        contents: process::pass(&mut command, given.contents.into()),
        pit: config.pit,
        steps: config.steps,
        has_report: given.has_report,
        has_input: config.input.is_some(),
        gdb: gdb.map(|socket| process::pass(&mut command, socket.into())),
        devices,
    };
    let number = process::pass(&mut command, other_end.into());
    command
        .arg0(OsStr::from_bytes(NAME.to_bytes()))
        .env_clear()
        // Where the program's libraries are.
        .envs(env::var_os("LD_LIBRARY_PATH").map(|path| ("LD_LIBRARY_PATH", path)))
        // Otherwise glibc reserves 64 MiB for each thread.
        .env("MALLOC_ARENA_MAX", "1")
        .env(CONTROL_VARIABLE, number.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let (child, gate) = Child::spawn_gated(&mut command, stdin, Reach::Nothing)
        .map_err(|cause| failed("cannot be started", &cause))?;
    let mut line =
        serde_json::to_vec(&order).map_err(|cause| failed("has no order", &cause.into()))?;
    line.push(b'\n');
    if line.len() as u64 > LONGEST_ORDER {
        return Err(Unstarted::Refused(RunError::VmProcess {
            message: "the guest's devices take too long a description: forward fewer ports".into(),
        }));
    }
    // At once, so that it does not wait for a process that reads nothing. One that has ended says
    // why.
    let _ = io::Write::write_all(&mut &control, &line);
    Ok(Launched {
        child,
        gate,
        control,
        input,
        has_report: given.has_report,
        host_side,
    })
}

fn copy_of(kvm: &Kvm) -> io::Result<OwnedFd> {
    // SAFETY: it is open as long as `kvm` is borrowed.
    unsafe { BorrowedFd::borrow_raw(kvm.as_raw_fd()) }.try_clone_to_owned()
}

fn failed(what: &str, cause: &io::Error) -> RunError {
    RunError::VmProcess {
        message: format!(
            "the process of the VM {what} ({cause}): it is this program, started once more from \
             /proc/self/exe, so see that /proc is there, and end other programs"
        ),
    }
}

/// Passes what a device has to the worker, and keeps the rest.
fn hand_over(
    device: OpenDevice,
    command: &mut Command,
    host_side: &mut HostSide,
    limit: &Limit<'_>,
) -> Result<DeviceOrder, Unstarted> {
    let resource = |cause| RunError::Resource {
        what: "a copy of a device's file",
        cause,
    };
    let mut pass = |file: OwnedFd| process::pass(command, file);
    Ok(match device {
        OpenDevice::Rng => DeviceOrder::Rng,
        OpenDevice::Console => DeviceOrder::Console,
        OpenDevice::Disk(locked) => {
            let disk = &locked.disk;
            let file = disk.file.try_clone().map_err(resource)?;
            let order = DeviceOrder::Disk {
                file: pass(file.into()),
                sectors: disk.sectors,
                read_only: disk.read_only,
                number: disk.number,
            };
            host_side.disks.push(locked);
            order
        }
        OpenDevice::Port(socket) => DeviceOrder::Port {
            socket: pass(socket.into()),
        },
        OpenDevice::Net(network) => {
            let (passt, socket) = Passt::start_for(&network, limit)?;
            let other = socket.try_clone().map_err(resource)?;
            host_side.network = Some(Network {
                passt,
                _socket: other,
            });
            DeviceOrder::Net {
                socket: pass(socket.into()),
                answers: network.restrict.then_some(network.forwards),
            }
        }
        OpenDevice::Vsock(path) => {
            let listener = VsockListener::new(&path).map_err(|cause| {
                RunError::Device(DeviceError::Vsock(VsockError::new(&path, cause)))
            })?;
            let (dial, other_end) = UnixStream::pair().map_err(resource)?;
            let order = DeviceOrder::Vsock {
                listener: pass(listener.socket().map_err(resource)?),
                dial: pass(other_end.into()),
            };
            host_side.sockets = Some((listener, dial));
            order
        }
    })
}

/// Reads what a worker says on standard error, up to its end: in one line, for a sentence.
pub(super) fn last_words(stderr: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut stderr) = stderr {
        // What cannot be read is not there.
        let _ = stderr.by_ref().take(MESSAGES).read_to_end(&mut bytes);
        // Read on, so that it does not wait.
        let _ = io::copy(&mut stderr, &mut io::sink());
    }
    let text = String::from_utf8_lossy(&bytes);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    match escape(&lines.collect::<Vec<_>>().join("; ")) {
        words if words.is_empty() => "without a message".into(),
        words => format!("its last words: {words}"),
    }
}
