//! The socket of a port: connecting to it does not wait.

use std::{io, os::unix::net::UnixStream, path::Path};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

/// Connects to the program that listens there. Where connections wait to be accepted, and no more
/// may, this fails.
pub(super) fn connected(path: &Path) -> io::Result<UnixStream> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    let socket = UnixStream::from(socket);
    socket.set_nonblocking(false)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{bind, listen};
    use std::{sync::mpsc, thread, time::Duration};

    #[test]
    fn a_backlog_that_is_full_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("port");
        let flags = SocketFlags::CLOEXEC;
        let listener = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
        bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        // One connection waits.
        listen(&listener, 0).unwrap();
        let _first = connected(&path).unwrap();
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || sender.send(connected(&path)));
        let second = receiver.recv_timeout(Duration::from_secs(30)).unwrap();
        assert_eq!(second.unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}
