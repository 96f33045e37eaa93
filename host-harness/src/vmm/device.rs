//! The devices that a guest is given: one description for every VMM.

mod disk;
mod net;
mod port;
mod vsock;

use std::{io, os::unix::net::UnixStream, path::PathBuf};

pub(super) use disk::{DiskFile, LockedDisk, SECTOR};
pub(super) use net::{MAC, Network};
pub use net::{NetError, PortForward, PortForwardError, free_port};
pub(super) use vsock::SocketFile;
pub use vsock::VsockError;

/// The number of devices that a guest can have: each has an interrupt line of its own.
pub const MAX_DEVICES: usize = 7;

/// The length of what each device adds to the guest's command line, in bytes.
pub(super) const WORD_LENGTH: usize = " virtio_mmio.device=512@0xd0001000:12".len();

/// A virtio device of a guest: see [`RunConfig::devices`](super::RunConfig::devices).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Device {
    /// A source of random numbers, which the host's kernel makes.
    Rng,
    /// A disk. Its content is a file of this host, which never changes its size.
    Disk {
        /// The file. It is locked during the run: a disk that is written has no other user.
        path: PathBuf,
        /// Whether the guest can only read.
        read_only: bool,
    },
    /// A console with one port. What the guest sends appears on its console; what it receives is
    /// the run's [`input`](super::RunConfig::input), which then does not go to the serial line. The
    /// input's end is not told.
    Console,
    /// A console with one port, which is connected to a Unix socket of this host: for
    /// [host calls](https://github.com/dormir-rs/dormir/blob/main/docs/host-calls.md), or any other
    /// exchange of bytes. The end of the connection is not told; what the guest sends then is lost.
    /// What is not in the socket when the run ends is sent if the program reads within a second.
    /// (QEMU also drops what the socket does not take at once. It takes two whole messages of host
    /// calls.)
    ///
    /// To the guest it is a console like [`Console`](Self::Console): their order in
    /// [`devices`](super::RunConfig::devices) tells which is which.
    Port {
        /// The socket. A program listens there, and is connected to when the run begins.
        path: PathBuf,
    },
    /// A network of its own, by `passt` or by QEMU, where it is told the address 10.0.2.15 (DHCP),
    /// and the peers of connections that are forwarded have the address 10.0.2.2.
    Net {
        /// The TCP ports of this host that lead to the guest.
        forwards: Vec<PortForward>,
        /// Whether it only answers: it sends nothing but what belongs to connections that were
        /// forwarded to it. Without this it reaches what this process reaches, and this host's
        /// loopback at 10.0.2.2; that is refused with a debugger, whose port it would reach.
        restrict: bool,
    },
    /// Sockets (vsock), by Firecracker's scheme; the guest's address (CID) is 3. A program of this
    /// host connects to the Unix socket at `path`, sends `CONNECT PORT` and a line feed, and gets
    /// `OK` and a port's number, on a line, once the guest has accepted. The guest's connection to
    /// a port of this host (CID 2) is one to the Unix socket whose path has `_PORT` behind it.
    Vsock {
        /// The socket for this host's programs. It must not exist, is for this user alone, and is
        /// removed at the end.
        path: PathBuf,
    },
}

impl Device {
    /// Returns whether it lets the guest reach what this process reaches.
    pub(super) fn reaches_out(&self) -> bool {
        matches!(
            self,
            Self::Net {
                restrict: false,
                ..
            }
        )
    }
}

