//! Sockets: the guest `vsock` and programs of this host, which the tests play.

use std::{
    io::{self, ErrorKind, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use dormir_harness::vmm::{Device, MachineType, Outcome, Report, RunConfig, StopToken, Vmm};
use libtest_mimic::{Failed, Trial};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::sockopt::set_socket_send_buffer_size,
};
use tempfile::TempDir;

use crate::{
    beside::{Beside, beside},
    guest::{LIMIT, boot, config},
};

type Case = (&'static str, fn(Vmm) -> Result<(), Failed>);

const CASES: [Case; 5] = [
    ("echo", echo),
    ("connect", connect),
    ("slow", slow),
    ("refused", refused),
    ("unread", unread),
];

/// The guest's port, and a port of this host.
const GUEST: u32 = 5000;
const HOST: u32 = 6000;

const LISTENS: &str = "listens on port 5000 as 3\n";

pub(crate) fn trials() -> Vec<Trial> {
    let version = Command::new("vhost-device-vsock").arg("--version").output();
    let qemu_is_served = version.is_ok_and(|output| output.status.success());
    let trial = |vmm, name, case: fn(Vmm) -> Result<(), Failed>| {
        let trial = Trial::test(format!("{vmm}::vsock:{name}"), move || case(vmm));
        trial.with_ignored_flag(vmm != Vmm::Kvm && !qemu_is_served)
    };
    let mut trials = Vec::new();
    for vmm in Vmm::ALL {
        trials.extend(CASES.map(|(name, case)| trial(vmm, name, case)));
        // The page's program looks for devices on virtio-mmio.
        if !matches!(vmm, Vmm::Qemu(_, MachineType::Q35)) {
            trials.push(trial(vmm, "page", page));
        }
    }
    // The program that serves QEMU's guests does not tell of programs that have gone, ends a
    // connection with its first half, and does not answer a guest that it cannot connect.
    trials.push(trial(Vmm::Kvm, "gone", gone));
    trials.push(trial(Vmm::Kvm, "halves", halves));
    trials.push(trial(Vmm::Kvm, "unserved", unserved));
    trials
}

/// A guest's configuration, and where its sockets are.
struct Sockets {
    folder: TempDir,
    config: RunConfig,
}

impl Sockets {
    fn new(vmm: Vmm, arguments: &str) -> Result<Self, Failed> {
        let folder = tempfile::tempdir()?;
        let mut config = config(vmm, arguments);
        let path = folder.path().join("s");
        config.devices = vec![Device::Rng, Device::Vsock { path }];
        Ok(Self { folder, config })
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    /// The programs that serve a port of this host.
    fn serve(&self, port: u32) -> io::Result<UnixListener> {
        UnixListener::bind(self.folder.path().join(format!("s_{port}")))
    }

    /// Runs `act` with the path once the guest listens.
    fn beside(
        &self,
        act: impl FnOnce(&Path, &StopToken) -> Result<(), Failed>,
    ) -> Result<Beside, Failed> {
        let path = self.path();
        let act = || act(&path, &self.config.stop);
        let ended = beside("vsock", &self.config, LISTENS, act)?;
        check(!path.exists(), "the socket is still there")?;
        Ok(ended)
    }
}

fn check(expected: bool, message: &str) -> Result<(), Failed> {
    match expected {
        true => Ok(()),
        false => Err(message.into()),
    }
}

fn check_stat(report: &Report, name: &str, expected: u64) -> Result<(), Failed> {
    let stat = report.stats.iter().find(|(key, _)| key == name);
    let stat = stat.map(|(_, value)| *value);
    check(
        stat == Some(expected),
        &format!("{name} is {stat:?}, not {expected} ({})", report.outcome),
    )
}

/// Accepts a connection of the guest.
fn accepted(listener: &UnixListener) -> io::Result<UnixStream> {
    let limit = Timespec::try_from(LIMIT).expect("it is short");
    let mut listeners = [PollFd::new(listener, PollFlags::IN)];
    if poll(&mut listeners, Some(&limit))? == 0 {
        return Err(ErrorKind::TimedOut.into());
    }
    let (stream, _) = listener.accept()?;
    stream.set_read_timeout(Some(LIMIT))?;
    Ok(stream)
}

/// Connects to a port of the guest; returns the stream if the guest accepts.
fn connected(path: &Path, port: u32) -> Result<Option<UnixStream>, Failed> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(LIMIT))?;
    // At once: the program that serves QEMU's guests takes no pieces.
    stream.write_all(format!("CONNECT {port}\n").as_bytes())?;
    let mut line = Vec::new();
    loop {
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(0) => return Ok(None),
            Ok(_) if byte == *b"\n" => break,
            Ok(_) => line.extend(byte),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
    let line = String::from_utf8_lossy(&line).into_owned();
    let port = line.strip_prefix("OK ").map(str::parse::<u32>);
    check(matches!(port, Some(Ok(_))), &line)?;
    Ok(Some(stream))
}

fn connection(path: &Path) -> Result<UnixStream, Failed> {
    connected(path, GUEST)?.ok_or_else(|| "the guest refuses".into())
}

fn pattern(length: u64) -> Vec<u8> {
    (0..length)
        .map(|place| (place.wrapping_mul(31) ^ place >> 8) as u8)
        .collect()
}

/// FNV-1a, as the guest computes it.
fn sum(bytes: &[u8]) -> u64 {
    let sum = bytes.iter().fold(0x811c_9dc5_u32, |sum, byte| {
        (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    });
    sum.into()
}

/// Several connections at once get back what they send.
fn echo(vmm: Vmm) -> Result<(), Failed> {
    const COUNT: u8 = 4;
    const LENGTH: usize = 8000;
    let sockets = Sockets::new(vmm, &format!("connections={COUNT}"))?;
    let Beside { report, .. } = sockets.beside(|path, _| {
        let streams = (0..COUNT).map(|_| connection(path));
        let mut streams = streams.collect::<Result<Vec<_>, _>>()?;
        // All of it is under way before the first is read.
        for (number, stream) in streams.iter_mut().enumerate() {
            stream.write_all(&[number as u8; LENGTH])?;
        }
        for (number, stream) in streams.iter_mut().enumerate() {
            let mut bytes = [0; LENGTH];
            stream.read_exact(&mut bytes)?;
            check(bytes == [number as u8; LENGTH], "other bytes came back")?;
        }
        Ok(())
    })?;
    check_stat(&report, "vsock_served", COUNT.into())
}

/// A program ends its half, and reads what still comes, to the end.
fn halves(vmm: Vmm) -> Result<(), Failed> {
    let sockets = Sockets::new(vmm, "connections=1")?;
    let Beside { report, .. } = sockets.beside(|path, _| {
        let mut stream = connection(path)?;
        let sent = pattern(10_000);
        stream.write_all(&sent)?;
        stream.shutdown(std::net::Shutdown::Write)?;
        let mut came = Vec::new();
        stream.read_to_end(&mut came)?;
        check(came == sent, "other bytes came back")
    })?;
    check_stat(&report, "vsock_served", 1)
}

/// The guest connects to programs of this host, three at once.
fn connect(vmm: Vmm) -> Result<(), Failed> {
    const BULK: u64 = 5000;
    let arguments = format!("connect={HOST} clients=3 say=hello bulk={BULK}");
    let sockets = Sockets::new(vmm, &arguments)?;
    let listener = sockets.serve(HOST)?;
    let answer = pattern(3000);
    let Beside { report, rest, .. } = sockets.beside(|_, _| {
        let sent = [b"hello\n", &pattern(BULK)[..]].concat();
        let mut streams = Vec::new();
        for _ in 0..3 {
            let mut stream = accepted(&listener)?;
            let mut came = vec![0; sent.len()];
            stream.read_exact(&mut came)?;
            check(came == sent, "other bytes came")?;
            stream.write_all(&answer)?;
            streams.push(stream);
        }
        Ok(())
    })?;
    check(
        report.outcome.is_success(),
        &format!("{}: {rest}", report.outcome),
    )?;
    check_stat(&report, "vsock_received", answer.len() as u64)?;
    check_stat(&report, "vsock_sum", sum(&answer))
}

/// A guest sends more than all buffers hold to a program that does not read yet.
fn slow(vmm: Vmm) -> Result<(), Failed> {
    const BULK: u64 = 500_000;
    let sockets = Sockets::new(vmm, &format!("connect={HOST} bulk={BULK}"))?;
    let listener = sockets.serve(HOST)?;
    let Beside { report, rest, .. } = sockets.beside(|_, _| {
        let mut stream = accepted(&listener)?;
        thread::sleep(Duration::from_millis(500));
        let mut came = vec![0; BULK as usize];
        stream.read_exact(&mut came)?;
        check(came == pattern(BULK), "other bytes came")
    })?;
    check(
        report.outcome.is_success(),
        &format!("{}: {rest}", report.outcome),
    )?;
    check_stat(&report, "vsock_sent", BULK)
}

/// Nobody listens on the guest's port; the next connection is served.
fn refused(vmm: Vmm) -> Result<(), Failed> {
    let sockets = Sockets::new(vmm, "connections=1")?;
    let Beside { report, .. } = sockets.beside(|path, _| {
        let refused = connected(path, GUEST + 1)?.is_none();
        check(refused, "a port that nobody serves accepts")?;
        let mut stream = connection(path)?;
        stream.write_all(b"text")?;
        Ok(stream.read_exact(&mut [0; 4])?)
    })?;
    check_stat(&report, "vsock_served", 1)
}

/// The guest connects to a port of this host that nobody serves.
fn unserved(vmm: Vmm) -> Result<(), Failed> {
    let sockets = Sockets::new(vmm, &format!("connect={HOST}"))?;
    let run = boot("vsock", &sockets.config)?;
    run.check(
        run.report.outcome == Outcome::Exited(1) && run.console.contains("refused the connection"),
        "it is not refused",
    )
}

/// A program goes away in the middle; others are served.
fn gone(vmm: Vmm) -> Result<(), Failed> {
    let sockets = Sockets::new(vmm, "connections=2")?;
    let Beside { report, rest, .. } = sockets.beside(|path, _| {
        let mut first = connection(path)?;
        first.write_all(&pattern(20_000))?;
        first.read_exact(&mut [0; 100])?;
        drop(first);
        let mut second = connection(path)?;
        second.write_all(b"text")?;
        Ok(second.read_exact(&mut [0; 4])?)
    })?;
    // Whether the first was reset depends on what was under way.
    check(
        report.outcome.is_success(),
        &format!("{}: {rest}", report.outcome),
    )
}

/// The guest does not read: a program can send no more than the buffers hold, and the run can be
/// stopped.
fn unread(vmm: Vmm) -> Result<(), Failed> {
    let sockets = Sockets::new(vmm, "")?;
    let Beside { report, .. } = sockets.beside(|path, stop| {
        // One more than the guest serves at once.
        let streams = (0..33).map(|_| connection(path));
        let streams = streams.collect::<Result<Vec<_>, _>>()?;
        let mut last = &streams[32];
        set_socket_send_buffer_size(last, 4096)?;
        last.set_write_timeout(Some(Duration::from_millis(300)))?;
        let mut sent = 0;
        let error = loop {
            match last.write(&[1; 1000]) {
                Ok(length) => sent += length,
                Err(error) => break error.kind(),
            }
            check(sent < 1 << 20, "what nobody reads is taken")?;
        };
        check(error == ErrorKind::WouldBlock, &format!("{error}"))?;
        stop.stop();
        let mut end = Vec::new();
        last.set_read_timeout(Some(LIMIT))?;
        match last.read_to_end(&mut end) {
            Err(error) if error.kind() != ErrorKind::ConnectionReset => Err(error.into()),
            _ => check(end.is_empty(), "something came back"),
        }
    })?;
    check(
        report.outcome == Outcome::Stopped,
        &format!("{}", report.outcome),
    )
}

/// The program of docs/io.md.
fn page(vmm: Vmm) -> Result<(), Failed> {
    let sockets = Sockets::new(vmm, "")?;
    let listener = sockets.serve(5001)?;
    let answers = thread::spawn(move || -> io::Result<Vec<u8>> {
        let mut stream = accepted(&listener)?;
        // Before it is greeted: the guest may not end before its greeting is sent.
        stream.write_all(b"hello from the host\n")?;
        let mut line = vec![0; "hello from the guest\n".len()];
        stream.read_exact(&mut line)?;
        Ok(line)
    });
    let run = boot("hello-vsock", &sockets.config)?.succeeded()?;
    let line = answers.join().expect("it does not panic")?;
    run.check(line == b"hello from the guest\n", "another greeting")?;
    run.check(run.console == "hello from the host\n", "another answer")
}
