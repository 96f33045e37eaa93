//! The program `passt`, which connects frames with sockets of this host, without privileges.

use std::{
    ffi::OsStr,
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use crate::{
    process,
    vmm::{
        companion::Companion,
        device::{MAC, NetError, Network, PortForward},
        error::RunError,
        limit::{Limit, Unstarted},
    },
};

/// The longest frame that is read before the guest runs.
const MAX_FRAME: usize = 64 << 10;

/// How long the program may take to start, if the run's limit is longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often the run's limit is checked while the program starts.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// The addresses of the guest and of its gateway, as QEMU's own network has them.
const GUEST: &str = "10.0.2.15";
pub(super) const GATEWAY: [u8; 4] = [10, 0, 2, 2];

/// The running program. It ends when this is dropped.
#[derive(Debug)]
pub(in crate::vmm::kvm) struct Passt {
    program: Companion,
}

impl Passt {
    /// Starts the program in PATH, which may take ten seconds if the run's limit is longer.
    pub(in crate::vmm::kvm) fn start_for(
        network: &Network,
        limit: &Limit<'_>,
    ) -> Result<(Self, UnixStream), Unstarted> {
        Self::start("passt".as_ref(), network, PATIENCE, limit)
    }

    /// Starts the program, and waits until it has taken the ports and answers, no longer than
    /// `patience` and the run's limit. Returns the socket of the frames too.
    fn start(
        program: &OsStr,
        network: &Network,
        patience: Duration,
        limit: &Limit<'_>,
    ) -> Result<(Self, UnixStream), Unstarted> {
        let (socket, other_end) = UnixStream::pair().map_err(resource)?;
        let mut command = process::command(program);
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
        let mut program = Companion::start(command).map_err(|cause| match cause.kind() {
            io::ErrorKind::NotFound => NetError::PasstMissing,
            _ => NetError::PasstStart(cause),
        })?;
        match wait_for_answer(&socket, patience, limit) {
            Ok(()) => {}
            Err(NoAnswer::Late) => return Err(NetError::PasstSilent(patience).into()),
            Err(NoAnswer::Cut(cut)) => return Err(cut),
            Err(NoAnswer::Ended) => {
                // Another program may have taken a port after it was checked.
                network.check_ports()?;
                return Err(NetError::PasstEnded(program.last_line()).into());
            }
        }
        program.ignore_messages().map_err(resource)?;
        Ok((Self { program }, socket))
    }

    /// Returns whether the program has ended.
    pub(in crate::vmm::kvm) fn has_ended(&self) -> bool {
        self.program.has_ended()
    }
}

fn resource(cause: io::Error) -> Unstarted {
    let what = "a socket or a file for passt";
    Unstarted::Refused(RunError::Resource { what, cause })
}

/// Why there was no answer.
enum NoAnswer {
    Late,
    /// The run is over.
    Cut(Unstarted),
    /// The program has closed its socket, or answers nonsense.
    Ended,
}

impl From<io::Error> for NoAnswer {
    fn from(_: io::Error) -> Self {
        Self::Ended
    }
}

/// Asks for the gateway's Ethernet address (ARP), and waits for an answer.
fn wait_for_answer(
    mut socket: &UnixStream,
    patience: Duration,
    limit: &Limit<'_>,
) -> Result<(), NoAnswer> {
    let mut question = vec![0xff; 6];
    question.extend(MAC);
    // Type ARP; Ethernet, IPv4, lengths of both addresses, question.
    question.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    question.extend(MAC);
    question.extend([0; 4 + 6]);
    question.extend(GATEWAY);
    let length = question.len() as u32;
    socket.write_all(&[&length.to_be_bytes(), &question[..]].concat())?;
    socket.set_read_timeout(Some(CHECK_INTERVAL))?;
    let asked = Instant::now();
    let mut read = |mut bytes: &mut [u8]| {
        while !bytes.is_empty() {
            limit.check().map_err(NoAnswer::Cut)?;
            match socket.read(bytes) {
                Ok(0) => return Err(NoAnswer::Ended),
                Ok(count) => bytes = &mut bytes[count..],
                Err(error) if is_timeout(&error) && asked.elapsed() >= patience => {
                    return Err(NoAnswer::Late);
                }
                Err(error) if is_timeout(&error) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    };
    let mut length = [0; 4];
    read(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_FRAME {
        return Err(NoAnswer::Ended);
    }
    read(&mut vec![0; length])?;
    Ok(socket.set_read_timeout(None)?)
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

#[cfg(test)]
mod tests {
    use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt, thread};

    use super::*;
    use crate::vmm::{Outcome, RunConfig, Vmm};

    fn network(forwards: &[PortForward]) -> Network {
        Network {
            forwards: forwards.to_vec(),
            restrict: true,
        }
    }

    /// Starts a script in place of the program.
    fn start(script: &str, patience: Duration, config: &RunConfig) -> Unstarted {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("passt");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        start_at(path.as_ref(), patience, config)
    }

    fn start_at(path: &OsStr, patience: Duration, config: &RunConfig) -> Unstarted {
        let network = network(&[]);
        let started = Passt::start(path, &network, patience, &Limit::new(config));
        started.map(drop).unwrap_err()
    }

    fn refused(unstarted: Unstarted) -> String {
        match unstarted {
            Unstarted::Refused(error) => error.to_string(),
            Unstarted::Cut(outcome) => panic!("{outcome}"),
        }
    }

    #[test]
    fn a_program_that_does_not_start_has_its_sentence() {
        let config = RunConfig::new(Vmm::Kvm);
        let start = |script| refused(start(script, Duration::from_millis(500), &config));
        let missing = start_at("/nonexistent/passt".as_ref(), Duration::ZERO, &config);
        let missing = refused(missing);
        assert!(missing.contains("apt-get install passt"), "{missing}");
        let ended = start("echo first >&2; echo $* >&2; echo >&2");
        assert!(start("printf '\\033[31mred' >&2").contains("\\u{1b}[31mred"));
        // What this process's environment says is not passed on.
        assert!(start("echo ${HOME-none} >&2").contains("none"));
        assert!(ended.contains("--udp-ports none"), "{ended}");
        assert!(start("exit 1").contains("without a message"));
        assert!(start("exec sleep 1000").contains("does not answer"));
    }

    #[test]
    fn a_port_that_was_taken_after_the_check_is_named() {
        let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let host = taken.local_addr().unwrap().port();
        let (network, config) = (
            network(&[PortForward { host, guest: 2 }]),
            RunConfig::new(Vmm::Kvm),
        );
        let limit = Limit::new(&config);
        // A program that ends at once.
        let started = Passt::start("true".as_ref(), &network, config.timeout, &limit);
        let sentence = refused(started.map(drop).unwrap_err());
        assert!(
            sentence.contains(&format!("port {host} of this host")),
            "{sentence}"
        );
    }

    /// The time limit and the stop token hold while the program starts.
    #[test]
    fn a_run_that_is_over_does_not_wait_for_the_program() {
        let silent = |config: &RunConfig| {
            let patience = Duration::from_secs(1000);
            match start("exec sleep 1000", patience, config) {
                Unstarted::Cut(outcome) => outcome,
                Unstarted::Refused(error) => panic!("{error}"),
            }
        };
        let mut config = RunConfig::new(Vmm::Kvm);
        config.timeout = Duration::from_millis(100);
        assert!(matches!(silent(&config), Outcome::TimedOut { .. }));
        config.timeout = Duration::from_secs(1000);
        let stop = config.stop.clone();
        let stops = thread::spawn(move || {
            thread::sleep(Duration::from_millis(100));
            stop.stop();
        });
        assert!(matches!(silent(&config), Outcome::Stopped));
        stops.join().unwrap();
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
        let config = RunConfig::new(Vmm::Kvm);
        let (network, limit) = (network(&[forward]), Limit::new(&config));
        let started = Passt::start("passt".as_ref(), &network, config.timeout, &limit);
        let (passt, socket) = started.unwrap_or_else(|error| panic!("{error:?}"));
        // It has the port.
        TcpListener::bind(("127.0.0.1", port)).unwrap_err();
        drop((passt, socket));
        TcpListener::bind(("127.0.0.1", port)).unwrap();
    }
}
