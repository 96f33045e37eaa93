//! The program `passt`, which connects frames with sockets of this host, without privileges.

use std::{
    env,
    ffi::OsStr,
    fs::File,
    io::{self, Read, Seek, Write},
    os::unix::net::UnixStream,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

use crate::{
    escape::escape,
    process::{self, Child, Scope},
    vmm::device::{MAC, NetError, Network, PortForward},
};

/// The longest frame that is read before the guest runs.
const MAX_FRAME: usize = 64 << 10;

/// The addresses of the guest and of its gateway, as QEMU's own network has them.
const GUEST: &str = "10.0.2.15";
pub(super) const GATEWAY: [u8; 4] = [10, 0, 2, 2];

/// The running program. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Passt {
    child: Child,
}

impl Passt {
    /// Starts the program, and waits at most until the limit, until it has taken the ports and
    /// answers. Returns the socket of the frames too.
    pub(super) fn start(
        program: &OsStr,
        network: &Network,
        limit: Duration,
    ) -> Result<(Self, UnixStream), NetError> {
        let (socket, other_end) = UnixStream::pair().map_err(NetError::PasstStart)?;
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let messages = memfd_create("messages", flags);
        let messages = messages.map_err(|errno| NetError::PasstStart(errno.into()))?;
        let mut messages = File::from(messages);
        let mut command = Command::new(program);
        // It parses what the guest sends, so it is told nothing that it does not need.
        command
            .env_clear()
            .envs(env::var_os("PATH").map(|path| ("PATH", path)));
        let number = process::pass(&mut command, other_end.into());
        command
            .args(["--foreground", "--quiet", "--ipv4-only", "--address", GUEST])
            .args(["--netmask", "24", "--gateway"])
            .arg(GATEWAY.map(|byte| byte.to_string()).join("."))
            .args(["--fd", &number.to_string(), "--udp-ports", "none"]);
        if network.restrict {
            // The filter holds it back, too.
            command.args(["--no-udp", "--no-icmp", "--no-map-gw"]);
            // The guest need not know which resolvers this host has.
            command.args(["--dns", "none", "--search", "none"]);
        }
        for PortForward { host, guest } in &network.forwards {
            command.args(["--tcp-ports", &format!("127.0.0.1/{host}:{guest}")]);
        }
        command
            .stdout(Stdio::null())
            .stderr(messages.try_clone().map_err(NetError::PasstStart)?);
        let child = Child::spawn(&mut command, Scope::Group);
        let child = child.map_err(|cause| match cause.kind() {
            io::ErrorKind::NotFound => NetError::PasstMissing,
            _ => NetError::PasstStart(cause),
        })?;
        // Otherwise this process would hold the other end too, and never see it closed.
        drop(command);
        match wait_for_answer(&socket, limit) {
            Ok(()) => {
                // A guest can cause messages without end, and nothing reads them any more.
                let sealed = fcntl_add_seals(&messages, SealFlags::GROW);
                sealed.map_err(|errno| NetError::PasstStart(errno.into()))?;
                Ok((Self { child }, socket))
            }
            Err(error) if is_timeout(&error) => Err(NetError::PasstSilent(limit)),
            Err(_) => Err(NetError::PasstEnded(last_line(&mut messages))),
        }
    }

    /// Returns whether the program has ended.
    pub(super) fn has_ended(&self) -> bool {
        // One that cannot be asked is gone.
        self.child.has_ended().unwrap_or(true)
    }
}

/// Asks for the gateway's Ethernet address (ARP), and waits for an answer.
fn wait_for_answer(mut socket: &UnixStream, limit: Duration) -> io::Result<()> {
    let mut question = vec![0xff; 6];
    question.extend(MAC);
    // Type ARP; Ethernet, IPv4, lengths of both addresses, question.
    question.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    question.extend(MAC);
    question.extend([0; 4 + 6]);
    question.extend(GATEWAY);
    let length = question.len() as u32;
    socket.write_all(&[&length.to_be_bytes(), &question[..]].concat())?;
    let end = Instant::now() + limit;
    let mut length = [0; 4];
    read_until(end, socket, &mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_FRAME {
        return Err(io::ErrorKind::InvalidData.into());
    }
    read_until(end, socket, &mut vec![0; length])?;
    socket.set_read_timeout(None)
}

/// Fills the bytes before `end`.
fn read_until(end: Instant, mut socket: &UnixStream, mut bytes: &mut [u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let left = end.saturating_duration_since(Instant::now());
        // No time at all would be no limit.
        socket.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        match socket.read(bytes) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => bytes = &mut bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

/// The last line that the program wrote.
fn last_line(messages: &mut File) -> String {
    let mut bytes = Vec::new();
    // A message that cannot be read is not there.
    let _ = messages.rewind();
    let _ = messages.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    let last = text.lines().rfind(|line| !line.trim().is_empty());
    last.map_or_else(|| "without a message".to_owned(), escape)
}

#[cfg(test)]
mod tests {
    use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt};

    use super::*;

    fn network(forwards: &[PortForward]) -> Network {
        Network {
            forwards: forwards.to_vec(),
            restrict: true,
        }
    }

    /// Starts a script in place of the program.
    fn start(script: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("passt");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        let network = network(&[PortForward { host: 1, guest: 2 }]);
        let limit = Duration::from_millis(500);
        let started = Passt::start(path.as_ref(), &network, limit);
        started.map(drop).unwrap_err().to_string()
    }

    #[test]
    fn a_program_that_does_not_start_has_its_sentence() {
        let missing = Passt::start("/nonexistent/passt".as_ref(), &network(&[]), Duration::ZERO);
        let missing = missing.map(drop).unwrap_err().to_string();
        assert!(missing.contains("apt-get install passt"), "{missing}");
        let ended = start("echo first >&2; echo $* >&2; echo >&2");
        assert!(start("printf '\\033[31mred' >&2").contains("\\u{1b}[31mred"));
        // What this process's environment says is not passed on.
        assert!(start("echo ${HOME-none} >&2").contains("none"));
        assert!(ended.contains("--tcp-ports 127.0.0.1/1:2"), "{ended}");
        assert!(start("exit 1").contains("without a message"));
        assert!(start("exec sleep 1000").contains("does not answer"));
    }

    #[test]
    fn the_program_serves_until_it_is_dropped() {
        which::which("passt").expect("install passt, as `cargo vm test` does");
        // Ports from 32768 on may be taken for connections.
        let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
        let first = 20_000 + (std::process::id() % 10_000) as u16;
        let port = (first..32_000).find(is_free).expect("one is free");
        let forward = PortForward {
            host: port,
            guest: 80,
        };
        let limit = Duration::from_secs(60);
        let started = Passt::start("passt".as_ref(), &network(&[forward]), limit);
        let (passt, socket) = started.unwrap_or_else(|error| panic!("{error}"));
        // It has the port.
        TcpListener::bind(("127.0.0.1", port)).unwrap_err();
        drop((passt, socket));
        TcpListener::bind(("127.0.0.1", port)).unwrap();
    }
}
