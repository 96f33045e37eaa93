//! Standard output, for a guest's console.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::{
    io::{self, ErrorKind, Write},
    time::Duration,
};

/// How long a reader is waited for before [`ErrorKind::WouldBlock`] is said.
const PATIENCE: Duration = Duration::from_millis(20);

/// What a pipe that is ready takes without waiting (`PIPE_BUF`).
const PIECE: usize = 4096;

/// Standard output that does not wait for a reader for ever, so that a guest's time limit and a
/// Ctrl-C hold whoever reads.
pub(super) struct Output;

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let stdout = io::stdout();
        let patience = Timespec::try_from(PATIENCE).map_err(io::Error::other)?;
        // Ready also if the reader is gone, which the write then finds.
        if poll(&mut [PollFd::new(&stdout, PollFlags::OUT)], Some(&patience))? == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        let piece = &bytes[..bytes.len().min(PIECE)];
        Ok(rustix::io::write(&stdout, piece)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        // Nothing is kept here.
        Ok(())
    }
}
