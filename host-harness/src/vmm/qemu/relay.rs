//! Connects debuggers to QEMU: each in turn, from the port to a socket that only QEMU has.
//!
//! QEMU itself would give every debugger its monitor, and would leave the guest stopped when a
//! connection breaks.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    os::{
        fd::OwnedFd,
        unix::net::{UnixListener, UnixStream},
    },
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tempfile::TempDir;

use super::packets::{Request, Requests};
use crate::vmm::{
    gdb::{DebuggerPresence, GdbListener},
    send::send_all,
};

/// How often a request to leave is looked for.
const INTERVAL: Duration = Duration::from_millis(20);

/// How long QEMU may take to let the guest run.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// The request to remove all breakpoints and let the guest run. QEMU takes requests only while the
/// guest is stopped, and after an acknowledgement of its last answer: so these come first. Between
/// them is the end of a request that was sent in part, with a checksum. The number is that of the
/// only process, which it needs if the debugger has named that feature.
const DETACH: &[u8] = b"+#00\x03$D;1#b0";
/// The answer.
const DETACHED: &[u8] = b"$OK#9a";

/// The way from the port to QEMU.
#[derive(Debug)]
pub(super) struct Relay {
    listener: GdbListener,
    /// Contains the socket to which QEMU listens. No other user can open it.
    folder: TempDir,
    presence: DebuggerPresence,
}

/// How a connection ended.
enum End {
    /// The debugger has detached, and the guest runs.
    Detached,
    /// The debugger's end was closed, or failed.
    Debugger,
    /// QEMU has ended, or the run must end.
    Run,
}

impl Relay {
    /// Makes a relay, and the socket to which QEMU is to listen.
    pub(super) fn new(listener: GdbListener) -> io::Result<(Self, OwnedFd)> {
        let folder = tempfile::tempdir()?;
        let relay = Self {
            listener,
            folder,
            presence: DebuggerPresence::default(),
        };
        let socket = UnixListener::bind(relay.path())?;
        Ok((relay, socket.into()))
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("gdb")
    }

    pub(super) fn presence(&self) -> &DebuggerPresence {
        &self.presence
    }

    /// Serves one debugger after another until `leave` is set.
    pub(super) fn run(&self, leave: &AtomicBool) {
        let mut has_run = false;
        while !leave.load(Ordering::SeqCst) {
            let [is_there] = readable([PollFd::new(self.listener.socket(), PollFlags::IN)]);
            if !is_there {
                continue;
            }
            let Some(debugger) = self.listener.accept() else {
                continue;
            };
            // This stops the guest. If QEMU has ended, the debugger's connection ends too.
            let Ok(qemu) = UnixStream::connect(self.path()) else {
                continue;
            };
            self.presence.set(true);
            let mut has_asked = false;
            let end = serve(&debugger, &qemu, &mut has_asked, leave);
            has_run |= has_asked;
            match end {
                Ok(End::Detached) => has_run = true,
                Ok(End::Debugger) if has_run => let_run(&qemu),
                Ok(End::Debugger) => {}
                Ok(End::Run) => continue,
                Err(_) => {
                    // QEMU may be writing to this connection, and reads again when it is closed.
                    drop((debugger, qemu));
                    if has_run && let Ok(qemu) = UnixStream::connect(self.path()) {
                        let_run(&qemu);
                    }
                }
            }
            self.presence.set(!has_run);
        }
    }
}

