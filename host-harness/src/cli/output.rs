//! Standard output, for a guest's console.

use super::terminal::Filter;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::{
    io::{self, ErrorKind, IsTerminal, Write},
    time::Duration,
};

/// How long a reader is waited for before [`ErrorKind::WouldBlock`] is said.
const PATIENCE: Duration = Duration::from_millis(20);

/// What a pipe that is ready takes without waiting (`PIPE_BUF`).
const PIECE: usize = 4096;

/// Standard output that does not wait for a reader for ever, so that a guest's time limit and a
/// Ctrl-C hold whoever reads. A terminal is given text and colours alone.
pub(super) struct Output {
    /// `None`: all passes as it is.
    filter: Option<Filter>,
    /// What has gone through the filter and not yet out.
    filtered: Vec<u8>,
}

impl Output {
    /// With `raw`, a terminal is given all.
    pub(super) fn new(raw: bool) -> Self {
        let filters = io::stdout().is_terminal() && !raw;
        Self {
            filter: filters.then(Filter::default),
            filtered: Vec::new(),
        }
    }

    /// Ends the console: what was cut off is shown, and the terminal has its own colours again.
    pub(super) fn finish(mut self) {
        if let Some(filter) = &mut self.filter {
            filter.finish(&mut self.filtered);
        }
        // The guest has ended: what cannot be shown at once is not waited for.
        let _ = self.drain();
    }

    /// Writes what has gone through the filter.
    fn drain(&mut self) -> io::Result<()> {
        while !self.filtered.is_empty() {
            let length = write(&self.filtered)?;
            self.filtered.drain(..length);
        }
        Ok(())
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(filter) = &mut self.filter else {
            return write(bytes);
        };
        if self.filtered.is_empty() {
            let piece = &bytes[..bytes.len().min(PIECE)];
            filter.pass(piece, &mut self.filtered);
            // What is left is written by the next call, or by `flush`.
            match self.drain() {
                Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
                _ => Ok(piece.len()),
            }
        } else {
            self.drain()?;
            self.write(bytes)
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.drain()
    }
}

fn write(bytes: &[u8]) -> io::Result<usize> {
    let stdout = io::stdout();
    let patience = Timespec::try_from(PATIENCE).map_err(io::Error::other)?;
    // Ready also if the reader is gone, which the write then finds.
    if poll(&mut [PollFd::new(&stdout, PollFlags::OUT)], Some(&patience))? == 0 {
        return Err(ErrorKind::WouldBlock.into());
    }
    let piece = &bytes[..bytes.len().min(PIECE)];
    Ok(rustix::io::write(&stdout, piece)?)
}
