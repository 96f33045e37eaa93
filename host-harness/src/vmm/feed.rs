//! Feeds a guest its input, from a thread of its own, while the guest runs.

use std::{
    io::{self, PipeWriter, Read, Write},
    os::fd::{AsFd, BorrowedFd},
    process::Stdio,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use dormir_abi::serial::{END, ESCAPE};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{OFlags, fcntl_setfl},
    pipe::fcntl_setpipe_size,
};

use super::{error::RunError, input::GuestInput, source::Source};

/// How often a request to leave is looked for.
pub(super) const INTERVAL: Duration = Duration::from_millis(20);

/// How long to wait before bytes are offered again that were not taken.
const PAUSE: Duration = Duration::from_millis(1);

/// How much is read at once.
const CHUNK: usize = 4096;

impl GuestInput {
    /// Does `work`, and sends the input to the serial line meanwhile, from a thread of its own,
    /// once `is_open` is set. `send` returns how many bytes it took, after a short wait at most; an
    /// error ends the line.
    pub(super) fn feeding<T, E: From<RunError>>(
        input: Option<&Self>,
        is_escaped: bool,
        is_open: &AtomicBool,
        send: impl FnMut(&[u8]) -> io::Result<usize> + Send,
        work: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        /// Also if `work` panics, since the scope then waits for the thread.
        struct Leave<'a>(&'a AtomicBool);

        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }

        let Some(input) = input else {
            return work();
        };
        let leave = &AtomicBool::new(false);
        thread::scope(|scope| {
            let feeder = thread::Builder::new().name("input".into());
            let fed = feeder.spawn_scoped(scope, move || {
                input.pump(is_escaped, is_open, leave, send);
            });
            fed.map_err(|cause| RunError::Resource {
                what: "a thread that feeds the guest's input",
                cause,
            })?;
            let _leave = Leave(leave);
            work()
        })
    }

    /// Sends the input until it ends, the line does, or `leave` is set.
    fn pump(
        &self,
        is_escaped: bool,
        is_open: &AtomicBool,
        leave: &AtomicBool,
        mut send: impl FnMut(&[u8]) -> io::Result<usize>,
    ) {
        let Ok(mut source) = Source::new(&self.descriptor) else {
            return;
        };
        let (mut chunk, mut waiting, mut has_ended) = ([0; CHUNK], Vec::new(), false);
        while !leave.load(Ordering::SeqCst) {
            // The quit key is looked for also while the guest takes nothing.
            let has_room = waiting.len() < CHUNK;
            let reads = !has_ended && (has_room || self.quit.is_some());
            let is_waiting = !waiting.is_empty() && is_open.load(Ordering::SeqCst);
            let patience = if is_waiting { Duration::ZERO } else { INTERVAL };
            if reads && is_ready(source.as_fd(), PollFlags::IN, patience) {
                let length = match source.read(&mut chunk) {
                    Ok(length) => length,
                    Err(error) if is_passing(&error) => continue,
                    // A terminal that was closed, for one. Nothing more can come.
                    Err(_) => 0,
                };
                if let Some((key, stop)) = &self.quit
                    && chunk[..length].contains(key)
                {
                    return stop.stop();
                }
                has_ended = length == 0;
                // What is typed beyond that is dropped.
                if has_room {
                    escape(&chunk[..length], is_escaped, &mut waiting);
                }
            } else if !reads && !is_waiting {
                thread::sleep(PAUSE);
            }
            if is_waiting {
                match send(&waiting) {
                    // As in a loop of the line's own.
                    Ok(0) => thread::sleep(PAUSE),
                    Ok(taken) => drop(waiting.drain(..taken)),
                    Err(error) if is_passing(&error) => {}
                    Err(_) => return,
                }
            }
            if has_ended && waiting.is_empty() {
                return;
            }
        }
    }
}

/// Makes the standard input of a process: a pipe if its guest has input, of which the other end
/// never blocks.
pub(super) fn pipe(has_input: bool) -> io::Result<(Stdio, Option<PipeWriter>)> {
    if !has_input {
        return Ok((Stdio::null(), None));
    }
    let (reader, writer) = io::pipe()?;
    fcntl_setfl(&writer, OFlags::NONBLOCK)?;
    // So that little is taken that the guest does not read. The size is rounded up to a page.
    fcntl_setpipe_size(&writer, 1)?;
    Ok((reader.into(), Some(writer)))
}

/// Sends input by such a pipe; waits a short time for room.
pub(super) fn send(pipe: Option<&mut PipeWriter>, bytes: &[u8]) -> io::Result<usize> {
    let Some(pipe) = pipe else {
        return Ok(bytes.len());
    };
    is_ready(pipe.as_fd(), PollFlags::OUT, INTERVAL);
    pipe.write(bytes)
}

fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock
    )
}

/// Waits until `descriptor` is ready, or broken, for this long at most; returns whether it is.
pub(super) fn is_ready(descriptor: BorrowedFd<'_>, flags: PollFlags, patience: Duration) -> bool {
    let mut polled = [PollFd::new(&descriptor, flags)];
    let timeout = Timespec {
        tv_sec: 0,
        tv_nsec: patience.subsec_nanos().into(),
    };
    poll(&mut polled, Some(&timeout)).is_ok_and(|ready| ready > 0)
}

/// Appends what stands for `bytes` on the line; none stand for the end.
fn escape(bytes: &[u8], is_escaped: bool, out: &mut Vec<u8>) {
    if !is_escaped {
        return out.extend_from_slice(bytes);
    }
    if bytes.is_empty() {
        return out.extend_from_slice(&[ESCAPE, END]);
    }
    for &byte in bytes {
        if byte == ESCAPE {
            out.push(ESCAPE);
        }
        out.push(byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stop::StopToken;
    use dormir_abi::serial::Unescape;

    static OPEN: AtomicBool = AtomicBool::new(true);

    /// Sends the input to a line that takes three bytes at a time, and sometimes none.
    fn sent(input: &GuestInput, is_escaped: bool) -> Vec<u8> {
        let (mut line, mut turns) = (Vec::new(), 0);
        input.pump(is_escaped, &OPEN, &AtomicBool::new(false), |bytes| {
            turns += 1;
            if turns % 3 == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let taken = bytes.len().min(turns % 4);
            line.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        });
        line
    }

    #[test]
    fn any_bytes_arrive_and_their_end() {
        let bytes: Vec<u8> = (0..20_000_u32).map(|number| (number * 7) as u8).collect();
        let input = GuestInput::from_bytes(&bytes).unwrap();
        let mut line = sent(&input, true);
        let mut unescape = Unescape::new();
        let length = unescape.decode(&mut line);
        assert!(unescape.has_ended());
        assert_eq!(&line[..length], bytes);
    }

    #[test]
    fn a_foreign_guest_gets_the_bytes_alone() {
        let input = GuestInput::from_bytes(&[1, ESCAPE, END, 2]).unwrap();
        assert_eq!(sent(&input, false), [1, ESCAPE, END, 2]);
    }

    #[test]
    fn a_pipe_that_stays_open_is_left() {
        let (reader, mut writer) = io::pipe().unwrap();
        let (leave, taken) = (AtomicBool::new(false), AtomicBool::new(false));
        let take = |bytes: &[u8]| {
            taken.store(true, Ordering::SeqCst);
            Ok(bytes.len())
        };
        thread::scope(|scope| {
            let pumps = scope.spawn(|| GuestInput::new(reader).pump(true, &OPEN, &leave, take));
            writer.write_all(b"text").unwrap();
            while !taken.load(Ordering::SeqCst) {
                thread::yield_now();
            }
            leave.store(true, Ordering::SeqCst);
            pumps.join().unwrap();
        });
    }

    /// Before the guest opens its line, and while it takes nothing.
    #[test]
    fn the_quit_key_is_seen_while_nothing_is_taken() {
        for is_open in [false, true] {
            let stop = StopToken::default();
            let (reader, mut writer) = io::pipe().unwrap();
            let input = GuestInput::new(reader).with_quit_key(1, &stop);
            let (is_open, leave) = (AtomicBool::new(is_open), AtomicBool::new(false));
            thread::scope(|scope| {
                scope.spawn(|| input.pump(true, &is_open, &leave, |_| Ok(0)));
                writer.write_all(&[b'a'; 3 * CHUNK]).unwrap();
                writer.write_all(&[1]).unwrap();
            });
            assert!(stop.is_stopped());
        }
    }

    #[test]
    fn the_quit_key_stops_the_run() {
        let stop = StopToken::default();
        let input = GuestInput::from_bytes(b"ab\x1dcd").unwrap();
        assert_eq!(sent(&input.clone().with_quit_key(1, &stop), true).len(), 7);
        assert!(!stop.is_stopped());
        let input = GuestInput::from_bytes(b"ab\x1dcd").unwrap();
        assert!(sent(&input.with_quit_key(0x1d, &stop), true).is_empty());
        assert!(stop.is_stopped());
    }

    #[test]
    fn a_line_that_breaks_ends_it() {
        let input = GuestInput::from_bytes(b"text").unwrap();
        let mut turns = 0;
        input.pump(true, &OPEN, &AtomicBool::new(false), |_| {
            turns += 1;
            Err(io::ErrorKind::BrokenPipe.into())
        });
        assert_eq!(turns, 1);
    }
}
