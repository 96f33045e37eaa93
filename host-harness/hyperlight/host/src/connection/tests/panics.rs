//! Connections that panic: it reaches the caller, and nothing is left running.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;

/// When a connection panics, or has no second handle.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    Read,
    Write,
    Clone,
}

struct Faulty {
    socket: UnixStream,
    fault: Fault,
}

impl Read for Faulty {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        assert!(self.fault != Fault::Read, "as it is to");
        self.socket.read(bytes)
    }
}

impl Write for Faulty {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        assert!(self.fault != Fault::Write, "as it is to");
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

impl Connection for Faulty {
    fn try_clone(&self) -> io::Result<Self> {
        if self.fault == Fault::Clone {
            return Err(ErrorKind::Unsupported.into());
        }
        let socket = self.socket.try_clone()?;
        Ok(Self { socket, ..*self })
    }

    fn shutdown(&self) -> io::Result<()> {
        Connection::shutdown(&self.socket)
    }
}

/// Serves a guest that makes a call and waits for the end. Returns how serving it ended.
fn serve(fault: Fault) -> thread::Result<Result<(), ServeError>> {
    let host = Arc::new(echo());
    let (socket, guests) = UnixStream::pair().expect("a socket");
    let _open = socket.try_clone().expect("a second handle");
    let mut guest = Guest::new(guests);
    guest.call("echo", b"1");
    guest.send(false);
    let (sender, receiver) = mpsc::channel();
    // It is not joined: if it hangs, the test fails nevertheless.
    let serving = Arc::clone(&host);
    thread::spawn(move || {
        let served = AssertUnwindSafe(|| serving.serve(Faulty { socket, fault }));
        sender.send(catch_unwind(served))
    });
    let end = receiver.recv_timeout(LIMIT).expect("it ends");
    let mut rest = Vec::new();
    assert!(
        guest.socket.read_to_end(&mut rest).is_ok(),
        "it is shut down"
    );
    assert_eq!((rest.len(), host.usage().bytes), (0, 0));
    // The host serves another.
    let (socket, guests) = UnixStream::pair().expect("a socket");
    drop(guests);
    assert!(host.serve(socket).is_ok());
    end
}

#[test]
fn a_panic_reaches_the_caller() {
    for fault in [Fault::Read, Fault::Write] {
        let panic = serve(fault).expect_err("it panics");
        assert_eq!(panic.downcast_ref(), Some(&"as it is to"));
    }
}

#[test]
fn a_connection_without_a_second_handle_is_shut_down() {
    let end = serve(Fault::Clone).expect("it does not panic");
    assert!(matches!(end, Err(ServeError::Io(_))), "{end:?}");
}
