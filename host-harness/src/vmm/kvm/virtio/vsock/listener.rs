//! The Unix sockets of this host. Nothing here waits, but for an answer of the process that opens
//! sockets for this one.

use std::{
    ffi::OsString,
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Mode, fchmod},
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind,
        connect, listen, recv, socket_with,
    },
    process::{Resource, getrlimit},
};

use super::dial;
use crate::vmm::device::SocketFile;

const FLAGS: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);

/// How many connections of programs wait to be accepted.
const BACKLOG: i32 = 128;

/// How many of the files that this process may have open are left to others than the guest.
const FILES_FOR_OTHERS: u64 = 256;

/// The longest line by which a program names a port, with its line feed.
const LONGEST_LINE: usize = "CONNECT 4294967295\n".len();

/// The socket to which this host's programs connect, and the way to those that the guest connects
/// to.
pub(in crate::vmm::kvm) struct VsockListener {
    socket: OwnedFd,
    way: Way,
    /// How many files this process may have open, which it cannot ask while a guest runs.
    most_files: u64,
}

enum Way {
    /// By their sockets beside this one. The file is removed when this is dropped.
    Files(SocketFile),
    /// By a process that may open sockets.
    Asks(UnixStream),
}

impl VsockListener {
    /// Makes the file, which only this user may open.
    pub(in crate::vmm::kvm) fn new(path: &Path) -> io::Result<Self> {
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)?;
        // The file gets the mode that the socket has.
        fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
        bind(&socket, &SocketAddrUnix::new(path)?)?;
        let file = SocketFile::new(path)?;
        listen(&socket, BACKLOG)?;
        Ok(Self::with(socket, Way::Files(file)))
    }

    /// One whose socket another process has made, which [serves](Self::serve) the other end of
    /// `dial`.
    pub(in crate::vmm::kvm) fn passed(socket: OwnedFd, dial: UnixStream) -> Self {
        Self::with(socket, Way::Asks(dial))
    }

    fn with(socket: OwnedFd, way: Way) -> Self {
        let most_files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        Self {
            socket,
            way,
            most_files,
        }
    }

    /// Whether this process may open enough other files beside this socket, which is new.
    pub(super) fn leaves_enough_files(&self, socket: &impl AsRawFd) -> bool {
        // The kernel gives the lowest number that is free.
        (socket.as_raw_fd() as u64) < self.most_files.saturating_sub(FILES_FOR_OTHERS)
    }

    /// Returns a copy of the socket, for another process.
    pub(in crate::vmm::kvm) fn socket(&self) -> io::Result<OwnedFd> {
        self.socket.try_clone()
    }

    /// Connects whom another process asks for, until that ends.
    pub(in crate::vmm::kvm) fn serve(&self, dial: &UnixStream) {
        dial::serve(dial, |port| self.connect(port));
    }

    /// Accepts a program's connection, if one waits.
    pub(super) fn accept(&self) -> io::Result<Option<UnixStream>> {
        loop {
            match accept_with(&self.socket, FLAGS) {
                Ok(socket) => return Ok(Some(socket.into())),
                Err(Errno::WOULDBLOCK) => return Ok(None),
                // The program has gone, or a signal came.
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Connects to the program that serves this port: it listens to the socket whose path has an
    /// underscore and the port's number behind it.
    pub(super) fn connect(&self, port: u32) -> io::Result<UnixStream> {
        let socket = match &self.way {
            Way::Asks(dial) => dial::ask(dial, port)?,
            Way::Files(file) => connected(file.path(), port)?,
        };
        if !self.leaves_enough_files(&socket) {
            return Err(Errno::MFILE.into());
        }
        Ok(socket.into())
    }
}

impl AsFd for VsockListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn connected(path: &Path, port: u32) -> io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)?;
    let mut path = OsString::from(path);
    path.push(format!("_{port}"));
    // It does not wait: where a program does not accept, it fails.
    connect(&socket, &SocketAddrUnix::new(PathBuf::from(path))?)?;
    Ok(socket)
}

/// What a program has sent so far to say which port it wants.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    Port(u32),
    NotYet,
    Wrong,
}

/// Takes the line from the socket, and nothing of what follows it.
pub(super) fn take_line(socket: &UnixStream) -> Line {
    let mut bytes = [0; LONGEST_LINE];
    let came = match recv(socket, &mut bytes[..], RecvFlags::PEEK) {
        Ok((_, 0)) => return Line::Wrong,
        Ok((_, came)) => &bytes[..came],
        Err(Errno::WOULDBLOCK | Errno::INTR) => return Line::NotYet,
        Err(_) => return Line::Wrong,
    };
    let Some(end) = came.iter().position(|byte| *byte == b'\n') else {
        return match came.len() < LONGEST_LINE {
            true => Line::NotYet,
            false => Line::Wrong,
        };
    };
    let port = port(&came[..end]);
    // All of it is there.
    let is_taken = recv(socket, &mut bytes[..=end], RecvFlags::empty()).is_ok();
    port.filter(|_| is_taken).map_or(Line::Wrong, Line::Port)
}

fn port(line: &[u8]) -> Option<u32> {
    let digits = line.strip_prefix(b"CONNECT ")?;
    let is_number = digits.iter().all(u8::is_ascii_digit);
    let digits = str::from_utf8(digits).ok().filter(|_| is_number)?;
    digits.parse().ok()
}