/// Why a guest cannot have a device.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The guest was to have too many.
    #[error(
        "a guest can have {MAX_DEVICES} devices, and {count} were asked for: leave out some of them"
    )]
    TooMany {
        /// The number.
        count: usize,
    },
    /// The guest was to have more than one console.
    #[error("a guest can have one virtio console: leave out the others")]
    SecondConsole,
    /// The guest was to have more than one network.
    #[error("a guest can have one network: leave out the others")]
    SecondNet,
    /// The guest's network cannot be had.
    #[error(transparent)]
    Net(NetError),
    /// The guest was to have more than one device for sockets.
    #[error("a guest can have one vsock device: leave out the others")]
    SecondVsock,
    /// The guest's sockets cannot be had.
    #[error(transparent)]
    Vsock(VsockError),
    /// Nothing can be connected to the socket of a port.
    #[error(
        "the socket {} of a port cannot be connected to ({cause}): start what listens there and \
         accepts connections, or name another",
        path.display()
    )]
    Connect {
        /// The socket.
        path: PathBuf,
        /// The kernel's error.
        cause: io::Error,
    },
    /// The file of a disk cannot be opened.
    #[error(
        "the disk {} cannot be opened ({cause}): create the file, or name another",
        path.display()
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// The kernel's error.
        cause: io::Error,
    },
    /// The file of a disk may not be written.
    #[error(
        "the disk {} may not be written by this user: make the file writable, or the disk \
         read-only (`--disk FILE,readonly`)",
        path.display()
    )]
    NotWritable {
        /// The file.
        path: PathBuf,
    },
    /// The file of a disk is a folder, a pipe, or another device.
    #[error("the disk {} is no regular file: name one, or copy the content to one", path.display())]
    NotRegular {
        /// The path.
        path: PathBuf,
    },
    /// The size of a disk is not a number of sectors.
    #[error(
        "the disk {} has {length} bytes, and a disk consists of sectors of {SECTOR}: enlarge the \
         file (`truncate --size=%{SECTOR} FILE`; an empty one needs `--size={SECTOR}` or more)",
        path.display()
    )]
    Size {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        length: u64,
    },
    /// Another guest or program uses the file of a disk.
    #[error(
        "the disk {} is locked, so another guest uses it: wait for its end, or copy the file (many \
         guests can share a disk that all of them only read)",
        path.display()
    )]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The file of a disk cannot be locked.
    #[error(
        "the disk {} cannot be locked ({cause}): copy it to a local file system",
        path.display()
    )]
    Lock {
        /// The file.
        path: PathBuf,
        /// The kernel's error.
        cause: io::Error,
    },
}

/// A device whose part on the host was checked and is held.
#[derive(Debug)]
pub(super) enum OpenDevice {
    Rng,
    Disk(LockedDisk),
    Console,
    Port(UnixStream),
    Net(Network),
    Vsock(PathBuf),
}

impl OpenDevice {
    /// The bytes of its file, if it is a disk.
    pub(super) fn disk_bytes(&self) -> Option<u64> {
        match self {
            Self::Disk(locked) => Some(locked.disk.sectors * SECTOR),
            _ => None,
        }
    }

    pub(super) fn network(&self) -> Option<&Network> {
        match self {
            Self::Net(network) => Some(network),
            _ => None,
        }
    }
}

/// Checks the devices, and opens and locks their files.
pub(super) fn open_all(devices: &[Device]) -> Result<Vec<OpenDevice>, DeviceError> {
    if devices.len() > MAX_DEVICES {
        let count = devices.len();
        return Err(DeviceError::TooMany { count });
    }
    let is_console = |device: &&Device| matches!(device, Device::Console);
    if devices.iter().filter(is_console).count() > 1 {
        return Err(DeviceError::SecondConsole);
    }
    let is_net = |device: &&Device| matches!(device, Device::Net { .. });
    if devices.iter().filter(is_net).count() > 1 {
        return Err(DeviceError::SecondNet);
    }
    let is_vsock = |device: &&Device| matches!(device, Device::Vsock { .. });
    if devices.iter().filter(is_vsock).count() > 1 {
        return Err(DeviceError::SecondVsock);
    }
    let mut disks = 0;
    let open = |device: &Device| match device {
        Device::Rng => Ok(OpenDevice::Rng),
        Device::Console => Ok(OpenDevice::Console),
        Device::Port { path } => match port::connected(path) {
            Ok(socket) => Ok(OpenDevice::Port(socket)),
            Err(cause) => Err(DeviceError::Connect {
                path: path.clone(),
                cause,
            }),
        },
        Device::Net { forwards, restrict } => {
            let network = Network {
                forwards: forwards.clone(),
                restrict: *restrict,
            };
            network.check_ports().map_err(DeviceError::Net)?;
            Ok(OpenDevice::Net(network))
        }
        Device::Vsock { path } => {
            vsock::check(path).map_err(DeviceError::Vsock)?;
            Ok(OpenDevice::Vsock(path.clone()))
        }
        Device::Disk { path, read_only } => {
            disks += 1;
            LockedDisk::open(path, *read_only, disks - 1).map(OpenDevice::Disk)
        }
    };
    devices.iter().map(open).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(devices: &[Device]) -> String {
        open_all(devices).unwrap_err().to_string()
    }

    #[test]
    fn what_cannot_be_given_has_its_sentence() {
        let path = tempfile::tempdir().unwrap().path().join("socket");
        let port = Device::Port { path };
        assert!(refused(&[port]).contains("start what listens there"));
        let many = vec![Device::Rng; MAX_DEVICES + 1];
        assert!(refused(&many).contains("and 8 were asked for"));
        assert!(refused(&[Device::Console, Device::Console]).contains("one virtio console"));
    }
}