/// Waits for input, for a short time; returns which of the sockets have some.
fn readable<const N: usize>(mut sockets: [PollFd<'_>; N]) -> [bool; N] {
    let limit = Timespec::try_from(INTERVAL).unwrap_or_default();
    // If it fails, nothing has come.
    let _ = poll(&mut sockets, Some(&limit));
    sockets.map(|socket| !socket.revents().is_empty())
}

/// Passes requests and answers until one side ends, and notes in `has_asked` that there was a
/// request. An error is QEMU's.
fn serve(
    mut debugger: &TcpStream,
    mut qemu: &UnixStream,
    has_asked: &mut bool,
    leave: &AtomicBool,
) -> io::Result<End> {
    // The listener does not block, and its connections may have inherited that.
    debugger.set_nonblocking(false)?;
    debugger.set_nodelay(true)?;
    let mut requests = Requests::default();
    let mut buffer = [0; 4096];
    while !leave.load(Ordering::SeqCst) {
        let [asks, answers] = readable([
            PollFd::new(debugger, PollFlags::IN),
            PollFd::new(qemu, PollFlags::IN),
        ]);
        if answers {
            let length = qemu.read(&mut buffer)?;
            if length == 0 {
                return Ok(End::Run);
            }
            if send_all(debugger, &buffer[..length]).is_err() {
                return Ok(End::Debugger);
            }
        }
        if asks {
            let length = debugger.read(&mut buffer).unwrap_or(0);
            if length == 0 {
                return Ok(End::Debugger);
            }
            for byte in &buffer[..length] {
                // Among them may be many requests, and either side may be slow to read.
                if leave.load(Ordering::SeqCst) {
                    return Ok(End::Run);
                }
                match requests.push(*byte) {
                    Ok(None) => {}
                    Ok(Some(Request::Pass(bytes))) => {
                        *has_asked |= bytes.starts_with(b"$");
                        send_all(qemu, &bytes)?;
                    }
                    // Whatever QEMU is asked after it has detached makes it crash. So it is
                    // detached at the end of the connection only.
                    Ok(Some(Request::Detach)) => {
                        let_run(qemu);
                        // Where this fails, the debugger is gone already.
                        let _ = send_all(debugger, b"+$OK#9a");
                        return Ok(End::Detached);
                    }
                    Ok(Some(Request::Refuse(answer))) => {
                        if send_all(debugger, answer).is_err() {
                            return Ok(End::Debugger);
                        }
                    }
                    Err(_) => return Ok(End::Debugger),
                }
            }
        }
    }
    Ok(End::Run)
}

/// Lets the guest run without a debugger, and waits until QEMU has answered.
fn let_run(mut qemu: &UnixStream) {
    let mut answers = Vec::new();
    let mut buffer = [0; 512];
    let limit = qemu.set_read_timeout(Some(ANSWER_LIMIT));
    let mut sent = limit.and_then(|()| send_all(qemu, DETACH));
    // Where it fails, QEMU has ended.
    while sent.is_ok() && !answers.ends_with(DETACHED) {
        sent = match qemu.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(length) => answers.write_all(&buffer[..length]),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{net::Ipv4Addr, thread::scope, time::Instant};

    /// How long everything may take here.
    const LIMIT: Duration = Duration::from_secs(20);

    /// Returns whether this happens in time.
    fn happens(mut condition: impl FnMut() -> bool) -> bool {
        let end = Instant::now() + LIMIT;
        while Instant::now() < end {
            if condition() {
                return true;
            }
            std::thread::sleep(INTERVAL);
        }
        false
    }

    /// Sends QEMU more requests than it reads. Returns whether QEMU was then told to let the guest
    /// run.
    fn overfill(port: u16, qemu: &UnixListener) -> io::Result<bool> {
        let mut debugger = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        let (_silent, _) = qemu.accept()?;
        debugger.set_write_timeout(Some(LIMIT))?;
        while debugger.write_all(&b"$g#67".repeat(1000)).is_ok() {}
        qemu.set_nonblocking(true)?;
        let mut next = None;
        happens(|| {
            next = qemu.accept().ok();
            next.is_some()
        });
        let Some((mut next, _)) = next else {
            return Ok(false);
        };
        next.set_nonblocking(false)?;
        let mut sent = [0; DETACH.len()];
        next.read_exact(&mut sent)?;
        next.write_all(DETACHED)?;
        Ok(sent == DETACH)
    }

    #[test]
    fn where_qemu_does_not_read_the_guest_runs_and_its_time_counts() {
        let listener = GdbListener::bind(0).expect("a port is free");
        let port = listener.port();
        let (relay, socket) = Relay::new(listener).expect("there is a socket");
        let leave = AtomicBool::new(false);
        let (runs, counts) = scope(|scope| {
            scope.spawn(|| relay.run(&leave));
            let runs = overfill(port, &UnixListener::from(socket));
            let counts = happens(|| relay.presence().deadline(LIMIT).is_some());
            leave.store(true, Ordering::SeqCst);
            (runs, counts)
        });
        assert!(runs.expect("the sockets work"), "it was not let run");
        assert!(counts, "its time does not count");
    }
}
