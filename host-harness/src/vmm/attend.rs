//! Attends a child process whose standard output is a guest's console: reads it until the child
//! ends or must be ended.

use std::{
    io::{self, ErrorKind, Read},
    os::fd::AsFd,
    process::ChildStderr,
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread::{Builder, ScopedJoinHandle, scope, sleep},
    time::{Duration, Instant},
};

use rustix::{event::PollFlags, io::ioctl_fionread};

use super::{console::Console, error::RunError, feed::is_ready, outcome::Outcome};
use crate::process::Child;
use crate::stop::StopToken;

/// How often the stop token and the process are checked.
const STOP_INTERVAL: Duration = Duration::from_millis(20);

/// How often a process is checked whose console has ended, so that it should end too.
const END_INTERVAL: Duration = Duration::from_millis(1);

/// How much of the console is read at once.
const CHUNK: usize = 16 << 10;

/// A message from the threads that read the child's output.
enum ReaderMessage {
    /// The console has ended: because the child has, or because the run must end with this outcome.
    ConsoleEnded(Result<(), Outcome>),
    /// The child has reported that it gives up on its guest.
    GaveUp,
}

/// How the child ended.
pub(crate) enum ChildEnd {
    ByItself,
    /// The child gave up on its guest, and was ended.
    GaveUp,
    /// The run had to be ended, with this outcome.
    Cut(Outcome),
    /// It was still running at this time limit, and its console was read to the end.
    Late(Duration),
}

impl ChildEnd {
    /// The same where a child that is late has not ended, whatever it says.
    pub(crate) fn strict(self) -> Self {
        match self {
            Self::Late(limit) => Self::Cut(Outcome::TimedOut { limit, place: None }),
            other => other,
        }
    }
}

/// The limits of a run.
pub(crate) struct Limits<'a> {
    pub(crate) timeout: Duration,
    /// Returns when the time ends; `None` if it does not, or not yet.
    pub(crate) deadline: &'a dyn Fn() -> Option<Instant>,
    pub(crate) stop: &'a StopToken,
    /// Asks the guest at the time limit what it is doing. Returns how long it then has to report
    /// that, before it is ended.
    pub(crate) ask: Option<&'a dyn Fn() -> Duration>,
    /// Asks the child to end, when the run is stopped or its console fails. Returns how long it
    /// then has.
    pub(crate) ask_to_end: Option<&'a dyn Fn() -> Duration>,
}

/// Reads the child's output until it ends or must be ended. On return, none of its processes is
/// running, and all reader threads have ended.
///
/// `listen` reads its standard error, on a thread of its own, and may report that the child gives
/// up.
pub(crate) fn attend<T: Send>(
    child: &mut Child,
    console: &mut Console<'_>,
    limits: &Limits<'_>,
    leave: &AtomicBool,
    listen: impl FnOnce(Option<UntilGone<'_, ChildStderr>>, &dyn Fn()) -> T + Send,
) -> Result<(ChildEnd, T), RunError> {
    let is_gone = &AtomicBool::new(false);
    let stdout = child
        .take_stdout()
        .map(|pipe| UntilGone::new(pipe, is_gone));
    let stderr = child
        .take_stderr()
        .map(|pipe| UntilGone::new(pipe, is_gone));
    let failed = |cause| RunError::Resource {
        what: "a thread to read a process's output",
        cause,
    };
    scope(|scope| {
        let (sender, receiver) = channel();
        let of_stderr = sender.clone();
        let of_console = Builder::new()
            .name("console-reader".into())
            .spawn_scoped(scope, move || forward(stdout, console, &sender))
            .map_err(failed)?;
        let of_messages = Builder::new()
            .name("message-reader".into())
            .spawn_scoped(scope, move || {
                listen(stderr, &|| drop(of_stderr.send(ReaderMessage::GaveUp)))
            })
            .map_err(|cause| {
                // The scope waits for the first reader, which waits for the child.
                child.kill();
                failed(cause)
            })?;
        let end = watch(child, &receiver, limits, is_gone);
        leave.store(true, Ordering::SeqCst);
        let is_late = matches!(end, ChildEnd::Cut(Outcome::TimedOut { .. }));
        if let (ChildEnd::Cut(_), false, Some(ask_to_end)) = (&end, is_late, limits.ask_to_end) {
            let (asked, patience) = (Instant::now(), ask_to_end());
            while asked.elapsed() < patience && !child.has_ended().unwrap_or(true) {
                sleep(END_INTERVAL);
            }
        }
        if !matches!(end, ChildEnd::ByItself) {
            child.kill();
        }
        // The readers end now, and are joined, so that no thread is left.
        is_gone.store(true, Ordering::SeqCst);
        let was_read = joined(of_console);
        let end = match end {
            ChildEnd::Cut(Outcome::TimedOut { limit, .. }) if was_read => ChildEnd::Late(limit),
            other => other,
        };
        Ok((end, joined(of_messages)))
    })
}

/// A pipe of a child, which also ends when the child is gone and what it wrote is read. A child can
/// leave the other end behind where it stays open, for instance in a socket's queue.
#[derive(Debug)]
pub(crate) struct UntilGone<'a, P> {
    pipe: P,
    is_gone: &'a AtomicBool,
    /// How many bytes are left of a child that is gone.
    left: Option<u64>,
}

