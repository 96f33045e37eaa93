//! Sends to a peer that may be slow to read, or not read at all.

use std::{
    io::{self, ErrorKind},
    os::fd::AsFd,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{SendFlags, send},
};

/// How long a peer may take to read what it is sent, as a whole.
pub(super) const LIMIT: Duration = Duration::from_secs(1);

/// Sends all of these bytes.
///
/// # Errors
///
/// The connection has ended, or the peer has not read enough after a second.
pub(super) fn send_all(socket: impl AsFd, mut bytes: &[u8]) -> io::Result<()> {
    let end = Instant::now() + LIMIT;
    while !bytes.is_empty() {
        match send(&socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(length) => bytes = &bytes[length..],
            Err(Errno::AGAIN) => {
                let mut sockets = [PollFd::new(&socket, PollFlags::OUT)];
                let left = end.saturating_duration_since(Instant::now());
                // If it fails, it is tried again until the end.
                let _ = poll(&mut sockets, Timespec::try_from(left).ok().as_ref());
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if !bytes.is_empty() && Instant::now() >= end {
            return Err(ErrorKind::TimedOut.into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{io::Read, os::unix::net::UnixStream, thread};

    #[test]
    fn a_peer_that_reads_slowly_is_given_up_after_the_limit() {
        let (ours, mut peer) = UnixStream::pair().expect("sockets exist");
        let reader = thread::spawn(move || {
            let mut buffer = [0; 64 << 10];
            while peer.read(&mut buffer).is_ok_and(|length| length > 0) {
                thread::sleep(LIMIT / 10);
            }
        });
        let started = Instant::now();
        let error = send_all(&ours, &[0; 4 << 20]).expect_err("it reads too slowly");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(started.elapsed() < 2 * LIMIT, "{:?}", started.elapsed());
        drop(ours);
        reader.join().expect("it reads to the end");
    }

    #[test]
    fn a_peer_that_reads_is_sent_everything() {
        let (ours, mut peer) = UnixStream::pair().expect("sockets exist");
        let reader = thread::spawn(move || {
            let mut all = Vec::new();
            peer.read_to_end(&mut all).map(|_| all)
        });
        let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(1 << 20).collect();
        send_all(&ours, &bytes).expect("it reads");
        drop(ours);
        let read = reader.join().expect("no panic").expect("it reads");
        assert!(read == bytes, "something else was read");
    }

    #[test]
    fn a_peer_that_is_gone_is_an_error_at_once() {
        let (ours, peer) = UnixStream::pair().expect("sockets exist");
        drop(peer);
        assert!(send_all(&ours, &[0; 4 << 20]).is_err());
    }
}
