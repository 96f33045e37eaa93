//! A child process whose standard output is a guest's console: read until it ends, or must end.

use std::{
    io::{ErrorKind, Read},
    process::ChildStderr,
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread::{Builder, ScopedJoinHandle, scope, sleep},
    time::{Duration, Instant},
};

use super::{Outcome, RunError, StopToken, console::Console};
use crate::process::Child;

/// How often the stop token and the process are looked at.
const STOP_INTERVAL: Duration = Duration::from_millis(20);

/// How often a process is looked at whose console has ended, so that it should end too.
const END_INTERVAL: Duration = Duration::from_millis(1);

/// How much of the console is read at once.
const CHUNK: usize = 16 << 10;

/// What the threads that read the child's output have to say.
enum Event {
    /// The console has ended: with the child's end, or because the run must end so.
    ConsoleEnded(Result<(), Outcome>),
    /// The child said that it gives its guest up.
    GaveUp,
}

/// How a run ended.
pub(crate) enum End {
    ByItself,
    /// The child gave its guest up, and was ended.
    GaveUp,
    /// The run had to end so.
    Cut(Outcome),
}

/// What a run may take.
pub(crate) struct Limits<'a> {
    pub(crate) started: Instant,
    pub(crate) timeout: Duration,
    pub(crate) stop: &'a StopToken,
}

/// Reads the child's output until it ends or must end. Then none of its processes runs any more, and all readers
/// have ended.
///
/// `listen` reads its standard error, on a thread of its own, and may say that the child gives up.
pub(crate) fn attend<T: Send>(
    child: &mut Child,
    console: &mut Console<'_>,
    limits: &Limits<'_>,
    leave: &AtomicBool,
    listen: impl FnOnce(Option<ChildStderr>, &dyn Fn()) -> T + Send,
) -> Result<(End, T), RunError> {
    let (stdout, stderr) = (child.take_stdout(), child.take_stderr());
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
                listen(stderr, &|| drop(of_stderr.send(Event::GaveUp)))
            })
            .map_err(|cause| {
                // The scope waits for the first reader, which waits for the child.
                child.kill();
                failed(cause)
            })?;
        let end = watch(child, &receiver, limits);
        leave.store(true, Ordering::SeqCst);
        if !matches!(end, End::ByItself) {
            child.kill();
        }
        // They end now, for nobody holds the child's pipes any more. Joined, so that not even a thread
        // that is about to end is left.
        joined(of_console);
        Ok((end, joined(of_messages)))
    })
}

/// What a thread gives at its end; its panic is passed on.
fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Passes the guest's output on until it ends or must end.
fn forward(stdout: Option<impl Read>, console: &mut Console<'_>, sender: &Sender<Event>) {
    let mut chunk = vec![0; CHUNK];
    let mut result = Ok(());
    if let Some(mut stdout) = stdout {
        while result.is_ok() {
            result = match stdout.read(&mut chunk) {
                Ok(0) => break,
                Ok(length) => console.write(&chunk[..length]),
                Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
                // The pipe is broken in an unknown way: as good as ended.
                Err(_) => break,
            };
        }
    }
    // Whoever would hear it may have seen the deadline first.
    let _ = sender.send(Event::ConsoleEnded(result));
}

/// Waits for the child's end and for that of its console, or until the run must end.
fn watch(child: &mut Child, receiver: &Receiver<Event>, limits: &Limits<'_>) -> End {
    let deadline = limits.started.checked_add(limits.timeout);
    let (mut child_ended, mut console_ended) = (false, false);
    loop {
        if limits.stop.is_stopped() {
            return End::Cut(Outcome::Stopped);
        }
        let left = deadline.map_or(STOP_INTERVAL, |at| {
            at.saturating_duration_since(Instant::now())
        });
        if left.is_zero() {
            return End::Cut(Outcome::TimedOut {
                limit: limits.timeout,
                place: None,
            });
        }
        // An error means that it is not ours to wait for, which cannot be.
        if !child_ended && child.has_ended().unwrap_or(true) {
            // With all that it started, so that nobody holds the console open.
            child_ended = true;
        }
        if child_ended && console_ended {
            return End::ByItself;
        }
        let interval = if console_ended {
            END_INTERVAL
        } else {
            STOP_INTERVAL
        };
        match receiver.recv_timeout(left.min(interval)) {
            Ok(Event::ConsoleEnded(Ok(()))) => console_ended = true,
            Ok(Event::ConsoleEnded(Err(outcome))) => return End::Cut(outcome),
            Ok(Event::GaveUp) => return End::GaveUp,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) if console_ended => sleep(END_INTERVAL),
            // A reader panicked without a word; its panic is passed on when it is joined.
            Err(RecvTimeoutError::Disconnected) => return End::GaveUp,
        }
    }
}
