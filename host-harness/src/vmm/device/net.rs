//! The network of a guest: which ports of this host lead to it.

use std::{
    fmt, io,
    net::{Ipv4Addr, TcpListener},
    process,
    str::FromStr,
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use serde::{Deserialize, Serialize};

/// The guest's Ethernet address.
pub(in crate::vmm) const MAC: [u8; 6] = [0x02, b'd', b'o', b'r', b'm', 0];

/// What a network is to be: see [`Device::Net`](super::Device::Net).
#[derive(Clone, Debug)]
pub(in crate::vmm) struct Network {
    pub(in crate::vmm) forwards: Vec<PortForward>,
    pub(in crate::vmm) restrict: bool,
}

impl Network {
    /// Checks that the ports of this host are free. They are taken by another program, soon after;
    /// if it fails then, this tells whether one was taken meanwhile.
    pub(in crate::vmm) fn check_ports(&self) -> Result<(), NetError> {
        let take = |&PortForward { host, .. }: &PortForward| {
            TcpListener::bind((Ipv4Addr::LOCALHOST, host)).map_err(|cause| match cause.kind() {
                io::ErrorKind::AddrInUse => NetError::PortInUse(host),
                io::ErrorKind::PermissionDenied => NetError::PortDenied(host),
                _ => NetError::Port { port: host, cause },
            })
        };
        let taken: Result<Vec<_>, _> = self.forwards.iter().map(take).collect();
        taken.map(drop)
    }
}

/// A TCP port of this host, on 127.0.0.1, whose connections a port of the guest gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortForward {
    /// The port of this host.
    pub host: u16,
    /// The port of the guest.
    pub guest: u16,
}

/// Parses `HOST:GUEST`.
impl FromStr for PortForward {
    type Err = PortForwardError;

    fn from_str(text: &str) -> Result<Self, PortForwardError> {
        let port = |text: &str| {
            let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
            let port = is_number.then(|| text.parse().ok()).flatten();
            port.filter(|port| *port != 0)
        };
        let ports = text.split_once(':');
        let ports = ports.and_then(|(host, guest)| port(host).zip(port(guest)));
        let (host, guest) = ports.ok_or_else(|| PortForwardError(text.to_owned()))?;
        Ok(Self { host, guest })
    }
}

/// Writes what [`FromStr`] parses.
impl fmt::Display for PortForward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.guest)
    }
}

/// The ports from which [`free_port`] chooses, and how many there are. The system takes others for
/// the near ends of connections: those from 32768 on.
const FIRST_PORT: u16 = 12_000;
const PORTS: u16 = 20_000;

/// Returns a TCP port of this host, on 127.0.0.1, that is free now, for a [`PortForward`].
///
/// Each call returns another one. Until the guest runs, a program that asks for this very port can
/// take it, but none that just connects or asks for any port.
///
/// # Errors
///
/// No port can be had: the error is that of the last one that was tried.
pub fn free_port() -> io::Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Processes that run at the same time begin at different ports, as a rule.
    let first = (process::id() as u16).wrapping_mul(64);
    let mut refused = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..PORTS {
        let number = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = FIRST_PORT + number % PORTS;
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => return Ok(port),
            Err(cause) => refused = cause,
        }
    }
    Err(refused)
}

/// A text that is not of the form `HOST:GUEST`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` forwards no port: write the port of this host, a colon, and the port of the guest, for \
     instance 8080:80"
)]
pub struct PortForwardError(String);

/// Why a guest cannot have a network.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetError {
    /// The program that connects the guest is not installed.
    #[error(
        "there is no passt, which connects the guest's network: install it (on Debian: apt-get \
         install passt), or pass --vmm qemu-tcg or qemu-kvm, which do not need it"
    )]
    PasstMissing,
    /// The program cannot be started.
    #[error(
        "passt, which connects the guest's network, cannot be started ({0}): see whether `passt \
         --version` works, or pass --vmm qemu-tcg or qemu-kvm, which do not need it"
    )]
    PasstStart(io::Error),
    /// The program ended at once.
    #[error(
        "passt, which connects the guest's network, ended at once ({0}): see whether its message \
         explains it, or pass --vmm qemu-tcg or qemu-kvm, which do not need it"
    )]
    PasstEnded(String),
    /// The program does nothing.
    #[error(
        "passt, which connects the guest's network, does not answer after {} s: start it by hand \
         to see what it waits for",
        .0.as_secs()
    )]
    PasstSilent(Duration),
    /// Another program has the port, or the same one was named twice.
    #[error(
        "port {0} of this host, which leads to the guest, is in use: end the program that uses it \
         (`ss --listening --tcp --processes` names it), or forward another"
    )]
    PortInUse(u16),
    /// Only root may have the port.
    #[error("port {0} of this host is for root alone: forward one from 1024 on")]
    PortDenied(u16),
    /// The port cannot be had, for another reason.
    #[error("port {port} of this host cannot be had ({cause}): forward another")]
    Port {
        /// The port.
        port: u16,
        /// The kernel's error.
        cause: io::Error,
    },
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn forwards_are_pairs_of_ports() {
        let forward = PortForward {
            host: 8080,
            guest: 80,
        };
        assert_eq!("8080:80".parse(), Ok(forward));
        assert_eq!(forward.to_string(), "8080:80");
        for text in [
            "", ":", "80", "80:", ":80", "0:80", "80:0", "65536:80", "+1:80", "a:b", "1:2:3",
            " 1:2",
        ] {
            let error = text.parse::<PortForward>().unwrap_err();
            assert!(error.to_string().contains("8080:80"), "{text}");
        }
    }

    #[test]
    fn free_ports_are_none_that_connections_have() {
        let mut ports = HashSet::new();
        for _ in 0..20 {
            let port = free_port().unwrap();
            assert!((12_000..32_000).contains(&port), "{port}");
            assert!(ports.insert(port), "{port} twice");
        }
    }

    #[test]
    fn a_port_in_use_is_refused() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let forward = PortForward {
            host: port,
            guest: 80,
        };
        let check = |forwards: &[PortForward]| {
            let network = Network {
                forwards: forwards.to_vec(),
                restrict: true,
            };
            network.check_ports()
        };
        let refused = check(&[forward]).unwrap_err().to_string();
        assert!(refused.contains(&format!("port {port} of this host")));
        drop(taken);
        check(&[forward]).unwrap();
        let twice = check(&[forward, forward]).unwrap_err();
        assert!(matches!(twice, NetError::PortInUse(_)), "{twice}");
    }
}
