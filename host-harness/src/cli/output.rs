//! Standard output for a guest's console.

use super::terminal::Filter;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::{
    io::{self, ErrorKind, IsTerminal, Write},
    time::Duration,
};

/// How long to wait for a reader before returning [`ErrorKind::WouldBlock`].
const PATIENCE: Duration = Duration::from_millis(20);

/// What a ready pipe accepts without blocking (`PIPE_BUF`).
const PIECE: usize = 4096;

/// Standard output that does not block forever on its reader, so that a guest's time limit and
/// Ctrl-C always work. On a terminal it passes only text and colours.
pub(super) struct ConsoleOutput {
    /// `None`: everything passes unchanged.
    filter: Option<Filter>,
    /// Filtered output that has not been written yet.
    filtered: Vec<u8>,
}

impl ConsoleOutput {
    /// With `raw`, a terminal gets everything unchanged.
    pub(super) fn new(raw: bool) -> Self {
        let filters = io::stdout().is_terminal() && !raw;
        Self {
            filter: filters.then(Filter::default),
            filtered: Vec::new(),
        }
    }

    /// Ends the console: shows incomplete characters, and resets the terminal's colours.
    pub(super) fn finish(mut self) {
        if let Some(filter) = &mut self.filter {
            filter.finish(&mut self.filtered);
        }
        // The guest has ended: does not wait for a full output.
        let _ = self.drain();
    }

    /// Writes the filtered output.
    fn drain(&mut self) -> io::Result<()> {
        while !self.filtered.is_empty() {
            let length = write(&self.filtered)?;
            self.filtered.drain(..length);
        }
        Ok(())
    }
}

impl Write for ConsoleOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(filter) = &mut self.filter else {
            return write(bytes);
        };
        if self.filtered.is_empty() {
            let piece = &bytes[..bytes.len().min(PIECE)];
            filter.pass(piece, &mut self.filtered);
            // The next call, or `flush`, writes the rest.
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
    // Also ready if the reader is gone, which the write then reports.
    if poll(&mut [PollFd::new(&stdout, PollFlags::OUT)], Some(&patience))? == 0 {
        return Err(ErrorKind::WouldBlock.into());
    }
    let piece = &bytes[..bytes.len().min(PIECE)];
    Ok(rustix::io::write(&stdout, piece)?)
}
