//! A guest's input as it is read: without waiting for what another reader has taken.

use std::{
    fs::File,
    io::{self, Read},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{FileType, Mode, OFlags, fstat, open},
    net::{RecvFlags, recv},
};

/// A descriptor that is read when it is ready. Other readers may have been faster: a pipe or socket
/// then has nothing, and says so. A terminal waits. The flags of the descriptor itself, which
/// others share, stay as they are.
pub(super) struct Source {
    file: File,
    is_socket: bool,
}

impl Source {
    pub(super) fn new(descriptor: &OwnedFd) -> io::Result<Self> {
        let kind = FileType::from_raw_mode(fstat(descriptor)?.st_mode);
        let again = || {
            let path = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
            open(path, flags, Mode::empty())
        };
        let opened = match kind {
            // It fails for a pipe of another user's.
            FileType::Fifo => again().ok(),
            _ => None,
        };
        Ok(Self {
            file: match opened {
                Some(opened) => opened.into(),
                None => descriptor.try_clone()?.into(),
            },
            is_socket: kind == FileType::Socket,
        })
    }
}

impl AsFd for Source {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Read for Source {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.is_socket {
            let (length, _) = recv(&self.file, bytes, RecvFlags::DONTWAIT)?;
            return Ok(length);
        }
        self.file.read(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::fcntl_getfl;
    use std::{io::Write, os::unix::net::UnixStream};

    #[test]
    fn what_another_reader_took_is_not_waited_for() {
        let (socket, other_end) = UnixStream::pair().unwrap();
        let (pipe, writer) = io::pipe().unwrap();
        for (input, writer) in [
            (OwnedFd::from(socket), OwnedFd::from(other_end)),
            (pipe.into(), writer.into()),
        ] {
            let mut writer = File::from(writer);
            let (mut source, mut bytes) = (Source::new(&input).unwrap(), [0; 8]);
            writer.write_all(b"text").unwrap();
            assert_eq!(source.read(&mut bytes).unwrap(), 4);
            let nothing = source.read(&mut bytes).unwrap_err();
            assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
            // Who else has the descriptor is not concerned.
            assert!(!fcntl_getfl(&input).unwrap().contains(OFlags::NONBLOCK));
            drop(writer);
            assert_eq!(source.read(&mut bytes).unwrap(), 0);
        }
    }
}
