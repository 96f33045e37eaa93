//! The devices that a guest is given: one description for every VMM.

mod net;
mod port;
mod vsock;

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::{fs::OpenOptionsExt, net::UnixStream},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, OFlags, flock},
    io::Errno,
};

pub(super) use net::{MAC, Network};
pub use net::{NetError, PortForward, PortForwardError, free_port};
pub(super) use vsock::SocketFile;
pub use vsock::VsockError;

/// The unit in which disks are addressed, in bytes.
pub(super) const SECTOR: u64 = 512;

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
    Disk(DiskFile),
    Console,
    Port(UnixStream),
    Net(Network),
    Vsock(PathBuf),
}

impl OpenDevice {
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
            DiskFile::open(path, *read_only, disks - 1).map(OpenDevice::Disk)
        }
    };
    devices.iter().map(open).collect()
}

/// The locked file of a disk.
#[derive(Debug)]
pub(super) struct DiskFile {
    pub(super) file: File,
    pub(super) sectors: u64,
    pub(super) read_only: bool,
    /// The disk's number, from 0, which its identification contains.
    pub(super) number: usize,
}

impl DiskFile {
    pub(super) fn open(path: &Path, read_only: bool, number: usize) -> Result<Self, DeviceError> {
        let path = || path.to_owned();
        let mut options = OpenOptions::new();
        // Otherwise a pipe without a writer would block.
        options.custom_flags(OFlags::NONBLOCK.bits().cast_signed());
        let opened = options.read(true).write(!read_only).open(path());
        let file = opened.map_err(|cause| match cause.kind() {
            io::ErrorKind::IsADirectory => DeviceError::NotRegular { path: path() },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem if !read_only => {
                DeviceError::NotWritable { path: path() }
            }
            _ => DeviceError::Open {
                path: path(),
                cause,
            },
        })?;
        let metadata = file.metadata().map_err(|cause| DeviceError::Open {
            path: path(),
            cause,
        })?;
        if !metadata.is_file() {
            return Err(DeviceError::NotRegular { path: path() });
        }
        let length = metadata.len();
        if length == 0 || !length.is_multiple_of(SECTOR) {
            return Err(DeviceError::Size {
                path: path(),
                length,
            });
        }
        let how = match read_only {
            true => FlockOperation::NonBlockingLockShared,
            false => FlockOperation::NonBlockingLockExclusive,
        };
        flock(&file, how).map_err(|errno| match errno {
            Errno::WOULDBLOCK => DeviceError::Locked { path: path() },
            errno => DeviceError::Lock {
                path: path(),
                cause: errno.into(),
            },
        })?;
        Ok(Self {
            file,
            sectors: length / SECTOR,
            read_only,
            number,
        })
    }

    /// What the guest sees as the disk's identification.
    pub(super) fn identification(&self) -> String {
        format!("disk{}", self.number)
    }
}

impl Drop for DiskFile {
    fn drop(&mut self) {
        // Closing is not enough: a process that is just being started may still hold a copy of the
        // descriptor. It fails only if there is no lock.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use std::fs;

    fn disk(path: &Path, read_only: bool) -> Device {
        Device::Disk {
            path: path.to_owned(),
            read_only,
        }
    }

    fn refused(devices: &[Device]) -> String {
        open_all(devices).unwrap_err().to_string()
    }

    #[test]
    fn a_file_of_whole_sectors_is_a_disk() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a,b");
        fs::write(&path, [7; 1024]).unwrap();
        let devices = open_all(&[Device::Rng, disk(&path, false)]).unwrap();
        let [OpenDevice::Rng, OpenDevice::Disk(disk)] = &devices[..] else {
            panic!("{devices:?}");
        };
        assert_eq!((disk.sectors, disk.identification()), (2, "disk0".into()));
    }

    #[test]
    fn each_unusable_file_has_its_sentence() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        assert!(refused(&[disk(&path, false)]).contains("cannot be opened"));
        assert!(refused(&[disk(folder.path(), false)]).contains("no regular file"));
        assert!(refused(&[disk(folder.path(), true)]).contains("no regular file"));
        for length in [0, 1, 511, 513] {
            fs::write(&path, vec![0; length]).unwrap();
            let refused = refused(&[disk(&path, false)]);
            assert!(
                refused.contains(&format!("has {length} bytes")),
                "{refused}"
            );
        }
        let pipe = folder.path().join("pipe");
        let mode = Mode::RUSR | Mode::WUSR;
        mknodat(CWD, &pipe, FileType::Fifo, mode, 0).unwrap();
        for read_only in [true, false] {
            assert!(refused(&[disk(&pipe, read_only)]).contains("no regular file"));
        }
        let port = Device::Port { path: pipe };
        assert!(refused(&[port]).contains("start what listens there"));
        let many = vec![Device::Rng; MAX_DEVICES + 1];
        assert!(refused(&many).contains("and 8 were asked for"));
        assert!(refused(&[Device::Console, Device::Console]).contains("one virtio console"));
    }

    #[test]
    fn a_file_that_may_not_be_written_is_a_disk_to_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        fs::write(&path, [0; 512]).unwrap();
        let mut permissions = fs::metadata(&path).unwrap().permissions();
        permissions.set_readonly(true);
        fs::set_permissions(&path, permissions).unwrap();
        assert!(open_all(&[disk(&path, true)]).is_ok());
        // The administrator may write it nevertheless.
        if OpenOptions::new().write(true).open(&path).is_err() {
            assert!(refused(&[disk(&path, false)]).contains("may not be written"));
        }
    }

    #[test]
    fn a_disk_is_shared_only_by_readers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        fs::write(&path, [0; 512]).unwrap();
        let (read, write) = (disk(&path, true), disk(&path, false));
        let readers = open_all(&[read.clone(), read.clone()]).unwrap();
        assert!(refused(std::slice::from_ref(&write)).contains("locked"));
        drop(readers);
        let writer = open_all(std::slice::from_ref(&write)).unwrap();
        for other in [&read, &write] {
            assert!(refused(std::slice::from_ref(other)).contains("locked"));
        }
        drop(writer);
        assert!(refused(&[write.clone(), write]).contains("locked"));
        assert!(open_all(&[read]).is_ok());
    }
}
