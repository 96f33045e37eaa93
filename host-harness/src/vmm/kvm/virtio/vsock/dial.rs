//! Connections that a process asks another one for, since it may open no socket: a port's number
//! goes one way, and a socket comes back, or none.

use std::{
    io::{self, IoSlice, IoSliceMut, Read},
    mem::MaybeUninit,
    os::{fd::OwnedFd, unix::net::UnixStream},
};

use rustix::{
    io::{Errno, retry_on_intr},
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, recvmsg, send, sendmsg,
    },
};

/// The byte that comes with each answer.
const ANSWER: [u8; 1] = [0];

/// Asks for a connection to the program that serves this port.
pub(super) fn ask(dial: &UnixStream, port: u32) -> io::Result<OwnedFd> {
    let flags = SendFlags::NOSIGNAL;
    while let Err(error) = send(dial, &port.to_le_bytes(), flags) {
        if error != Errno::INTR {
            return Err(error.into());
        }
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut buffer = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut byte = [0];
        let mut bytes = [IoSliceMut::new(&mut byte)];
        match recvmsg(dial, &mut bytes, &mut buffer, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            received => break received?,
        }
    };
    if received.bytes == 0 || received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let socket = buffer.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut files) => files.next(),
        _ => None,
    });
    socket.ok_or_else(|| io::ErrorKind::ConnectionRefused.into())
}

/// Answers what is asked until the other end is closed.
pub(super) fn serve(mut dial: &UnixStream, connect: impl Fn(u32) -> io::Result<UnixStream>) {
    let mut port = [0; 4];
    while dial.read_exact(&mut port).is_ok() {
        let socket = connect(u32::from_le_bytes(port));
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut buffer = SendAncillaryBuffer::new(&mut space);
        let files = socket
            .as_ref()
            .map(|socket| [std::os::fd::AsFd::as_fd(socket)]);
        if let Ok(files) = &files {
            // There is room for one.
            buffer.push(SendAncillaryMessage::ScmRights(files));
        }
        let answer = [IoSlice::new(&ANSWER)];
        let flags = SendFlags::NOSIGNAL;
        if retry_on_intr(|| sendmsg(dial, &answer, &mut buffer, flags)).is_err() {
            // The kernel refuses where too many files are on their way. This fails only if the
            // other end is closed.
            let _ = retry_on_intr(|| send(dial, &ANSWER, flags));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, thread};

    use super::*;

    #[test]
    fn who_asks_gets_a_socket_or_is_refused() {
        let (asks, serves) = UnixStream::pair().unwrap();
        let (far, near) = UnixStream::pair().unwrap();
        let answers = thread::spawn(move || {
            serve(&serves, |port| match port {
                7 => near.try_clone(),
                _ => Err(io::ErrorKind::NotFound.into()),
            });
        });
        for _ in 0..3 {
            let refused = ask(&asks, 8).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
            let mut socket = UnixStream::from(ask(&asks, 7).unwrap());
            socket.write_all(b"x").unwrap();
            (&far).read_exact(&mut [0]).unwrap();
        }
        drop(asks);
        answers.join().unwrap();
    }

    #[test]
    fn where_nobody_answers_it_is_an_error() {
        let (asks, serves) = UnixStream::pair().unwrap();
        drop(serves);
        ask(&asks, 7).unwrap_err();
    }
}