impl<'a, P> UntilGone<'a, P> {
    fn new(pipe: P, is_gone: &'a AtomicBool) -> Self {
        Self {
            pipe,
            is_gone,
            left: None,
        }
    }
}

impl<P: Read + AsFd> Read for UntilGone<'_, P> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(left) = &mut self.left {
                let most = usize::try_from(*left)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                let length = self.pipe.read(&mut bytes[..most])?;
                *left -= length as u64;
                return Ok(length);
            }
            if self.is_gone.load(Ordering::SeqCst) {
                // All that it wrote is in the pipe now.
                self.left = Some(ioctl_fionread(self.pipe.as_fd())?);
            } else if is_ready(self.pipe.as_fd(), PollFlags::IN, STOP_INTERVAL) {
                return self.pipe.read(bytes);
            }
        }
    }
}

/// Joins a thread and returns its result; propagates its panic.
pub(super) fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Forwards the guest's output until it ends or must be ended. Returns whether all was forwarded.
fn forward(
    stdout: Option<impl Read>,
    console: &mut Console<'_>,
    sender: &Sender<ReaderMessage>,
) -> bool {
    let mut chunk = vec![0; CHUNK];
    let mut result = Ok(());
    if let Some(mut stdout) = stdout {
        while result.is_ok() {
            result = match stdout.read(&mut chunk) {
                Ok(0) => break,
                Ok(length) => console.write(&chunk[..length]),
                Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
                // The pipe has failed in an unknown way: treated as its end.
                Err(_) => break,
            };
        }
    }
    let is_whole = result.is_ok();
    // The receiver may be gone, because it reached the deadline first.
    let _ = sender.send(ReaderMessage::ConsoleEnded(result));
    is_whole
}

/// Waits until the child and its console have ended, or the run must end. `is_gone` is set when the
/// child has ended.
fn watch(
    child: &mut Child,
    receiver: &Receiver<ReaderMessage>,
    limits: &Limits<'_>,
    is_gone: &AtomicBool,
) -> ChildEnd {
    // Set when it is asked for a report.
    let mut report_end = None;
    let (mut child_ended, mut console_ended) = (false, false);
    let timed_out = || {
        ChildEnd::Cut(Outcome::TimedOut {
            limit: limits.timeout,
            place: None,
        })
    };
    loop {
        if limits.stop.is_stopped() {
            return ChildEnd::Cut(Outcome::Stopped);
        }
        let deadline = report_end.or_else(limits.deadline);
        let remaining = deadline.map_or(STOP_INTERVAL, |at| {
            at.saturating_duration_since(Instant::now())
        });
        if remaining.is_zero() {
            let (Some(ask), None, false) = (limits.ask, report_end, child_ended) else {
                return timed_out();
            };
            report_end = Some(Instant::now() + ask());
            continue;
        }
        // An error would mean that it is not our child, which is impossible.
        if !child_ended && child.has_ended().unwrap_or(true) {
            // With all its descendants.
            child_ended = true;
            is_gone.store(true, Ordering::SeqCst);
        }
        if child_ended && console_ended {
            // If it was asked, it ended because of that.
            return if report_end.is_some() {
                timed_out()
            } else {
                ChildEnd::ByItself
            };
        }
        let interval = if console_ended {
            END_INTERVAL
        } else {
            STOP_INTERVAL
        };
        match receiver.recv_timeout(remaining.min(interval)) {
            Ok(ReaderMessage::ConsoleEnded(Ok(()))) => console_ended = true,
            Ok(ReaderMessage::ConsoleEnded(Err(outcome))) => return ChildEnd::Cut(outcome),
            Ok(ReaderMessage::GaveUp) => return ChildEnd::GaveUp,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) if console_ended => sleep(END_INTERVAL),
            // A reader panicked; its panic is propagated when it is joined.
            Err(RecvTimeoutError::Disconnected) => return ChildEnd::GaveUp,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_pipe_that_is_left_behind_ends_with_its_child() {
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(b"last words").unwrap();
        let is_gone = AtomicBool::new(true);
        let mut text = String::new();
        let read = UntilGone::new(reader, &is_gone).read_to_string(&mut text);
        assert_eq!((read.unwrap(), &*text), (10, "last words"));
        drop(writer);
    }

    /// Whoever has the other end may write for ever.
    #[test]
    fn a_pipe_that_is_flooded_ends_with_its_child() {
        let (reader, mut writer) = io::pipe().unwrap();
        let floods = std::thread::spawn(move || while writer.write_all(&[b'x'; 4096]).is_ok() {});
        let is_gone = AtomicBool::new(true);
        let mut pipe = UntilGone::new(reader, &is_gone);
        let read = io::copy(&mut pipe, &mut io::sink());
        assert!(read.unwrap() <= 64 << 10);
        drop(pipe);
        floods.join().unwrap();
    }

    /// However slowly it is read on.
    #[test]
    fn what_a_child_wrote_before_its_end_is_not_lost() {
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(&[b'x'; 60_000]).unwrap();
        let is_gone = AtomicBool::new(false);
        let mut pipe = UntilGone::new(reader, &is_gone);
        let mut bytes = [0; 16 << 10];
        let mut read = pipe.read(&mut bytes).unwrap();
        is_gone.store(true, Ordering::SeqCst);
        drop(writer);
        loop {
            sleep(Duration::from_millis(400));
            match pipe.read(&mut bytes).unwrap() {
                0 => break,
                length => read += length,
            }
        }
        assert_eq!(read, 60_000);
    }
}
